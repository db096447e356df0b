"""Runs of an evaluation: what is resumed, added, compared, left out and refused."""

import json
import re

import pytest
import torch

pytest.importorskip("diffusers", reason="tests of evaluate need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("pyarrow", reason="tests of evaluate need pyarrow (pip install -e '.[evaluate]')")
pytest.importorskip("matplotlib", reason="tests of evaluate need matplotlib (pip install -e '.[evaluate]')")

from evaluation_cases import evaluate, figures_in
from ip2p.checkpoints.defaults import PACKAGED
from ip2p.errors import EditError
from ip2p.evaluation import evaluate as run
from tiny_model import save_folder, tiny_editor


def test_a_tiny_model_from_the_command_line_to_the_report(model, pairs, tmp_path, capsys):
    from diffusers import UNet2DConditionModel

    plain = tiny_editor()
    plain.unet = UNet2DConditionModel.from_config({**plain.unet.config, "in_channels": 4})
    save_folder(plain, tmp_path / "plain")
    scales = ["--image-scale", "1.2,1.8", "--steps", "2", "--strengths", "0.5", "--sdedit", tmp_path / "plain"]
    assert evaluate(model, pairs, tmp_path / "out", *scales) == 0
    out = capsys.readouterr().out
    assert out.strip().endswith("report.html") and "SDEdit, s_T 7.5, strength 0.5" in out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf8")
    for text in (
        "untouched picture",
        "s_T 7.5, s_I 1.8",
        "L1 to the target",
        "Side by side",
        "data:image/jpeg;base64,",
        "<svg",
        "make it green",
    ):
        assert text in page, text
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == [], "everything is inside the page"
    for file in ("figures.json", "contact_sheet.jpg", "plots/rms_input-progress.png", "edits.jsonl"):
        assert (tmp_path / "out" / file).is_file(), file
    assert evaluate(model, pairs, tmp_path / "wrong", "--sdedit", model, "--image-scale", "1.5", "--steps", 2) == 2
    assert "can't do SDEdit" in capsys.readouterr().err


def test_a_run_that_was_cut_off_repeats_nothing_and_ends_alike(oracle, model, photos, tmp_path):
    made = oracle(photos)
    out = tmp_path / "out"
    assert evaluate(model, photos, out, "--sweep-photos", 0) == 0
    whole, figures, asked = (out / "edits.jsonl").read_bytes(), figures_in(out), len(made.edits)
    lines = whole.splitlines(keepends=True)
    (out / "edits.jsonl").write_bytes(b"".join(lines[:20]) + lines[20][:30])
    (out / "references.jsonl").write_bytes((out / "references.jsonl").read_bytes()[:-7])
    made.edits.clear()
    assert evaluate(model, photos, out, "--sweep-photos", 0) == 0
    assert (out / "edits.jsonl").read_bytes() == whole and figures_in(out) == figures
    made_before = sum(json.loads(line)["maker"] == "tiny" for line in lines[:20])
    assert len(made.edits) == asked - made_before
    made.edits.clear()
    assert evaluate(model, photos, out, "--sweep-photos", 0) == 0 and made.edits == []


def test_more_scales_and_pairs_are_added_to_a_run_and_other_settings_are_refused(oracle, model, pairs, tmp_path, capsys):
    made, out = oracle(pairs), tmp_path / "out"
    assert evaluate(model, pairs, out, "--image-scale", "1.5", "--count", 2) == 0
    assert evaluate(model, pairs, out, "--image-scale", "1.2,1.5") == 0
    assert len(made.edits) == 6
    capsys.readouterr()
    assert evaluate(model, pairs, out, "--image-scale", "1.5", "--steps", 7) == 2
    assert "other settings (steps)" in capsys.readouterr().err
    assert evaluate(model, pairs, out, "--image-scale", "1.5", "--steps", 7, "--force") == 0
    assert {setting["edits"] for setting in figures_in(out)["settings"]} == {3}


def test_a_pair_has_the_same_seed_at_every_setting_and_another_than_its_neighbour(oracle, model, pairs, tmp_path):
    made = oracle(pairs)
    assert evaluate(model, pairs, tmp_path / "out", "--image-scale", "1.2,1.5") == 0
    seeds = {}
    for edit in made.edits:
        seeds.setdefault(edit.image.tobytes(), set()).add(edit.seed)
    assert [len(found) for found in seeds.values()] == [1, 1, 1] and len(set.union(*seeds.values())) == 3


def test_the_package_s_checkpoint_is_known_by_all_of_its_content(tmp_path, monkeypatch):
    """Not by its name, nor by a folder that has it, and a run that an earlier version began under the name continues."""
    for name in ("small.safetensors", "small.yaml"):
        (tmp_path / name).write_bytes(bytes(3 << 20))
    (tmp_path / "small.clip").mkdir()
    (tmp_path / "small.clip" / "vocab.json").write_text("{}")
    monkeypatch.setitem(PACKAGED, "small", tmp_path / "small.safetensors")
    before, out = run.sources_of(["small"], None), tmp_path / "out"
    (tmp_path / "elsewhere" / "small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run.sources_of(["small"], None) == before
    run.begin(out, {}, [run.Source("small", "small", "small")], False)
    run.begin(out, {}, before, False)
    with (tmp_path / "small.safetensors").open("r+b") as file:
        file.seek(3 << 19)
        file.write(b"1")
    with pytest.raises(EditError, match="the weights of small"):
        run.begin(out, {}, run.sources_of(["small"], None), False)


def test_two_runs_are_compared_pair_by_pair(oracle, model, pairs, tmp_path, capsys):
    oracle(pairs, "input")
    assert evaluate(model, pairs, tmp_path / "lazy", "--image-scale", "1.5") == 0
    oracle(pairs)
    assert evaluate(model, pairs, tmp_path / "out", "--image-scale", "1.5", "--compare", tmp_path / "lazy") == 0
    [found] = figures_in(tmp_path / "out")["comparisons"]
    assert (found["one"]["maker"], found["other"]["maker"], found["pairs"]) == ("tiny (lazy)", "tiny", 3)
    assert found["nearer_rms"]["mean"] == -1 and found["rms_target"]["mean"] > 0 and found["rms_input"]["mean"] < 0
    assert "tiny (lazy), s_T 7.5, s_I 1.5 − tiny, s_T 7.5, s_I 1.5" in capsys.readouterr().out
    assert evaluate(model, pairs, tmp_path / "small", "--image-scale", "1.5", "--size", "128", "--compare", tmp_path / "lazy") == 2
    assert "another size" in capsys.readouterr().err


def with_broken_row(path, row, target):
    """The set at `path` with a picture in `row` that is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path).to_pydict()
    table["original_image"][row]["bytes"] = b"no picture"
    pq.write_table(pa.Table.from_pydict(table, pq.read_schema(path)), target)
    return target


def test_a_row_that_cannot_be_read_is_told_and_left_out(oracle, model, pairs, photos, tmp_path, capsys):
    oracle(pairs)
    assert evaluate(model, with_broken_row(pairs, 1, tmp_path / "broken.parquet"), tmp_path / "out", "--image-scale", "1.5") == 1
    assert capsys.readouterr().err.count("broken.parquet row 1") == 1
    assert {setting["edits"] for setting in figures_in(tmp_path / "out")["settings"]} == {2}
    oracle(photos)
    assert evaluate(model, with_broken_row(photos, 4, tmp_path / "photos.parquet"), tmp_path / "other", "--sweep-photos", 0) == 1
    [found] = figures_in(tmp_path / "other")["computed"]
    assert found["edits"] == 8 and found["recognised"]["rms"]["asked"]["mean"] == 1


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--scorer", "magic"], "There is no scorer “magic”"),
        (["--image-scale", "1,x"], "numbers with commas"),
        (["--sampler", "Fast"], "There is no sampler “Fast”"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--count", "0"], "--count must be at least 1"),
        (["--text-scale", "500"], "text scale must be between"),
        (["--device", "toaster"], "There is no device “toaster”"),
        pytest.param(
            ["--device", "cuda"], "There is no device “cuda”", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
        ),
        (["--compare", "nowhere"], "nowhere holds no run"),
    ],
)
def test_what_is_wrong_is_one_sentence_before_any_work(model, pairs, tmp_path, capsys, arguments, sentence):
    assert evaluate(model, pairs, tmp_path / "out", *arguments) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1
    assert not (tmp_path / "out" / "edits.jsonl").exists()
