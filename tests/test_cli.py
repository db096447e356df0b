"""python -m ip2p: one line for what a person got wrong, and `edit` over a folder. The editor here is a fake."""

import dataclasses
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ip2p.__main__ import VERBS, main
from ip2p.chain import lines_of, next_edit
from ip2p.checkpoints.recognise import FIRST_LAYER
from ip2p.contact_sheet import contact_sheet
from ip2p.errors import EditError
from ip2p.presets import load

ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass
class FakeResult:
    image: Image.Image
    seed: int
    infotext: str


class FakeEditor:
    """In place of ip2p.editor.Editor: every result is the picture's size in one colour. asked: all that it was asked for; lines: what
    of it each line of a chain was."""

    loaded, asked, lines = [], [], []
    finders: dict = {}  # noqa: RUF012 — it finds no region

    @classmethod
    def load(cls, model, device):
        cls.loaded.append(model)
        return cls()

    def edit(self, edit, on_step=None, on_rows=None):
        self.asked.append(edit)
        if edit.instruction == "fail":
            raise EditError("The sampler is unknown.")
        for step in range(edit.steps):
            on_step(step + 1, edit.steps, None)
        first, *rest = lines_of(edit)
        seeds = [max(edit.seed, 0) + i for i in range(edit.count)]
        cells = [(c.text_scale, c.image_scale, c.seed) for c in edit.variants] or [
            (edit.text_scale, edit.image_scale, seed) for seed in seeds
        ]
        edits = [(first, *cell) for cell in cells]
        results = []
        for line in [first, *rest]:
            if line is not first:
                edits = [(next_edit(line, one.image, one.seed), *cell) for one, cell in zip(results[-len(cells) :], cells)]
            self.lines.extend(one for one, *_ in edits)
            results += [
                FakeResult(
                    Image.new("RGB", one.image.size, (int(text * 10), int(image * 10), len(results))),
                    seed,
                    f"{one.instruction}\nSeed: {seed}",
                )
                for one, text, image, seed in edits
            ]
        return results


@pytest.fixture(autouse=True)
def fake_editor(monkeypatch):
    module = types.ModuleType("ip2p.editor")
    module.Editor = FakeEditor
    monkeypatch.setitem(sys.modules, "ip2p.editor", module)
    for name in ("loaded", "asked", "lines"):
        monkeypatch.setattr(FakeEditor, name, [])
    return FakeEditor


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in (10, 2, 1):
        Image.new("RGB", (64 + number, 64)).save(folder / f"p{number}.jpg")
    (folder / "notes.txt").write_text("hello")
    return folder


def refusal(capsys, *argv) -> str:
    """The one line with which a command is refused."""
    try:
        status = main(list(map(str, argv)))
    except SystemExit as e:
        status = e.code
    captured = capsys.readouterr()
    assert status == 2 and captured.out == ""
    assert captured.err.count("\n") == 1 and "Traceback" not in captured.err
    return captured.err


def ip2p(*argv, **options) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-m", "ip2p", *map(str, argv)], cwd=ROOT, env=env, capture_output=True, text=True, **options)


def test_the_table_of_verbs_is_printed_and_each_has_help(capsys):
    with pytest.raises(SystemExit) as e:
        main(["--help"])
    printed = capsys.readouterr().out
    assert e.value.code == 0 and all(verb in printed for verb in VERBS)
    for argv in (["edit", "--help"], ["model", "--help"], *(["model", verb, "--help"] for verb in ("info", "fetch", "convert", "merge"))):
        with pytest.raises(SystemExit) as e:
            main(argv)
        assert e.value.code == 0 and capsys.readouterr().out.startswith("usage: python -m ip2p")


