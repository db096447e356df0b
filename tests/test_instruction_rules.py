"""Which answers become rows, and that this depends on the answers alone, not on how a run was split."""

import random

import pytest

pytest.importorskip("rapidfuzz", reason="instructions need rapidfuzz (pip install -e '.[data]')")

from ip2p.dataset.instructions.few_shot import seed_rows
from ip2p.dataset.instructions.figures import Figures, topic_of
from ip2p.dataset.instructions.paper_format import completion, parsed, prompt
from ip2p.dataset.instructions.rules import REASONS, Rules
from ip2p.dataset.instructions.sieve import COLUMNS, sifted
from ip2p.dataset.instructions.triplets import Answer, Caption, asks_of, record_of

RULES = Rules()
BY = {"model": "m", "version": "v", "prompt": "p"}


def record(caption, text, k=0, seed=0, **answer):
    ask = asks_of(Caption(caption, "http://pictures/1", "CC0"), k + 1, seed)[k]
    return record_of(ask, Answer(text, **answer), 0.1, BY)


def reason(caption, edit, output, rules=RULES):
    return rules.reason_against(record(caption, completion(edit, output)))[0]


def test_the_text_format_is_the_papers():
    assert prompt("a dog") + completion("make it winter", "a dog in winter") == "a dog\n##\nmake it winter\n%%\na dog in winter\nEND"


@pytest.mark.parametrize(
    "text, parts",
    [
        ("make it winter\n%%\na dog in winter\nEND", ("make it winter", "a dog in winter")),
        ("make it winter\n%%\na dog in winter\nEND and more", ("make it winter", "a dog in winter")),
        ("make it winter\n%%\na dog in winter", None),
        ("make it winter\nEND", None),
        ("make it\n%%\nwinter\n%%\na dog\nEND", None),
        ("\n%%\na dog\nEND", None),
        ("make it winter\n%%\n \nEND", None),
        ("make it\nwinter\n%%\na dog\nEND", None),
        ("make it ## winter\n%%\na dog\nEND", None),
    ],
)
def test_an_answer_is_exactly_two_parts_that_end(text, parts):
    assert parsed(text) == parts


@pytest.mark.parametrize(
    "caption, edit, output, why",
    [
        ("a dog", "make it winter", "a dog in winter", ""),
        ("A dog.", "make it bark", "a  dog!", "unchanged"),
        ("a dog", "keep it the same", "a dog in winter", "no-op"),
        ("a dog", "Leave everything as it is.", "a dog in winter", "no-op"),
        ("a dog", "Don't change anything", "a dog in winter", "no-op"),
        ("a dog", "leave the dog as the only animal", "a dog in winter", ""),
        ("a dog by the sea", "a dog by the sea", "a cat by the sea", "repeats"),
        ("a dog by the sea", "show a dog by the sea at night", "a dog by the sea at night", "repeats"),
        ("red panda", "turn the red panda to stone", "red panda of stone", ""),
        ("a dog", "word " * 31, "a cat", "length"),
        ("a dog", "make it winter", "word " * 101, "length"),
    ],
)
def test_what_is_no_edit_is_rejected_by_its_reason(caption, edit, output, why):
    assert reason(caption, edit, output) == why and (not why or why in REASONS)


def test_a_list_of_words_and_moderation_reject_rows():
    rules = Rules(words=frozenset({"blood"}))
    assert reason("a dog", "add Blood", "a dog with blood", rules) == "word"
    assert reason("a dog", "add bloodhounds", "a dog with bloodhounds", rules) == ""
    flagged = record("a dog", completion("make it winter", "a dog in winter"), flagged=True)
    assert Rules().reason_against(flagged)[0] == "moderation"


@pytest.mark.parametrize(
    "caption, edit, output, passes",
    [
        ("a dog", "make it snowy", "a dog in the snow", True),
        ("a wooden chair", "turn it to stone", "a stone chair", True),
        ("a man with glasses", "take the glasses off", "a man", True),
        ("a man with glasses", "make it winter", "a man", False),
        ("a dog", "make it snowy", "a dog and a zebra in the snow", False),
        ("a dog by the old mill", "make it snowy", "snow", False),
        ("school of silver fish", "golden jelly", "golden jelly jelly jelly fish", False),
    ],
)
def test_a_faithful_row_says_what_its_caption_and_its_instruction_say(caption, edit, output, passes):
    assert reason(caption, edit, output, Rules(faithful=True)) == ("" if passes else "unfaithful")
    assert reason(caption, edit, output) == ""


