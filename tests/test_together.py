"""Files that belong together: all of them or none, whenever the program that writes them is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ip2p.checkpoints.together import written_together
from ip2p.errors import EditError

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = ("clip", "yaml", "safetensors")
WRITE = """
import os, signal, sys
from pathlib import Path
from ip2p.checkpoints.together import written_together

folder, content, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
replace, count = os.replace, 0

def replaced(*places):
    global count
    count += 1
    if count == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*places)

os.replace = replaced
targets = [folder / f"a.{suffix}" for suffix in ("clip", "yaml", "safetensors")]
with written_together(targets, force=True, ours=("config.json",)) as places:
    places[0].mkdir()
    for place in (places[0] / "config.json", *places[1:]):
        place.write_text(content)
        if moment == 0:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def targets(folder: Path) -> list[Path]:
    return [folder / f"a.{suffix}" for suffix in SUFFIXES]


def write(folder: Path, content: str, force: bool = False) -> None:
    with written_together(targets(folder), force, ours=("config.json",)) as places:
        places[0].mkdir()
        for place in (places[0] / "config.json", *places[1:]):
            place.write_text(content)


def listing(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def all_of(content: str) -> dict[str, str]:
    return {"a.clip/config.json": content, "a.yaml": content, "a.safetensors": content}


@pytest.mark.skipif(os.name != "posix", reason="this system has no SIGKILL")
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("moment", range(6))
def test_a_killed_run_is_cleared_by_the_next_and_strangers_files_stay(tmp_path, moment, force):
    """Killed while it writes, or before each of the renames: three, and two more where something is replaced."""
    stranger = {".a.safetensors.12345678.part": "a stranger's", ".ip2p-notes.part": "a stranger's"}
    for name, content in stranger.items():
        (tmp_path / name).write_text(content)
    if force:
        write(tmp_path, "old")
    argv = [sys.executable, "-c", WRITE, str(tmp_path), "killed", str(moment)]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    killed = moment <= 3 or force
    assert done.returncode == (-9 if killed else 0), done.stderr
    assert (tmp_path / "a.safetensors").exists() == (force or not killed)
    if killed:
        if force:  # what was there is put back before it is replaced
            with pytest.raises(EditError, match="--force"):
                write(tmp_path, "refused")
            assert listing(tmp_path) == {**stranger, **all_of("old")}
        write(tmp_path, "new", force)
        assert listing(tmp_path) == {**stranger, **all_of("new")}


def test_a_failure_puts_everything_back(tmp_path, monkeypatch):
    write(tmp_path, "old")
    replace, places = os.replace, []

    def full(source, target):
        places.append(target)
        if len(places) == 4:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EditError, match="no space left"):
        write(tmp_path, "new", force=True)
    assert listing(tmp_path) == all_of("old") and not list(tmp_path.glob(".*"))


def test_a_run_that_goes_on_is_left_alone_and_overwrites_nothing(tmp_path):
    pair = targets(tmp_path)[1:]
    with pytest.raises(EditError, match="--force"), written_together(pair) as (_, first):
        first.write_text("first")
        with written_together(pair) as (_, second):
            assert first.exists()
            second.write_text("second")
    assert listing(tmp_path) == {"a.safetensors": "second"}