@pytest.mark.parametrize(
    "argv, said",
    [
        ([], "VERB"),
        (["paint"], "invalid choice: 'paint'"),
        (["model"], "required"),
        (["model", "paint"], "invalid choice"),
        (["model", "info"], "file"),
        (["model", "info", "/nowhere/x.safetensors"], "no file"),
        (["model", "info", "/"], "folder"),
        (["model", "convert", "/nowhere/x.safetensors", "/nowhere/out"], "no file"),
        (["model", "convert", "/nowhere/x.ckpt", "/nowhere/out.ckpt"], "can run code"),
        (["model", "merge", "a", "b", "c", "d.ckpt"], ".safetensors"),
        (["model", "fetch", "--webui", "/nowhere"], "no WebUI"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, argv, said):
    if "convert" in argv:
        pytest.importorskip("diffusers", reason="diffusers is not installed")
    assert said in refusal(capsys, *argv)


def test_a_missing_package_is_one_line(capsys, monkeypatch, pictures, tmp_path):
    monkeypatch.setitem(sys.modules, "ip2p.editor", None)
    assert "pip install" in refusal(capsys, "edit", pictures, "make it winter", "--output", tmp_path / "out")


def test_ctrl_c_ends_with_130_and_a_line(capsys, monkeypatch, pictures, tmp_path):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEditor, "edit", interrupt)
    assert main(["edit", str(pictures), "make it winter", "--output", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


def test_info_is_for_people_and_for_programs(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({FIRST_LAYER: torch.zeros(6, 8, 3, 3).half(), "cond_stage_model.transformer.x": torch.zeros(1).half()}, path)
    info = ip2p("model", "info", path)
    assert info.returncode == 0 and "edit model, SD 1.x" in info.stdout and "fp16" in info.stdout and not info.stderr
    found = json.loads(ip2p("model", "info", path, "--json", "--hash").stdout)
    assert found["edit"] and len(found["sha256"]) == 64
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(b"hello")
    refused = ip2p("model", "info", bad)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)


def test_one_picture_is_edited(pictures, tmp_path, capsys, fake_editor):
    out = tmp_path / "new" / "winter.png"
    argv = ["edit", str(pictures / "p2.jpg"), "make it winter", "--output", str(out), "--model", "m", "--text-scale", "6", "--image-scale"]
    argv += ["1.2", "--steps", "3", "--seed", "7", "--sampler", "DDIM", "--negative", "rain", "--size", "128x64"]
    assert main(argv) == 0
    assert capsys.readouterr().out.strip() == str(out) and fake_editor.loaded == ["m"]
    (edit,) = fake_editor.asked
    assert (edit.text_scale, edit.image_scale, edit.steps, edit.seed, edit.sampler_name) == (6, 1.2, 3, 7, "DDIM")
    assert (edit.negative_prompt, edit.width, edit.height, edit.image.size) == ("rain", 128, 64, (66, 64))
    with Image.open(out) as image:
        assert image.info["parameters"] == "make it winter\nSeed: 7"


def test_a_folder_is_edited_in_natural_order(pictures, tmp_path, capsys, fake_editor):
    assert main(["edit", str(pictures), "make it winter", "--output", str(tmp_path / "out"), "--size", "256"]) == 0
    assert [edit.image.width for edit in fake_editor.asked] == [65, 66, 74] and fake_editor.asked[0].longest_side == 256
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p1.png", "p10.png", "p2.png"]
    assert capsys.readouterr().out.strip() == "3 edited, 0 there already, 0 failed."


def test_one_bad_file_is_reported_and_does_not_end_the_run(pictures, tmp_path, capsys, fake_editor):
    (pictures / "p1.jpg").write_bytes(b"hello")
    argv = ["edit", str(pictures), "make it winter", "--output", str(tmp_path / "out")]
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert "p1.jpg: The picture can't be read" in captured.err and "2 edited, 0 there already, 1 failed." in captured.out
    assert len(fake_editor.asked) == 2
    Image.new("RGB", (70, 64)).save(pictures / "p1.jpg")
    assert main(argv) == 0 and len(fake_editor.asked) == 3, "only what was missing"
    assert "1 edited, 2 there already, 0 failed." in capsys.readouterr().out
    assert main(argv) == 0 and len(fake_editor.loaded) == 2, "no model is loaded for nothing"


def test_other_settings_do_not_pass_for_finished(pictures, tmp_path, capsys, fake_editor):
    out = tmp_path / "out"
    assert main(["edit", str(pictures), "make it winter", "--output", str(out)]) == 0
    capsys.readouterr()
    assert "other settings" in refusal(capsys, "edit", pictures, "make it summer", "--output", out)
    assert len(fake_editor.asked) == 3
    assert main(["edit", str(pictures), "make it summer", "--output", str(out), "--force"]) == 0
    with Image.open(out / "p1.png") as image:
        assert image.info["parameters"].startswith("make it summer")


def test_several_results_and_equal_stems_have_names_of_their_own(pictures, tmp_path):
    Image.new("RGB", (64, 64)).save(pictures / "p1.png")
    assert main(["edit", str(pictures), "make it winter", "--output", str(tmp_path / "out"), "--count", "2", "--seed", "5"]) == 0
    names = ["p1.jpg-1.png", "p1.jpg-2.png", "p1.png-1.png", "p1.png-2.png", "p10-1.png", "p10-2.png", "p2-1.png", "p2-2.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    with Image.open(tmp_path / "out" / "p2-2.png") as image:
        assert image.info["parameters"].endswith("Seed: 6")


def test_a_grid_is_one_labelled_sheet(pictures, tmp_path, fake_editor):
    out = tmp_path / "sheet.png"
    argv = ["edit", str(pictures / "p2.jpg"), "make it winter", "--output", str(out), "--grid", "--text-scale", "5,7.5", "--image-scale"]
    assert main([*argv, "1.2, 1.5, 1.8"]) == 0
    (edit,) = fake_editor.asked
    scales = [(cell.text_scale, cell.image_scale) for cell in edit.variants]
    assert scales == [(5, 1.2), (5, 1.5), (5, 1.8), (7.5, 1.2), (7.5, 1.5), (7.5, 1.8)]
    assert len({cell.seed for cell in edit.variants}) == 1 and edit.variants[0].seed >= 0
    with Image.open(out) as sheet:
        assert sheet.width > 3 * 66 and sheet.height > 2 * 64 and sheet.info["parameters"].startswith("make it winter")


def test_a_grid_without_scales_is_around_those_that_suit_the_model(pictures, tmp_path, fake_editor):
    argv = ["edit", str(pictures / "p2.jpg"), "make it winter", "--output", str(tmp_path / "sheet.png"), "--grid", "--model", "m"]
    assert main(argv) == 0
    (edit,) = fake_editor.asked
    assert [(cell.text_scale, cell.image_scale) for cell in edit.variants] == [(t, i) for t in (3.75, 7.5, 12) for i in (1.12, 1.5, 2.1)]


def test_a_sheet_has_its_cells_in_place_and_its_labels_beside_them():
    cells = [Image.new("RGB", (160, 96), (0, 0, 40 * i)) for i in range(6)]
    sheet = np.asarray(contact_sheet(cells, ["text 5", "text 7.5"], ["image 1.2", "image 1.5", "image 1.8"])).astype(int)
    left, top = sheet.shape[1] - 3 * 168, sheet.shape[0] - 2 * 104
    for i in range(6):
        y, x = divmod(i, 3)
        cell = sheet[top + y * 104 :, left + x * 168 :][:96, :160]
        assert (cell == (0, 0, 40 * i)).all()
    for y in range(2):
        assert (sheet[top + y * 104 :, :left][:96] < 100).any(), "a label beside the row"
    for x in range(3):
        assert (sheet[:top, left + x * 168 :][:, :160] < 100).any(), "a label above the column"


def test_cells_of_other_sizes_are_in_the_middle_of_their_places():
    black, wide = Image.new("RGB", (20, 40), "black"), Image.new("RGB", (60, 20), "red")
    sheet = contact_sheet([black, wide, None, wide], ["", ""], ["", ""])
    places = [sheet.crop((16 + x * 68, 26 + y * 48, 76 + x * 68, 66 + y * 48)) for y in (0, 1) for x in (0, 1)]
    assert [place.getpixel((30, 20)) for place in places] == [(0, 0, 0), (255, 0, 0), (255, 255, 255), (255, 0, 0)]
    assert places[0].getbbox() == (0, 0, 60, 40) and places[0].convert("L").point(lambda v: 255 - v).getbbox() == (20, 0, 40, 40)


def test_a_preset_brings_instruction_scales_and_steps(pictures, tmp_path, fake_editor):
    argv = ["edit", str(pictures / "p1.jpg"), "--output", str(tmp_path / "a.png"), "--preset", "change-weather", "--choice", "to=foggy"]
    assert main([*argv, "--steps", "4"]) == 0
    (edit,) = fake_editor.asked
    assert edit.instruction == "change the weather from sunny to foggy" and edit.steps == 4


@pytest.mark.parametrize(
    "options, asked",
    [
        ([], ("full", 1, False)),
        (["--result", "own-size"], ("own-size", 1, False)),
        (["--result", "working", "--crop"], ("working", 1, True)),
        (["--detail", "0.25", "--crop"], ("full", 0.25, True)),
        (["--grid"], ("working", 1, False)),
        (["--compare"], ("working", 1, False)),
    ],
)
def test_the_result_is_a_full_one_of_the_whole_picture_unless_it_is_said(pictures, tmp_path, fake_editor, options, asked):
    argv = ["edit", str(pictures / "p1.jpg"), "make it winter", "--output", str(tmp_path / "a.png")]
    assert main([*argv, *options]) == 0
    (edit,) = fake_editor.asked
    assert (edit.result, edit.detail, edit.cropped) == asked


def test_a_preset_that_paints_takes_no_detail_of_the_photograph_unless_it_is_said(pictures, tmp_path, fake_editor):
    painted = next(preset for preset in load().values() if preset.detail == 0)
    argv = ["edit", str(pictures / "p1.jpg"), "--preset", painted.key]
    assert main([*argv, "--output", str(tmp_path / "a.png")]) == main([*argv, "--output", str(tmp_path / "b.png"), "--detail", "1"]) == 0
    assert [(edit.result, edit.detail) for edit in fake_editor.asked] == [("full", 0), ("full", 1)]


@pytest.mark.parametrize("options", (["--result", "own-size"], ["--detail", "0.5"], ["--crop"]))
def test_a_result_of_another_kind_does_not_pass_for_finished(pictures, tmp_path, capsys, options):
    argv = ["edit", str(pictures / "p1.jpg"), "make it winter", "--output", str(tmp_path / "a.png")]
    assert main(argv) == main(argv) == 0
    capsys.readouterr()
    assert "with other settings" in refusal(capsys, *argv, *options)


CHAIN = "make it winter\nadd snow"


def colours(folder: Path) -> dict[str, tuple]:
    """Of every picture of a folder its one colour and its infotext."""
    return {path.name: (Image.open(path).getpixel((0, 0)), Image.open(path).info["parameters"]) for path in sorted(folder.iterdir())}


def test_of_a_chain_the_last_line_is_written(pictures, tmp_path, fake_editor):
    mask = tmp_path / "mask.png"
    Image.new("L", (65, 64), 255).save(mask)
    argv = ["edit", str(pictures / "p1.jpg"), CHAIN, "--output", str(tmp_path / "out"), "--mask", str(mask), "--seed", "3", "--count", "2"]
    assert main([*argv, "--text-scale", "7.5", "--image-scale", "1.5"]) == 0
    assert colours(tmp_path / "out") == {
        "p1-1.png": ((75, 15, 2), "add snow\nSeed: 3"),
        "p1-2.png": ((75, 15, 2), "add snow\nSeed: 4"),
    }
    (edit,) = fake_editor.asked
    assert edit.instruction == CHAIN and edit.mask.size == (65, 64)


@pytest.mark.parametrize("count, stems", [(1, ["a"]), (2, ["a-1", "a-2"])])
def test_every_step_writes_each_line_under_a_name_of_its_own(pictures, tmp_path, count, stems):
    out = tmp_path / "out" / "a.png"
    argv = ["edit", str(pictures / "p1.jpg"), CHAIN, "--output", str(out), "--seed", "3", "--every-step", "--count", str(count)]
    assert main(argv) == 0
    assert {name: text for name, (_, text) in colours(out.parent).items()} == {
        f"{stem}-step-{step}.png": f"{line}\nSeed: {3 + k}"
        for step, line in ((1, "make it winter"), (2, "add snow"))
        for k, stem in enumerate(stems)
    }


def test_a_comparison_shows_the_last_line_or_every_step(pictures, tmp_path):
    argv = ["edit", str(pictures / "p2.jpg"), CHAIN, "--seed", "3", "--compare", "--count", "2"]
    for name, options in (("last", []), ("steps", ["--every-step"])):
        assert main([*argv, "--output", str(tmp_path / f"{name}.png"), *options]) == 0
    last, steps = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("last", "steps"))
    blues = [{tuple(colour)[2] for colour in sheet.reshape(-1, 3) if tuple(colour)[:2] == (25, 15)} for sheet in (last, steps)]
    assert blues == [{2}, {0, 2}], "the blue of a result is how many were made before its line"
    assert steps.shape[0] > last.shape[0], "a row for every seed"
    with Image.open(tmp_path / "last.png") as image:
        assert image.info["parameters"].startswith("add snow")


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["{in}/none.jpg", "x"], "no picture"),
        (["{in}/p1.jpg"], "what to change"),
        (["{in}/p1.jpg", " "], "instruction is empty"),
        (["{in}/p1.jpg", "fail"], "The sampler is unknown."),
        (["{in}/p1.jpg", "x", "--steps", "0"], "between 1 and 200"),
        (["{in}/p1.jpg", "x", "--steps", "many"], "invalid int"),
        (["{in}/p1.jpg", "x", "--text-scale", "5,6"], "--grid"),
        (["{in}/p1.jpg", "x", "--text-scale", "much"], "numbers with commas"),
        (["{in}/p1.jpg", "x", "--text-scale", "nan"], "between 0"),
        (["{in}/p1.jpg", "x", "--grid", "--text-scale", ",".join("12345678"), "--image-scale", "1,2,3,4,5,6,7"], "1 to 49 cells"),
        (["{in}/p1.jpg", "x", "--grid", "--count", "2"], "--count"),
        (["{in}/p1.jpg", "x\ny", "--grid"], "several lines"),
        (["{in}/p1.jpg", "x", "--grid", "--result", "full"], "The sheet of --grid shows results of the size they are edited at"),
        (["{in}/p1.jpg", "x", "--compare", "--result", "own-size"], "leave --result or --compare out"),
        (["{in}/p1.jpg", "x", "--compare", "--detail", "0.5"], "--detail is of a full result, and this one is “working”"),
        (["{in}/p1.jpg", "x", "--result", "own-size", "--detail", "1"], "--detail is of a full result"),
        (["{in}/p1.jpg", "x", "--detail", "1.5"], "The detail must be between 0 and 1, not 1.5"),
        (["{in}/p1.jpg", "x", "--result", "large"], "invalid choice: 'large'"),
        (["{in}/p1.jpg", "x", "--grid", "--every-step"], "leave --grid or --every-step out"),
        (["{in}/p1.jpg", "\n".join("x" * 65)], "at most 64 instructions"),
        (["{in}/p1.jpg", "x", "--size", "big"], "--size is"),
        (["{in}/p1.jpg", "x", "--size", "9x9"], "between 64"),
        (["{in}/p1.jpg", "x", "--preset", "fog"], "not both"),
        (["{in}/p1.jpg", "--preset", "fogg"], "Near ones: fog"),
        (["{in}/p1.jpg", "--preset", "change-weather", "--choice", "foggy"], "WORD=TEXT"),
        (["{in}/p1.jpg", "--preset", "change-weather", "--choice", "colour=red"], "no choice"),
        (["{in}/p1.jpg", "x", "--choice", "to=foggy"], "--preset"),
        (["{in}/p1.jpg", "x", "--output", "{in}/p1.jpg"], "is the picture itself"),
        (["{in}", "x", "--output", "{in}"], "folder of the pictures itself"),
        (["{in}", "x", "--output", "{in}/a.png"], "into a folder"),
        (["{in}/empty", "x"], "no pictures"),
        (["{in}/notes.txt", "x"], "can't be read"),
        (["{in}/p1.jpg", "x", "--mask", "{in}/p2.jpg"], "The mask is 66x64 but the picture is 65x64"),
        (["{in}/p1.jpg", "x", "--mask", "{in}/none.png"], "can't be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_settings_are_one_line_and_write_nothing(pictures, tmp_path, capsys, arguments, said):
    (pictures / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    arguments = ["--output", "{out}", *arguments]
    assert said in refusal(
        capsys, "edit", *(part.replace("{in}", str(pictures)).replace("{out}", str(tmp_path / "out")) for part in arguments)
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_help_ends_with_the_default():
    from argparse import SUPPRESS

    from ip2p.__main__ import parser_for

    for verb in ("edit", "detail", "app"):
        for action in parser_for(verb)._actions:
            if action.option_strings and not action.required and action.default != SUPPRESS and action.dest not in ("help", "preset"):
                assert "(default: " in action.help and action.help.endswith(")"), action.dest
