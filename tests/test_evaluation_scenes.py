"""Edit models measured on synthetic scenes: the judges, the choice of scales, controls, going on, and comparing."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("diffusers", reason="the editor needs diffusers (pip install -e '.[evaluate]')")
pytest.importorskip("matplotlib", reason="evaluation needs matplotlib (pip install -e '.[evaluate]')")

from PIL import Image

from ip2p.__main__ import main
from ip2p.dataset.scenes import COLOURS, scene
from ip2p.dataset.varied.scene_edits import KINDS, PLACE, SIZE, TEXTURE, scene_edits
from ip2p.evaluation.scene_cases import PLAIN, RECOLOURING, UNSEEN, VARIED, Judged, cases_of, varied_case
from tiny_model import save_folder, tiny_editor

COUNT = 4


@pytest.mark.parametrize("scenes", [PLAIN, VARIED])
def test_exact_edits_are_right_copies_are_not_and_other_pictures_keep_nothing(scenes):
    cases = cases_of(scenes, 150)
    assert {case.kind for case in cases} == ({RECOLOURING} if scenes == PLAIN else {RECOLOURING, SIZE, PLACE, TEXTURE})
    for case in cases:
        assert case.judge(case.exact) == Judged(True, True, 0.0)
        copied = case.judge(case.picture)
        assert not copied.target and copied.kept and copied.error == 0
        grey = case.judge(Image.new("RGB", case.picture.size, COLOURS["purple"]))
        assert not grey.both


def test_a_picture_all_of_the_asked_colour_is_right_there_and_keeps_nothing():
    for i in range(20):
        drawn, case = scene(i, UNSEEN), cases_of(PLAIN, i + 1)[i]
        judged = case.judge(Image.new("RGB", (64, 64), COLOURS[drawn.asked]))
        assert (judged.target, judged.kept) == (True, False)


def test_blur_and_noise_as_an_autoencoder_leaves_them_change_no_verdict():
    rng = np.random.default_rng(0)
    wrong = Counter()
    for case in cases_of(VARIED, 150):
        small = case.exact.resize((48, 48), Image.Resampling.BILINEAR).resize((64, 64), Image.Resampling.BILINEAR)
        noisy = np.asarray(small, np.float32) + rng.normal(0, 8, (64, 64, 3))
        wrong[case.kind] += not case.judge(Image.fromarray(noisy.clip(0, 255).astype(np.uint8))).both
    assert sum(wrong.values()) <= 8, wrong


def test_an_edit_that_also_changes_what_it_should_not_keeps_nothing():
    for edit in [edit for edit, _ in zip(scene_edits(UNSEEN, held_out=True), range(60))]:
        other = next(colour for colour in COLOURS if colour not in {edit.after.description.ground, *(t.colour for t in edit.after.description.things)})  # fmt: skip
        if edit.target is None:
            things = (replace(edit.after.description.things[0], colour=other), *edit.after.description.things[1:])
            wrong = replace(edit.after.description, things=things)
        else:
            wrong = replace(edit.after.description, ground=other)
        judged = varied_case(edit).judge(edit.after.after(wrong).picture())
        assert not judged.kept, edit


def test_no_varied_scene_of_the_measurement_is_asked_for_as_a_training_is():
    measured, trained = ({edit.instruction for edit, _ in zip(scene_edits(seed, held_out), range(400))} for seed, held_out in ((UNSEEN, True), (0, False)))  # fmt: skip
    assert not measured & trained and len(KINDS) == 5


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name in ("one", "other"):
        save_folder(tiny_editor(), folder / name)
    return folder


def command(models, output, *more, names=("one",)):
    chosen = [part for name in names for part in ("--model", models / name)]
    settings = ["--scenes", "varied", "--count", COUNT, "--sweep-scenes", 3, "--steps", 1, "--text-scale", "2,3", "--image-scale", "1.5"]
    return [str(part) for part in ("evaluate", *chosen, "--output", output, *settings, *more)]


def test_a_model_is_measured_with_controls_at_scales_chosen_on_other_scenes_and_goes_on(models, tmp_path, capsys):
    assert main(command(models, tmp_path / "run")) == 0
    out = capsys.readouterr().out
    assert "4 scenes never seen, 1 steps of Euler a" in out and "chosen on 3 others" in out
    lines = [json.loads(line) for line in (tmp_path / "run" / "edits.jsonl").read_text().splitlines()]
    assert Counter(line["what"] for line in lines) == {
        "sweep": 6, "edited": COUNT, "instruction blanked": COUNT, "instruction shuffled": COUNT, "input copied": COUNT,
    }  # fmt: skip
    assert {line["case"] for line in lines if line["what"] == "sweep"} == {4, 5, 6}
    figures = json.loads((tmp_path / "run" / "figures.json").read_text())
    (model,) = figures["models"]
    assert len(model["curve"]) == 2 and model["image_scale"] == 1.5
    copied = [line for line in lines if line["what"] == "input copied"]
    assert all(line["kept"] and not line["target"] for line in copied)
    assert (tmp_path / "run" / "edits.png").exists()
    kept = "\n".join(json.dumps(line) for line in lines[:8]) + "\n"  # as a run that was killed leaves it
    (tmp_path / "run" / "edits.jsonl").write_text(kept)
    assert main(command(models, tmp_path / "run")) == 0
    assert capsys.readouterr().out == out
    assert json.loads((tmp_path / "run" / "figures.json").read_text()) == figures


def test_runs_are_compared_scene_by_scene(models, tmp_path, capsys):
    assert main(command(models, tmp_path / "a")) == 0
    assert main(command(models, tmp_path / "b", "--compare", tmp_path / "a", names=("other",))) == 0
    assert "other − one, recolouring" in capsys.readouterr().out
    differences = json.loads((tmp_path / "b" / "figures.json").read_text())["differences"]["one"]
    assert differences["recolouring"]["mean"] == 0, "two models of the same weights"
    assert main(command(models, tmp_path / "c", "--compare", tmp_path / "a", "--count", 5)) == 2
    assert "can't be compared, it was measured with another count" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, why",
    [
        (["--data", "x"], "Name what to measure on"),
        (["--split", "test"], "--split is not for --scenes"),
        (["--sampler", "none"], "There is no sampler"),
        (["--text-scale", "-1"], "scale"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(models, tmp_path, capsys, options, why):
    assert main([*command(models, tmp_path / "run")[:-4], *options]) == 2
    err = capsys.readouterr().err
    assert why in err and err.count("\n") == 1
