"""Whole evaluations of photographs with kinds of edits, by editors whose edits are known; phrasings of one's own."""

import pytest

pytest.importorskip("diffusers", reason="tests of evaluate need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("pyarrow", reason="tests of evaluate need pyarrow (pip install -e '.[evaluate]')")
pytest.importorskip("matplotlib", reason="tests of evaluate need matplotlib (pip install -e '.[evaluate]')")

from evaluation_cases import KINDS, evaluate, figures_in
from ip2p.checkpoints.defaults import defaults_for
from ip2p.dataset.open import open_pairs
from ip2p.errors import EditError
from ip2p.evaluation.instructions import Instructions
from ip2p.evaluation.options import procedural_scales
from ip2p.evaluation.procedural import photos_of


@pytest.mark.parametrize("answer, share", [("target", 1.0), ("input", 0.0)])
def test_who_gives_the_target_is_always_nearer_and_who_gives_the_input_never(oracle, model, photos, tmp_path, answer, share):
    oracle(photos, answer)
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 0) == 0
    [found] = figures_in(tmp_path / "out")["computed"]
    assert found["nearer"]["rms"]["all"]["mean"] == found["nearer"]["rms"]["counting"]["mean"] == share
    assert found["nearer_by_both"]["mean"] == share and (found["edits"], found["photos"]) == (9, 3)
    assert found["kinds"]["rms"]["red ball"]["inside"]["nearer"]["mean"] == share
    assert found["kinds"]["rms"]["red ball"]["outside"]["result"]["mean"] == 0, "neither touches what is outside the mask"
    assert "inside" not in found["kinds"]["rms"]["green"]


def test_an_obedient_editor_is_recognised_and_without_its_text_it_is_not(oracle, model, photos, tmp_path):
    oracle(photos)
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 0) == 0
    [found] = figures_in(tmp_path / "out")["computed"]
    seen = found["recognised"]["rms"]
    assert seen["asked"]["mean"] == 1 and seen["other"]["mean"] == 0
    assert seen["blank"]["mean"] == pytest.approx(1 / 3) == seen["chance"]["mean"], "one result cannot be near three targets"
    assert seen["order"] == list(KINDS) and seen["confusion"] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    assert seen["asked_minus"]["other"] == {"mean": 1, "low": None, "high": None, "n": 9}


def test_an_editor_that_does_something_else_is_found_out(oracle, model, photos, tmp_path):
    oracle(photos, "next")
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 0) == 0
    seen = figures_in(tmp_path / "out")["computed"][0]["recognised"]["rms"]
    assert seen["asked"]["mean"] == 0 and seen["confusion"] == [[0, 3, 0], [0, 0, 3], [3, 0, 0]]


def test_the_scales_are_those_that_suit_the_model():
    for name in ("small", "other.safetensors"):
        suits = defaults_for(name)
        text, image = procedural_scales(name)
        assert (text[0], image[0]) == (suits.text_scale, suits.image_scale)
        assert len({*text}) == 4 and min(text) < suits.text_scale < max(text) and min(image) < suits.image_scale < max(image)


def test_the_sweeps_show_what_each_scale_does(oracle, model, photos, tmp_path):
    made = oracle(photos)
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 2) == 0
    [found] = figures_in(tmp_path / "out")["computed"]
    text, image = found["over_text_scale"], found["over_image_scale"]
    assert [row["scale"] for row in text["rows"]] == [0, 3, 6, 7.5, 9]
    assert [row["scale"] for row in image["rows"]] == [1, 1.2, 1.5, 1.8, 2.2]
    assert text["photos"] == image["photos"] == 2
    expected = [0, 0.4, 0.8, 1, 1]
    assert [row["progress"]["mean"] for row in text["rows"]] == pytest.approx(expected, abs=0.02)
    assert image["rows"][-1]["progress"]["mean"] == pytest.approx(1 / 1.7, abs=0.02)
    assert image["change"]["rms_input"]["last_minus_first"]["mean"] < 0 < text["change"]["rms_input"]["last_minus_first"]["mean"]
    assert not image["change"]["rms_input"]["rises_at_every_step"]
    # Nine at the main scales, three without text, and two photographs with three kinds at each of the seven other settings.
    assert len(made.edits) == 9 + 3 + 2 * 3 * 7


