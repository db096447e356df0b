"""What is told of a run: how much was kept and why not the rest, how varied the instructions are, and twenty rows to read."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .few_shot import seed_rows
from .triplets import plain

TO_READ = 20


@dataclass
class Figures:
    """instructions: digest → count. words, pairs: of instructions. lengths: words of an instruction → rows."""

    asked: int = 0
    parsed: int = 0
    kept: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    tokens: tuple[int, int] = (0, 0)
    instructions: Counter[bytes] = field(default_factory=Counter)
    commonest: tuple[int, str] = (0, "")
    words: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    verbs: Counter[str] = field(default_factory=Counter)
    topics: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(0))

    def count(self, row: dict[str, Any], reason: str) -> None:
        """row: as `sieve.sifted` gives it."""
        self.asked += 1
        self.parsed += reason not in ("parts", "no answer")
        if reason:
            self.reasons[reason] += 1
            return
        self.kept += 1
        self.splits[row["split"]] += 1
        self.writers[f"{row['model']} ({row['version']})"] += 1
        edit = plain(row["edit"])
        key = hashlib.sha256(edit.encode()).digest()[:8]
        self.instructions[key] += 1
        self.commonest = max(self.commonest, (self.instructions[key], edit))
        words = re.findall(r"[\w'’-]+", edit)
        self.words.update(words)
        self.pairs.update(itertools.pairwise(words))
        self.verbs.update(words[:1])
        self.topics[topic_of(edit)] += 1
        self.lengths[len(words)] += 1
        self.keep_to_read(row)

    def keep_to_read(self, row: dict[str, Any]) -> None:
        """Each row with the same chance, whatever their number (reservoir sampling)."""
        if len(self.examples) < TO_READ:
            self.examples.append(row)
        elif (place := self.draw.randrange(self.kept)) < TO_READ:
            self.examples[place] = row

    @property
    def distinct(self) -> dict[str, float]:
        """distinct-1 and -2 (Li et al., arXiv 1510.03055), and the shares of instructions that differ and of the commonest one."""
        return {
            "distinct-1": len(self.words) / max(1, self.words.total()),
            "distinct-2": len(self.pairs) / max(1, self.pairs.total()),
            "distinct instructions": len(self.instructions) / max(1, self.kept),
            "commonest instruction": self.commonest[0] / max(1, self.kept),
        }


def counted(sifted: Iterable[tuple[dict[str, Any], str]], figures: Figures) -> Iterator[tuple[dict[str, Any], str]]:
    for row, reason in sifted:
        figures.count(row, reason)
        yield row, reason


@cache
def likelihoods() -> dict[str, tuple[dict[str, float], float]]:
    """kind → (logarithm of each word's likelihood, that of any other word), from the instructions that people wrote."""
    kinds: dict[str, Counter[str]] = {}
    for row in seed_rows():
        kinds.setdefault(row["kind"], Counter()).update(set(plain(row["edit"]).split()))
    vocabulary = len(set().union(*kinds.values()))
    table = {}
    for kind, words in kinds.items():
        total = words.total() + vocabulary
        table[kind] = {word: math.log((count + 1) / total) for word, count in words.items()}, math.log(1 / total)
    return table


def topic_of(edit: str) -> str:
    """The kind of seed rows whose instructions have the most likely words (naive Bayes with add-one smoothing)."""
    table, words = likelihoods(), edit.split()
    return max(table, key=lambda kind: sum(table[kind][0].get(word, table[kind][1]) for word in words))
