"""Whether an edited caption says what its caption and its instruction say, by their words alone: a filter for small models, which invent."""

from __future__ import annotations

import re

# Words that any edited caption may have.
FREE = frozenset((
    "a", "an", "the", "and", "or", "but", "of", "in", "on", "at", "to", "by", "with", "without", "for", "from", "into", "onto", "under",
    "over", "above", "below", "beside", "behind", "before", "after", "between", "among", "near", "around", "across", "along", "through",
    "against", "off", "out", "up", "down", "as", "is", "are", "was", "were", "be", "been", "being", "has", "have", "had", "it", "its",
    "this", "that", "these", "those", "there", "he", "she", "they", "his", "her", "hers", "their", "them", "him", "who", "which", "while",
    "where", "one", "two", "both", "all", "no", "not", "more", "very", "than", "then", "now", "full", "covered", "made", "wearing"
))  # fmt: skip
STEM = 4  # letters that words of one stem share, at least


def words_of(text: str) -> list[str]:
    return [word for word in re.findall(r"[^\W_]+", text.casefold().replace("’", "'")) if word not in FREE]


def related(one: str, other: str) -> bool:
    """Whether they begin alike, as “snow” and “snowy”, “wood” and “wooden”, “run” and “running” do."""
    shorter, longer = sorted((one, other), key=len)
    shared = next((i for i, (a, b) in enumerate(zip(shorter, longer)) if a != b), len(shorter))
    return one == other or (shared >= max(min(STEM, len(shorter)), len(shorter) - 2) and shared >= 3)


def is_faithful(caption: str, edit: str, output: str) -> bool:
    """Whether every word of the edited caption comes from the caption or the instruction; and either a word of the instruction came into
    it, or one that it names went; and no word stands more than twice as often as in both."""
    before, asked, after = words_of(caption), words_of(edit), words_of(output)
    if any(not any(related(word, source) for source in (*before, *asked)) for word in after):
        return False
    if any(after.count(word) > max(1, before.count(word), asked.count(word)) for word in after):
        return False
    new = [word for word in after if word not in before]
    gone = [word for word in before if word not in after]
    if new:
        # What is lost is then what the instruction names or what stands in its place: never most of the caption.
        return len(gone) <= max(1, len(before) // 2)
    return bool(gone) and any(related(word, named) for word in gone for named in asked)
