"""Which instruction every pair is edited by: one it is trained on, one kept from training, or one that somebody else wrote."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..dataset.edits.words import thing_in, tidy
from ..dataset.pairs import PairSet
from ..errors import EditError
from ..files import why
from .sweep import seed_of

TRAIN, HELD_OUT = "train", "held-out"
PLACEHOLDER = re.compile(r"\{(\w*)\}")


class Instructions:
    """Of every row of a pair set one instruction, the same in every run with this seed.

    source: “train”, “held-out”, or a YAML or JSON file with lists of phrasings by kind of edit, in which {value} is the row's
    parameter and {thing} what its photograph is named after. A row with a parameter takes those with {value}, one without it the others.
    name: changes with what the file says. Raises EditError for a file that can't be read or used.
    """

    def __init__(self, pairs: PairSet, source: str, seed: int):
        self.pairs, self.source, self.seed, self.name = pairs, source, seed, source
        self.kinds: dict[str, list[str]] | None = None
        if source not in (TRAIN, HELD_OUT):
            text, self.kinds = read_phrasings(Path(source))
            self.name = f"{Path(source).name} ({hashlib.sha256(text.encode()).hexdigest()[:8]})"

    def __call__(self, row: int) -> str:
        """Raises EditError where there is none to draw from."""
        texts = self.pairs.texts(row)
        if self.source == TRAIN:
            phrasings = list(texts["edit_prompts"])
        elif self.source == HELD_OUT:
            phrasings = phrasings_in(texts.get("held_out_prompts"))
            if not phrasings:
                raise EditError("The pairs have no held-out phrasings: leave --phrasings out.")
        else:
            phrasings = self.of_kind(texts)
            if not phrasings:
                raise EditError(f"{self.source} has nothing that fits: {{value}} stands where an edit has a parameter, and only there.")
        return phrasings[seed_of(self.seed, "phrasing", row) % len(phrasings)] if phrasings else ""

    def fits(self, texts: Mapping) -> bool:
        """Whether the file has a phrasing that asks for what the row shows: with {value} where it has a parameter, else without."""
        return self.kinds is None or bool(self.of_kind(texts))

    def of_kind(self, texts: Mapping) -> list[str]:
        """The file's phrasings that fit one row, filled in."""
        kind = texts.get("kind")
        if not kind:
            raise EditError(f"The pairs don't say what kind of edit they are, which {self.source} goes by: leave --phrasings out.")
        if self.kinds is None or kind not in self.kinds:
            raise EditError(f"{self.source} has no phrasings of the kind {kind}: add “{kind}:” and a list of them.")
        fills = {"value": str(texts.get("parameter") or ""), "thing": thing_in(str(texts.get("photo", ""))) or "subject"}
        fitting = [phrasing for phrasing in self.kinds[kind] if ("{value}" in phrasing) == bool(fills["value"])]
        return [tidy(PLACEHOLDER.sub(lambda match: fills[match[1]], phrasing)) for phrasing in fitting]


def read_phrasings(path: Path) -> tuple[str, dict[str, list[str]]]:
    """→ the file's text, and its phrasings by kind. Raises EditError."""
    try:
        text = path.read_text(encoding="utf8")
        content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except FileNotFoundError as e:
        raise EditError(f"There are no phrasings “{path}”: choose {TRAIN}, {HELD_OUT} or a file with lists of them by kind.") from e
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as e:
        raise EditError(f"{path} can't be read: {why(e)}.") from e
    if not isinstance(content, dict) or not content or not all(texts_only(phrasings) for phrasings in content.values()):
        raise EditError(f"{path} is no list of phrasings: give every kind a list of texts.")
    if unknown := {name for phrasings in content.values() for phrasing in phrasings for name in PLACEHOLDER.findall(phrasing)} - {
        "value",
        "thing",
    }:
        raise EditError(f"{path} has {{{min(unknown)}}} to fill in: only {{value}} and {{thing}} are known.")
    return text, {str(kind): phrasings for kind, phrasings in content.items()}


def texts_only(phrasings: object) -> bool:
    """Whether it is a list of texts with something in each."""
    return isinstance(phrasings, list) and bool(phrasings) and all(isinstance(text, str) and text.strip() for text in phrasings)


def phrasings_in(column: object) -> list[str]:
    """A column of texts: a list, or one in JSON, or one a line."""
    texts = column
    if isinstance(column, str):
        try:
            texts = json.loads(column)
        except ValueError:
            texts = column.splitlines()
    return [text.strip() for text in texts if str(text).strip()] if isinstance(texts, (list, tuple)) else []
