"""python -m ip2p VERB …, or instruct-edit VERB …: the table of verbs, and how each of them ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from . import __version__

# Verb: its module, with `add_arguments(parser)` and `run(args) -> exit status`, and what it does. Imported when it is asked for.
VERBS = {
    "edit": ("edit", "edit a picture, or every picture of a folder"),
    "app": ("app", "serve a page to edit pictures on"),
    "evaluate": ("evaluate", "measure edit models on pairs of pictures"),
    "model": ("model", "look at, fetch, convert and merge checkpoints"),
    "dataset": ("dataset", "look at, check, convert and make pair sets"),
    "train": ("train", "train an edit model, from a checkpoint or from nothing"),
}
BAD_INPUT, INTERRUPTED = 2, 130
NEEDS = "This needs the package {}: install it with pip install 'sd-webui-instruct-edit[{}]'."
EXTRAS = {"datasets": "train", "pyarrow": "train"}  # of a package that `edit` does not bring


def program() -> str:
    """What this was started with: the console command where that was it."""
    name = Path(sys.argv[0]).stem
    return name if name == "instruct-edit" else "python -m ip2p"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str):
        self.exit(BAD_INPUT, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def parser_for(verb: str | None) -> argparse.ArgumentParser:
    """The parser of one verb, or of the table when there is none of that name."""
    if verb in VERBS:
        module, summary = VERBS[verb]
        parser = Parser(prog=f"{program()} {verb}", description=summary[0].upper() + summary[1:] + ".")
        import_module(f".cli.{module}", __package__).add_arguments(parser)
        return parser
    parser = Parser(prog=program(), description="Edit a picture by saying what to change.", formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--version", action="version", version=__version__)
    width = max(map(len, VERBS))
    table = "\n".join(f"{name:{width}}  {summary}" for name, (_, summary) in VERBS.items())
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


def say(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
