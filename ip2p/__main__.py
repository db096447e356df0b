"""python -m ip2p VERB …, or instruct-edit VERB …: the table of verbs, and how each of them ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from . import __version__
from .cli.exits import BAD_INPUT, INTERRUPTED, say

VERBS = {  # what each does
    "edit": "edit a picture, or every picture of a folder",
    "detail": "bring a result that was made elsewhere to its photograph's own size, with the photograph's own detail",
    "app": "serve a page to edit pictures on",
    "evaluate": "measure edit models on pairs of pictures",
    "model": "look at, fetch, convert and merge checkpoints",
    "dataset": "look at, check, convert and make pair sets",
    "train": "train an edit model, from a checkpoint or from nothing",
    "reproduce": "make the paper in miniature: from captions to edited pictures, every stage on this machine",
}
NEEDS = "This needs the package {}: install it with pip install 'sd-webui-instruct-edit[{}]'."
EXTRAS = {
    "datasets": "train",
    "pyarrow": "train",
    "skimage": "photos",
    **dict.fromkeys(("peft", "openai", "gguf", "rapidfuzz", "ray"), "data"),
}  # the extra that brings a package, where it is not `edit`


def program() -> str:
    """What this was started with: the console command where that was it."""
    name = Path(sys.argv[0]).stem
    return name if name == "instruct-edit" else "python -m ip2p"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    mixed = False  # whether options may stand between a last list of words

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        return self.parse_intermixed_args(args, namespace) if self.mixed else super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(say(f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help", BAD_INPUT))


def module_of(verb: str) -> ModuleType:
    """The module of a verb, with `add_arguments(parser)` and `run(args) -> exit status`; no other verb's is imported."""
    if verb == "edit":
        from .cli import edit

        return edit
    if verb == "detail":
        from .cli import detail

        return detail
    if verb == "app":
        from .cli import app

        return app
    if verb == "evaluate":
        from .cli import evaluate

        return evaluate
    if verb == "model":
        from .cli import model

        return model
    if verb == "dataset":
        from .cli import dataset

        return dataset
    if verb == "reproduce":
        from .cli import reproduce

        return reproduce
    from .cli import train

    return train


def parser_for(verb: str | None) -> argparse.ArgumentParser:
    """The parser of one verb, or of the table when there is none of that name."""
    if verb in VERBS:
        parser = Parser(prog=f"{program()} {verb}", description=VERBS[verb][0].upper() + VERBS[verb][1:] + ".")
        module = module_of(verb)
        module.add_arguments(parser)
        parser.mixed = getattr(module, "MIXED", False)
        return parser
    parser = Parser(prog=program(), description="Edit a picture by saying what to change.", formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    width = max(map(len, VERBS))
    table = "\n".join(f"{name:{width}}  {summary}" for name, summary in VERBS.items())
    parser.add_argument("verb", choices=VERBS, metavar="VERB", help=table)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb. Exit status 0; 2 for bad input, with one line on stderr; 130 after Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = argv[0] if argv else None
    try:
        if verb not in VERBS:
            parser_for(None).parse_args(argv)
        args = parser_for(verb).parse_args(argv[1:])
        return args.run(args)
    except KeyboardInterrupt:
        return say("Interrupted.", INTERRUPTED)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as e:
        return say(NEEDS.format(e.name, EXTRAS.get(e.name.partition(".")[0], "edit")) if e.name else f"{e}.", BAD_INPUT)
    except Exception as e:
        from .errors import EditError

        if not isinstance(e, EditError):
            raise
        return say(" ".join(str(e).split()), BAD_INPUT)


if __name__ == "__main__":
    sys.exit(main())