def test_most_rows_that_people_wrote_are_faithful():
    faithful = [Rules(faithful=True).reason_of(row["input"], row["edit"], row["output"]) != "unfaithful" for row in seed_rows()]
    assert sum(faithful) / len(faithful) > 0.7


def test_rows_that_people_wrote_pass_the_filters():
    rejected = [row for row in seed_rows() if Rules().reason_of(row["input"], row["edit"], row["output"])]
    assert len(rejected) / len(seed_rows()) < 0.02, rejected


def sift(records, rules=RULES):
    return [(row["id"], why) for row, why in sifted(records, rules)]


def test_of_near_and_equal_rows_the_lowest_id_stays_in_whatever_order_and_split_they_come():
    rows = [record("a dog", completion("make it winter", "a dog in winter"), k) for k in range(3)]
    rows += [record("A dog.", completion("make it winter!", "A dog in winter."), k) for k in range(2)]
    rows += [
        record("a dog", completion("make it a winter", "a dog in a winter"), 5),
        record("a dog", completion("paint it red", "a red dog"), 6),
    ]
    rows += [record("a cat", completion("make it winter", "a cat in winter"))]
    expected = sift(rows)
    first = min(row["id"] for row in rows if "winter" in row["text"] and "dog" in row["text"].lower())
    kept = {row for row, why in expected if not why}
    assert kept == {first, rows[-2]["id"], rows[-1]["id"]}
    assert sorted(why for _, why in expected if why) in (["duplicate"] * 4 + ["near duplicate"], ["near duplicate"] * 5)
    rng = random.Random(0)
    for _ in range(5):
        mixed = rows + rng.sample(rows, 4)  # some twice, as in parts that overlap
        rng.shuffle(mixed)
        assert sift(mixed) == expected


def test_every_row_says_who_wrote_it_and_keeps_its_captions_licence_address_and_split():
    ((row, why),) = sifted([record("a dog", completion("make it winter", "a dog in winter"))], Rules())
    assert not why and tuple(row) == COLUMNS
    assert row == {
        "id": row["id"], "input": "a dog", "edit": "make it winter", "output": "a dog in winter", "url": "http://pictures/1", "licence": "CC0",
        "split": row["split"], **BY,
    }  # fmt: skip


def test_a_caption_is_in_one_split_whatever_the_seed_and_its_case():
    splits = [record(caption, "", k, seed)["split"] for caption in ("a dog", "A dog.") for k in range(3) for seed in range(3)]
    assert len(set(splits)) == 1
    many = [record(f"caption {i}", "")["split"] for i in range(2000)]
    assert 0.07 < many.count("held_out") / 2000 < 0.13


def test_ids_differ_by_seed_caption_and_number_alone():
    ids = {ask.id for seed in range(3) for caption in ("a dog", "a cat") for ask in asks_of(Caption(caption, str(seed)), 4, seed)}
    assert len(ids) == 24
    assert asks_of(Caption("a dog", "one", "CC0", "line 1"), 1, 0)[0].id == asks_of(Caption("a dog", "two"), 3, 0)[0].id


def test_figures_tell_how_varied_the_instructions_are():
    figures = Figures()
    texts = [completion("make it winter", "a dog in winter")] * 3 + [completion("paint it red", "a red dog"), "nothing"]
    for row, why in sifted([record(f"dog {i}", text) for i, text in enumerate(texts)], Rules()):
        figures.count(row, why)
    assert (figures.asked, figures.parsed, figures.kept, dict(figures.reasons)) == (5, 4, 4, {"parts": 1})
    assert figures.distinct == {
        "distinct-1": 5 / 12, "distinct-2": 4 / 8, "distinct instructions": 2 / 4, "commonest instruction": 3 / 4,
    }  # fmt: skip
    assert figures.verbs == {"make": 3, "paint": 1} and figures.commonest == (3, "make it winter")


def test_topics_are_those_of_rows_that_people_wrote():
    right = sum(topic_of(row["edit"].lower()) == row["kind"] for row in seed_rows())
    assert right / len(seed_rows()) > 0.8 and topic_of("make it winter with deep snow") == "season"
