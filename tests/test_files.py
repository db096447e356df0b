"""What is written is there whole or not at all, and what is replaced is our own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ip2p import files
from ip2p.errors import EditError
from ip2p.files import check_place, unfinished, written_whole

OURS = ("seeds.json", "*/prompt.json", "*/*_0.jpg")


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def a_set(folder: Path, word: str = "old") -> Path:
    (folder / "0000001").mkdir(parents=True)
    (folder / "seeds.json").write_text(word)
    (folder / "0000001" / "prompt.json").write_text(word)
    return folder


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.txt"
    with pytest.raises(ZeroDivisionError), written_whole(target) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with written_whole(target) as beside:
        beside.write_text("whole")
    assert content(tmp_path) == {"a.txt": "whole"}


def test_nothing_is_replaced_unasked(tmp_path):
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(EditError, match="exists already"), written_whole(tmp_path / "a.txt"):
        pytest.fail("nothing is computed for nothing")
    assert content(tmp_path) == {"a.txt": "mine"}


def test_of_two_runs_at_the_same_time_the_second_replaces_nothing_unasked(tmp_path):
    target = tmp_path / "a.txt"
    with pytest.raises(EditError, match="exists already"), written_whole(target) as second:
        second.write_text("second")
        with written_whole(target) as first:
            first.write_text("first")
    assert content(tmp_path) == {"a.txt": "first"}


@pytest.mark.parametrize(
    "name, reason", [("x" * 300, "too long"), ("雪" * 86, "too long"), ("file/a.png", "not a directory"), ("folder", "is a folder")]
)
def test_a_place_that_can_not_be_written_is_found_without_writing(tmp_path, name, reason):
    (tmp_path / "file").write_text("mine"), (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(EditError, match=reason):
        check_place(tmp_path / name)
    check_place(tmp_path / "new" / "deep" / ("雪" * 85))
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_of_ours_is_replaced_when_asked(tmp_path):
    folder = a_set(tmp_path / "set")
    with written_whole(folder, force=True, ours=OURS) as beside:
        beside.mkdir()
        (beside / "seeds.json").write_text("new")
    assert content(tmp_path) == {"set/seeds.json": "new"}


@pytest.mark.parametrize("foreign", ("notes.txt", "0000001/holiday.jpg", "a/b/prompt.json", ".hidden"))
def test_a_folder_with_a_foreign_file_is_never_replaced(tmp_path, foreign):
    folder = a_set(tmp_path / "set")
    (folder / foreign).parent.mkdir(parents=True, exist_ok=True)
    (folder / foreign).write_text("mine")
    before = content(tmp_path)
    with pytest.raises(EditError, match=f"holds {foreign}"), written_whole(folder, force=True, ours=OURS) as beside:
        beside.mkdir()
    assert content(tmp_path) == before


def test_a_link_in_a_folder_is_foreign(tmp_path):
    folder = a_set(tmp_path / "set")
    (tmp_path / "elsewhere.jpg").write_text("mine")
    (folder / "0000001" / "1_0.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    with pytest.raises(EditError, match="is no part of such an output"), written_whole(folder, force=True, ours=OURS) as beside:
        beside.mkdir()


def test_what_the_output_is_made_from_is_never_replaced(tmp_path):
    folder = a_set(tmp_path / "set")
    for source, sentence in ((folder / "seeds.json", "holds the source"), (folder, "is the source itself")):
        with pytest.raises(EditError, match=sentence), written_whole(folder, force=True, sources=[source], ours=OURS) as beside:
            beside.mkdir()
    (tmp_path / "link").symlink_to(folder / "seeds.json")
    with pytest.raises(EditError, match="holds the source"), written_whole(folder, True, sources=[tmp_path / "link"], ours=OURS):
        pass
    assert content(folder) == {"seeds.json": "old", "0000001/prompt.json": "old"}


def test_the_old_folder_comes_back_when_the_new_one_can_not_take_its_place(tmp_path, monkeypatch):
    folder, replace = a_set(tmp_path / "set"), os.replace

    def fail(source, target):
        if str(source).endswith(".part"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(EditError, match="no space left"), written_whole(folder, force=True, ours=OURS) as beside:
        beside.mkdir()
    assert content(tmp_path) == {"set/seeds.json": "old", "set/0000001/prompt.json": "old"}


def test_a_long_name_is_as_good_as_a_short_one(tmp_path):
    target = tmp_path / ("写" * 78 + ".png")  # 238 bytes of the 255 that file systems allow
    with written_whole(target) as beside:
        beside.write_text("whole")
    assert content(tmp_path) == {target.name: "whole"}


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_run_left_of_the_same_target_is_cleared_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    dead = unfinished(target, "part").name.replace(f"-{os.getpid()}-", f"-{dead_process()}-")
    names = {
        "killed": dead,
        "still running": unfinished(target, "part").name,
        "of another target": unfinished(tmp_path / "b.txt", "part").name.replace(f"-{os.getpid()}-", f"-{dead_process()}-"),
        "another program's": ".a.txt.part",
    }
    for name in names.values():
        (tmp_path / name).write_text("x")
    with written_whole(target) as beside:
        beside.write_text("whole")
    assert set(content(tmp_path)) == {"a.txt", *names.values()} - {names["killed"]}


def test_a_folder_that_had_stepped_aside_in_a_killed_run_comes_back(tmp_path):
    target = tmp_path / "set"
    aside = unfinished(target, "old").name.replace(f"-{os.getpid()}-", f"-{dead_process()}-")
    a_set(tmp_path / aside)
    with pytest.raises(ZeroDivisionError), written_whole(target, force=True, ours=OURS) as beside:
        beside.mkdir()
        raise ZeroDivisionError
    assert content(tmp_path) == {"set/seeds.json": "old", "set/0000001/prompt.json": "old"}


KILLED = """
import os, signal, sys
from pathlib import Path
from ip2p import files
steps = int(sys.argv[2])
def counted(function):
    def call(*args, **kwargs):
        global steps
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
for name in ("replace", "fsync"):
    setattr(files.os, name, counted(getattr(os, name)))
files.remove = counted(files.remove)
with files.written_whole(Path(sys.argv[1]), force=True, ours=("*.txt",)) as beside:
    beside.mkdir()
    for i in range(3):
        (beside / f"{i}.txt").write_text("new")
        counted(len)("")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
@pytest.mark.parametrize("steps", range(8))
def test_a_run_killed_at_any_step_leaves_the_old_or_the_new_folder_and_the_next_run_cleans_up(tmp_path, steps):
    target = tmp_path / "set"
    target.mkdir()
    (target / "0.txt").write_text("old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(target), str(steps)], cwd=Path(__file__).parents[1], capture_output=True)
    assert killed.returncode in (0, -9), killed.stderr
    seen = content(target) if target.exists() else None
    assert seen in ({"0.txt": "old"}, {f"{i}.txt": "new" for i in range(3)}, None)
    if seen is None:  # between two renames: the old one is aside, whole
        assert [content(entry) for entry in tmp_path.glob(".ip2p-*.old")] == [{"0.txt": "old"}]
    with written_whole(target, force=True, ours=("*.txt",)) as beside:
        beside.mkdir()
        (beside / "0.txt").write_text("next")
    assert content(tmp_path) == {"set/0.txt": "next"}
