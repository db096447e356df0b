"""The seed rows, which writers of instructions take their examples from and learn on: their form, what they cover, and no duplicates."""

import json
import re
from collections import Counter
from difflib import SequenceMatcher
from glob import glob
from itertools import combinations, groupby
from pathlib import Path
from statistics import median

import pytest

from test_house import ROOT, tomllib

SEEDS = ROOT / "ip2p" / "dataset" / "instructions" / "seeds.jsonl"
LINES = SEEDS.read_text(encoding="utf8").splitlines()
ROWS = [json.loads(line) for line in LINES]
TEXTS = [row[key] for row in ROWS for key in ("input", "edit", "output")]

WHOLE_PICTURE = {"style", "weather", "season", "time", "mood", "background"}
LOCAL = {"material", "clothes", "hair", "makeup", "glasses", "age", "add", "remove", "replace", "colour"}
PEOPLE = {"portrait", "group", "sport"}
PLACES = {"street", "landscape", "building", "interior", "night"}
THINGS = {"animal", "plant", "food", "product", "vehicle", "painting"}
SUBJECTS = PEOPLE | PLACES | THINGS
SEPARATORS = ("##", "%%", "END")


def words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def plain(text: str) -> str:
    return " ".join(words(text))


def likeness(one: str, other: str, limit: float = 0.0) -> float:
    """Share of letters that two texts have in common in order, 0 to 1; an upper bound of it where that is below `limit`."""
    matcher = SequenceMatcher(None, plain(one), plain(other), autojunk=False)
    for bound in (matcher.real_quick_ratio, matcher.quick_ratio):
        if bound() < limit:
            return bound()
    return matcher.ratio()


def kept(row: dict) -> float:
    """Share of the caption's words that the edited caption still has, 0 to 1."""
    before, after = Counter(words(row["input"])), Counter(words(row["output"]))
    return (before & after).total() / before.total()


# ---- form


def test_there_are_enough_rows_for_one_pass_of_fine_tuning():
    assert len(ROWS) >= 350


def test_a_row_has_five_texts_and_is_written_one_way():
    for line, row in zip(LINES, ROWS):
        assert list(row) == ["input", "edit", "output", "kind", "subject"] and all(isinstance(text, str) for text in row.values()), line
        assert line == json.dumps(row, ensure_ascii=False)


def test_a_text_is_one_line_that_no_separator_is_in():
    assert [text for text in TEXTS if text != " ".join(text.split()) or not text.isprintable()] == []
    assert [text for text in TEXTS if any(separator in text for separator in SEPARATORS)] == []


@pytest.mark.parametrize("key, longest", [("input", 25), ("edit", 15), ("output", 35)])
def test_texts_are_as_long_as_what_people_write(key, longest):
    assert [row[key] for row in ROWS if not 2 <= len(row[key].split()) <= longest] == []


def test_no_text_has_a_wrong_article_or_a_word_twice():
    slip = re.compile(r"\b(a [aeiou]|an [^aeiou\W]|(\w+) \2\b)", re.IGNORECASE)
    assert [text for text in TEXTS if slip.search(text)] == []


def test_the_edited_caption_begins_and_ends_as_the_caption_does():
    assert [row for row in ROWS if row["input"][0].isupper() != row["output"][0].isupper()] == []
    assert [row for row in ROWS if row["input"].endswith(".") != row["output"].endswith(".")] == []


# ---- coverage


@pytest.mark.parametrize("kind", sorted(WHOLE_PICTURE | LOCAL))
def test_each_kind_of_edit_has_rows(kind):
    assert sum(row["kind"] == kind for row in ROWS) >= 18


@pytest.mark.parametrize("subject", sorted(SUBJECTS))
def test_each_kind_of_picture_has_rows(subject):
    assert sum(row["subject"] == subject for row in ROWS) >= 15


def test_no_kind_or_subject_is_misspelt():
    assert {row["kind"] for row in ROWS} == WHOLE_PICTURE | LOCAL
    assert {row["subject"] for row in ROWS} == SUBJECTS


def test_kinds_are_mixed_so_that_any_stretch_of_rows_shows_several():
    assert max(len(list(run)) for _, run in groupby(row["kind"] for row in ROWS)) <= 3
    assert all(len({row["kind"] for row in ROWS[start : start + 32]}) >= 10 for start in range(len(ROWS) - 31))


def test_captions_are_short_and_long_and_written_in_more_than_one_way():
    captions = [row["input"] for row in ROWS]
    lengths = [len(caption.split()) for caption in captions]
    assert sum(length <= 5 for length in lengths) >= 20 and sum(length >= 15 for length in lengths) >= 20
    for holds in (lambda caption: caption[0].isupper(), lambda caption: caption.endswith(".")):
        assert 0.1 <= sum(map(holds, captions)) / len(captions) <= 0.6


# ---- what a row says


def test_the_edited_caption_differs_by_more_than_capitals_and_dots():
    assert [row for row in ROWS if plain(row["output"]) == plain(row["input"])] == []


def test_no_instruction_repeats_a_caption():
    assert [row for row in ROWS for key in ("input", "output") if likeness(row["edit"], row[key], 0.75) >= 0.75] == []


def test_what_the_instruction_does_not_name_stays():
    shares = [kept(row) for row in ROWS]
    assert min(shares) >= 0.3 and median(shares) >= 0.7
    assert median(kept(row) for row in ROWS if row["kind"] in LOCAL) >= 0.75


def test_what_is_removed_makes_the_caption_shorter_and_what_is_added_longer():
    grown = [(len(words(row["output"])) - len(words(row["input"])), row) for row in ROWS]
    assert [row for more, row in grown if row["kind"] == "remove" and more >= 0] == []
    assert [row for more, row in grown if row["kind"] == "add" and more <= 0] == []


# ---- duplicates


def test_no_caption_has_more_than_three_rows():
    assert max(Counter(plain(row["input"]) for row in ROWS).values()) <= 3
    assert len({plain(row["input"]) for row in ROWS}) >= 0.9 * len(ROWS)


def test_no_two_instructions_are_alike():
    near = [(one, other) for one, other in combinations([row["edit"] for row in ROWS], 2) if likeness(one, other, 0.8) >= 0.8]
    assert near == []


def test_no_two_edited_captions_are_equal():
    assert len({plain(row["output"]) for row in ROWS}) == len(ROWS)


def test_no_first_word_opens_more_than_a_tenth_of_the_instructions():
    word, count = Counter(words(row["edit"])[0] for row in ROWS).most_common(1)[0]
    assert count <= 0.1 * len(ROWS), word


# ---- the package


def test_the_rows_are_package_data():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["setuptools"]["package-data"]["ip2p"]
    packed = {Path(path) for pattern in patterns for path in glob(str(ROOT / "ip2p" / pattern), recursive=True)}
    assert SEEDS in packed
