"""The files of an evaluation: its lines, plots and contact sheets."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

pytest.importorskip("diffusers", reason="tests of evaluate need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("pyarrow", reason="tests of evaluate need pyarrow (pip install -e '.[evaluate]')")
pytest.importorskip("matplotlib", reason="tests of evaluate need matplotlib (pip install -e '.[evaluate]')")

from evaluation_cases import scene
from ip2p import drawing
from ip2p.errors import EditError
from ip2p.evaluation import evaluate as run
from ip2p.evaluation import examples
from ip2p.evaluation.procedural import Photo
from ip2p.evaluation.sweep import Lines, Setting, Task, keep, key_of, read_lines


def test_damage_before_the_last_line_is_told(tmp_path):
    path = tmp_path / "edits.jsonl"
    path.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(EditError, match="damaged at line 2"):
        read_lines(path)
    path.write_text('{"a": 1}\n{"a"')
    with Lines(path) as lines:
        lines.append([{"a": float("nan")}])
    assert path.read_text() == '{"a": 1}\n{"a": null}\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_a_sentence(tmp_path):
    with pytest.raises(EditError, match=r"edits\.jsonl could not be written: no space left"), Lines(tmp_path / "edits.jsonl") as lines:
        lines.file.close()
        lines.file = Path("/dev/full").open("wb")  # noqa: SIM115
        lines.append([{"a": 1}])


def test_a_scale_of_many_digits_finds_its_line_again(tmp_path):
    scales = run.distinct([1.23456789, 1.2345678, 1.5])
    tasks = [Task(0, Setting("tiny", 7.5, scale), "make it green", 1, "0") for scale in scales]
    with Lines(tmp_path / "edits.jsonl") as lines:
        lines.append(task.line({}, None) for task in tasks)
        assert [key_of(line) for line in lines.lines] == [task.key for task in tasks]
    assert scales == [1.234568, 1.5]


def test_pictures_and_plots_that_cannot_be_written_are_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    task = Task(0, Setting("tiny"), "make it green", 1, "0", keep=True)
    with pytest.raises(EditError, match="could not be written"):
        keep(task, scene("navy", "white"), tmp_path / "file")
    with pytest.raises(EditError, match=r"a\.png could not be written"):
        drawing.draw_plot(lambda axes: None, "a", tmp_path / "file")


def test_photographs_without_pictures_to_show_are_not_read():
    class Picky:
        def readable(self, row):
            return row < 2

        def row(self, row):
            assert row < 2
            return SimpleNamespace(before=scene("navy", "white"), target=scene("navy", "red"))

    class Asked(dict):
        def items(self):
            raise AssertionError("nothing of this photograph is shown")

    first, second = Photo("first", {"green": 0, "dark": 1}), Photo("second", Asked(green=2, dark=3))
    results = [(Task(0, Setting("tiny"), "make it green", 1, "first"), scene("navy", "green"))]
    rows = examples.by_photo(results, [first, second], Picky())
    assert [title for title, _ in rows] == ["first: targets", "tiny, s_T 0, strength 1"]


def test_a_contact_sheet_of_too_many_rows_for_a_jpeg_holds_those_that_fit(tmp_path):
    picture = Image.new("RGB", (8, examples.THUMBNAIL), "navy")
    examples.write(tmp_path / "examples.jpg", [(str(i), {"input": ("input", picture)}) for i in range(300)])
    with Image.open(tmp_path / "examples.jpg") as image:
        assert 64_000 < image.height <= 65_500
