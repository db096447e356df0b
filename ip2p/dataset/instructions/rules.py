"""Which answers become rows: the paper's filters (arXiv 2211.09800, appendix A.1), and some against what small models do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rapidfuzz.distance import Levenshtein

from ...errors import EditError
from ...files import why
from .faithful import is_faithful
from .paper_format import parsed
from .triplets import plain

NEAR = 0.85  # similarity, 1 − edit distance / longer length, from which two instructions of one caption are near duplicates
REPEATS = 0.8  # from which an instruction repeats a caption
NO_OP = re.compile(
    r"\b(keep|leave|make) (it|this|them|everything|the \w+)( exactly)? (the same|as (it|is|they|are)\b|unchanged|alone)"
    r"|\b(do|change) nothing\b|\bno (change|edit)s?\b|\b(do not|don't|don’t) (change|edit)( it| this| anything)?$|\bstays? the same$"
)
REASONS = {
    "caption": "a caption that can't be used",
    "no answer": "the writer failed or was cut off",
    "parts": "not exactly an instruction and an edited caption",
    "moderation": "refused by the endpoint's moderation",
    "length": "too long or too short",
    "word": "a word of the list",
    "unchanged": "the edited caption is the caption",
    "no-op": "the instruction changes nothing",
    "unfaithful": "the edited caption says what neither its caption nor the instruction says",
    "repeats": "the instruction repeats a caption",
    "near duplicate": "nearly the instruction of another row of its caption",
    "duplicate": "a row with a lower id is equal",
}


@dataclass(frozen=True)
class Rules:
    """instruction_words, output_words: the fewest and most. words: lower-case ones that no row may have.
    faithful: only rows that `faithful.is_faithful` passes."""

    instruction_words: tuple[int, int] = (1, 30)
    output_words: tuple[int, int] = (1, 100)
    words: frozenset[str] = field(default_factory=frozenset)
    faithful: bool = False

    def reason_against(self, record: Mapping[str, Any]) -> tuple[str, str, str]:
        """A record of `triplets.record_of` → (reason of REASONS or "", instruction, edited caption)."""
        if record["problem"]:
            return "no answer", "", ""
        parts = parsed(record["text"])
        if parts is None:
            return "parts", "", ""
        return self.reason_of(record["input"], *parts, flagged=record["flagged"]), *parts

    def reason_of(self, caption: str, edit: str, output: str, flagged: bool = False) -> str:
        if flagged:
            return "moderation"
        counts = len(edit.split()), len(output.split())
        if not all(least <= count <= most for count, (least, most) in zip(counts, (self.instruction_words, self.output_words))):
            return "length"
        if self.words and self.words & set(re.findall(r"\w+", f"{edit} {output}".casefold())):
            return "word"
        before, asked, after = plain(caption), plain(edit), plain(output)
        if before == after:
            return "unchanged"
        if NO_OP.search(asked):
            return "no-op"
        if max(similarity(asked, before), similarity(asked, after)) >= REPEATS or (len(before.split()) > 3 and before in asked):
            return "repeats"
        if self.faithful and not is_faithful(caption, edit, output):
            return "unfaithful"
        return ""


def similarity(one: str, other: str) -> float:
    """1 for equal texts, 0 for ones that share nothing."""
    return Levenshtein.normalized_similarity(one, other)


def is_near(edit: str, others: list[str]) -> bool:
    return any(similarity(plain(edit), plain(other)) >= NEAR for other in others)


def read_words(file: Path) -> frozenset[str]:
    """One a line, in any case. Raises EditError when the file can't be read."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e
    return frozenset(line.strip().casefold() for line in lines if line.strip())