def test_a_kind_counts_when_its_edit_is_twice_what_the_autoencoder_loses(oracle, model, photos, tmp_path):
    oracle(photos, levels=128)
    assert evaluate(model, photos, tmp_path / "out", "--sweep-photos", 0) == 0
    [found] = figures_in(tmp_path / "out")["computed"]
    kinds = found["kinds"]["rms"]
    assert {kind["counts"] for kind in kinds.values()} == {True, False}
    assert all(kind["counts"] == (kind["edit"] >= 2 * kind["autoencoder"]) for kind in kinds.values())
    assert found["nearer"]["rms"]["counting_kinds"] == sum(kind["counts"] for kind in kinds.values())
    assert 5 < found["autoencoder_psnr"]["mean"] < 30


def test_a_set_without_kinds_has_no_photographs(pairs, photos):
    assert photos_of(open_pairs(pairs)) == []
    assert [photo.rows for photo in photos_of(open_pairs(photos), 2)] == [
        {"green": 0, "dark": 1, "red ball": 2},
        {"green": 3, "dark": 4, "red ball": 5},
    ]


def test_held_out_phrasings_are_asked_for_by_name(oracle, model, photos, pairs, tmp_path, capsys):
    made = oracle(photos)
    assert evaluate(model, photos, tmp_path / "out", "--phrasings", "held-out", "--sweep-photos", 0) == 0
    assert {edit.instruction for edit in made.edits} == {f"{kind}, as never heard" for kind in KINDS}
    assert evaluate(model, pairs, tmp_path / "other", "--phrasings", "held-out") == 2
    assert "have no held-out phrasings" in capsys.readouterr().err


def test_phrasings_of_a_file_are_filled_in_where_they_fit(photos):
    pairs, file = open_pairs(photos), photos.with_name("phrasings.yaml")
    file.write_text("green: ['make a {thing} of it']\ndark: ['{value} dark', darker]\nred ball: ['a {value} apple']")
    own, parameters = pairs.texts, dict(zip(range(9), ("", "", "orange", "", "very", "red", "blue", "", "")))
    pairs.texts = lambda row: {**own(row), "parameter": parameters[row], "photo": "red-panda-2.jpg"}
    given = Instructions(pairs, str(file), 0)
    fitting = [row for row in range(9) if given.fits(pairs.texts(row))]
    assert {row: given(row) for row in fitting} == {
        0: "make a red panda of it", 1: "darker", 2: "an orange apple", 3: "make a red panda of it", 4: "very dark", 5: "a red apple", 7: "darker"
    }  # fmt: skip
    assert [photo.rows for photo in photos_of(pairs, fits=given.fits)] == [{"green": 0, "dark": 1, "red ball": 2}]
    with pytest.raises(EditError, match="nothing that fits"):
        given(6)
    file.write_text(file.read_text() + "\nsnow: [snow]")
    assert Instructions(pairs, str(file), 0).name != given.name


@pytest.mark.parametrize(
    "text, said",
    (
        (None, "There are no phrasings"),
        ("green: [green]", "no phrasings of the kind dark"),
        ("green: {a: b}", "give every kind a list of texts"),
        ("- green", "give every kind a list of texts"),
        ("green: ['make it {colour}']", "{colour} to fill in"),
        ("green: [", "can't be read"),
        ("", "give every kind a list of texts"),
    ),
)
def test_a_file_of_phrasings_that_cannot_be_used_is_refused_with_a_sentence(model, photos, tmp_path, capsys, text, said):
    file = tmp_path / "phrasings.yaml"
    if text is not None:
        file.write_text(text)
    assert evaluate(model, photos, tmp_path / "out", "--phrasings", file) == 2
    assert said in capsys.readouterr().err


def test_a_file_of_phrasings_needs_pairs_with_kinds(model, pairs, tmp_path, capsys):
    file = tmp_path / "phrasings.yaml"
    file.write_text("green: [green]")
    assert evaluate(model, pairs, tmp_path / "out", "--phrasings", file) == 2
    assert "don't say what kind of edit" in capsys.readouterr().err
