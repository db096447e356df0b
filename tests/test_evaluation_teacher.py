"""How near a student's one pass comes to its teacher's three: where it is looked at, the figures, and what is refused."""

import json

import pytest
import torch

pytest.importorskip("cv2", reason="pairs of photographs need OpenCV (pip install -e '.[photos]')")
pytest.importorskip("matplotlib", reason="a report needs matplotlib (pip install -e '.[evaluate]')")

from evaluation_cases import captioned_pairs, edited_photos
from ip2p.__main__ import main
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.evaluation.beside_teacher import POINTS, errors_of, table_of
from tiny_model import save_folder, tiny_editor

SAID = {"passes": "1", "text_scale": "2.5", "image_scale": "1.5"}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A teacher's folder, that of a student which is its full pass at every scale, and three photographs."""
    folder = tmp_path_factory.mktemp("one_pass")
    teacher = tiny_editor()
    save_folder(teacher, folder / "teacher")
    unet = teacher.unet
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")} | {"time_cond_proj_dim": 256}
    teacher.unet = type(unet).from_config(config)
    teacher.unet.load_state_dict(unet.state_dict() | {"time_embedding.cond_proj.weight": torch.zeros(16, 256)})
    save_folder(teacher, folder / "student")
    (folder / "student" / "instruct_edit.json").write_text(json.dumps(SAID))
    write_pairs(edited_photos(), folder / "pairs.parquet")
    return folder


def command(places, output, *options):
    settings = ["--steps", "5", "--size", "64", "--text-scale", "1,4", "--image-scale", "1,2"]
    return main(["evaluate", "--data", str(places / "pairs.parquet"), "--output", str(output), *settings, *map(str, options)])


def lines_of(output):
    return [json.loads(line) for line in (output / "edits.jsonl").read_text().splitlines()]


def test_a_student_that_is_the_full_pass_has_its_error_at_every_pair_of_scales(places, tmp_path, capsys):
    assert command(places, tmp_path, "--model", places / "student", "--teacher", places / "teacher") == 0
    lines, said = lines_of(tmp_path), capsys.readouterr().out
    assert len(lines) == 3 * POINTS * 3, "of three photographs, at each point all pairs but 1 and 1"
    assert {(line["text_scale"], line["image_scale"]) for line in lines} == {(1, 2), (4, 1), (4, 2)}
    assert all(line["student"] == pytest.approx(line["full"], rel=1e-3) and line["full"] > 0 for line in lines)
    assert "3 edits at 5 steps each: 1.000" in said and "| 1 | – | 1.000 |" in said and "| 4 | 1.000 | 1.000 |" in said
    before = (tmp_path / "edits.jsonl").read_bytes()
    assert command(places, tmp_path, "--model", places / "student", "--teacher", places / "teacher") == 0
    assert (tmp_path / "edits.jsonl").read_bytes() == before, "what is measured stays"


def test_the_errors_are_those_of_the_formula():
    """One point, whose three predictions are known, and a network that says what it is told."""

    class Told(torch.nn.Module):
        def forward(self, x, t, encoder_hidden_states, timestep_cond):
            return type("Made", (), {"sample": timestep_cond.mean(1)[:, None, None, None].expand(-1, 4, 2, 2)})

    student = tiny_editor()
    student.baked_scales, unet = (2.0, 1.5), student.unet
    full, image, uncond = (torch.full((1, 4, 2, 2), x) for x in (1.0, 0.5, 0.2))
    student.unet = Told()
    student.unet.config, student.unet.device, student.unet.dtype = unet.config, unet.device, unet.dtype
    point = torch.zeros(1, 8, 2, 2), torch.tensor([500]), torch.zeros(1, 77, 32), full, image, uncond
    first, second = errors_of(student, [point], [(2.0, 1.5), (3.0, 1.0)])
    assert first["full"] == pytest.approx((1 * 0.5 + 0.5 * 0.3) ** 2) and second["full"] == pytest.approx((2 * 0.5) ** 2)
    assert first["student"] == pytest.approx((1 + 0.65) ** 2), "at its own scales it is told nothing"
    lines = [{**line, "group": "a"} for line in (first, second)]
    assert f"{first['student'] / first['full']:.3f}" in table_of("it", lines)


def test_what_is_no_student_and_sets_without_photographs_are_refused(places, tmp_path, capsys):
    assert command(places, tmp_path / "a", "--model", places / "teacher", "--teacher", places / "teacher") == 2
    assert "teacher is no student of one pass" in capsys.readouterr().err
    write_pairs(captioned_pairs(), tmp_path / "plain.parquet")
    status = main(
        ["evaluate", "--data", str(tmp_path / "plain.parquet"), "--output", str(tmp_path / "b"), "--model", "small", "--teacher", "small"]
    )
    assert status == 2 and "--teacher is measured on procedural edits of photographs" in capsys.readouterr().err
