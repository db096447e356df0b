"""The history of edits on disk: by user and by window, whole steps only, within its limits; undo and redo along it."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from ip2p.webui import history_store
from ip2p.webui.history_store import MAX_STEPS, MAX_WINDOWS, History, Limits, Made

WINDOW = "a" * 16


def made(level: int, size: tuple[int, int] = (8, 8), **more) -> Made:
    return Made(Image.new("RGB", size, (level, 0, 0)), Image.new("RGB", size, (0, level, 0)), f"make it {level}\nSteps: 20", **more)


def instructions(history: History, window: str = WINDOW) -> list[str]:
    return [step.instruction for step in history.steps(window)[0]]


def at(history: History) -> tuple[str | None, str | None]:
    """The instructions of what the window shows: the settings', and the result's."""
    place = history.place(WINDOW)
    return tuple(step and step.instruction.removeprefix("make it ") for step in (place.settings, place.result))


@pytest.fixture
def history(tmp_path) -> History:
    return History(root=tmp_path)


@pytest.fixture
def three(history) -> History:
    for i in (1, 2, 3):
        history.add(WINDOW, made(i))
    return history


def test_twenty_edits_are_kept_and_the_oldest_goes_first(history):
    for i in range(1, MAX_STEPS + 1):
        history.add(WINDOW, made(i))
        assert len(instructions(history)) == i
    history.add(WINDOW, made(99))
    assert instructions(history) == [f"make it {i}" for i in [*range(2, MAX_STEPS + 1), 99]]


def test_as_many_are_kept_as_the_limits_say_until_all_is_cleared(tmp_path):
    history = History(root=tmp_path, limits=Limits(steps=3))
    for i in range(1, 6):
        history.add(WINDOW, made(i))
    assert instructions(history) == [f"make it {i}" for i in (3, 4, 5)]
    history.clear()
    assert history.place(WINDOW).settings is None


def test_a_step_comes_back_as_it_was_its_picture_s_file_byte_by_byte(history, tmp_path):
    file = tmp_path / "photo"
    Image.new("RGB", (9, 7), "orange").save(file, "JPEG")
    mask = Image.new("L", (2000, 1000))
    mask.paste(255, (0, 0, 1000, 1000))
    history.add(WINDOW, Made(file, Image.new("RGB", (9, 7), "blue"), "make it blue", {"seed": 3}, mask))
    (step,) = history.steps(WINDOW)[0]
    assert step.picture.read_bytes() == file.read_bytes() and step.picture.suffix == ".jpg"
    assert Image.open(step.result).getpixel((0, 0)) == (0, 0, 255) and step.info == {"seed": 3}
    layer = Image.open(step.mask)
    assert layer.size == (1024, 512) and abs(layer.getchannel("A").getbbox()[2] - 512) <= 1


def test_undo_shows_what_was_before_the_edit_with_its_settings_to_change_and_redo_the_edit(three):
    assert at(three) == ("3", "3")
    three.undo(WINDOW)
    assert at(three) == ("3", "2")
    three.undo(WINDOW)
    three.undo(WINDOW)
    assert at(three) == ("1", None) and three.undo(WINDOW) is None
    three.redo(WINDOW)
    assert at(three) == ("1", "1")
    three.redo(WINDOW)
    three.redo(WINDOW)
    assert at(three) == ("3", "3") and three.redo(WINDOW) is None
    assert instructions(three) == ["make it 1", "make it 2", "make it 3"], "nothing is deleted"


def test_an_edit_after_an_undo_ends_the_redo_and_the_step_it_replaced_stays_in_the_strip(three):
    three.undo(WINDOW)
    three.add(WINDOW, made(4))
    assert three.redo(WINDOW) is None and instructions(three)[2:] == ["make it 3", "make it 4"]
    three.undo(WINDOW)
    assert at(three) == ("4", "2")
    three.go_to(WINDOW, 3)
    assert at(three) == ("3", "3")
    three.undo(WINDOW)
    assert at(three) == ("3", "2"), "back where the step was chosen"


def test_after_going_back_to_an_older_step_undo_and_redo_go_on_from_there(three):
    three.go_to(WINDOW, 1)
    assert at(three) == ("1", "1")
    three.redo(WINDOW)
    assert at(three) == ("2", "2")
    assert three.go_to(WINDOW, 9) is None and at(three) == ("2", "2")


@pytest.mark.parametrize("trail", ("nonsense", "[]", '{"steps": [7, 1, "x"], "done": 1}', '{"steps": [9, 2], "done": -4, "undone": 0}'))
def test_a_damaged_trail_costs_the_redo_not_the_steps(three, tmp_path, trail):
    (tmp_path / WINDOW / "trail.json").write_text(trail)
    assert three.place(WINDOW).settings is not None
    three.add(WINDOW, made(4))
    assert at(three) == ("4", "4") and len(instructions(three)) == 4


@pytest.mark.parametrize("file", ("picture.png", "result.png", "step.json", "thumbnail.png"))
def test_a_damaged_step_is_passed_over_and_named_and_later_edits_are_kept(three, tmp_path, file):
    (tmp_path / WINDOW / "3" / file).write_bytes(b"\0" * 20)
    assert instructions(three) == ["make it 1", "make it 2"] and at(three) == ("2", "2")
    assert three.steps(WINDOW)[1] == [tmp_path / WINDOW / "3"]
    three.add(WINDOW, made(4))
    assert instructions(three)[-1] == "make it 4"
    three.undo(WINDOW)
    assert at(three) == ("4", "2")


def test_steps_of_earlier_versions_are_read(three, tmp_path):
    for folder in (tmp_path / WINDOW).iterdir():
        if folder.is_dir():
            (folder / "step.json").write_text(json.dumps({"infotext": f"old {folder.name}", "time": 1.0}))
    (tmp_path / WINDOW / "trail.json").unlink()
    assert instructions(three) == ["old 1", "old 2", "old 3"] and at(three) == ("old 3", "old 3")


def test_nothing_of_one_user_is_seen_or_evicted_by_another(tmp_path):
    mine, hers, nobody = History("me", tmp_path), History("her", tmp_path), History(None, tmp_path)
    mine.add(WINDOW, made(1))
    for i in range(3 * MAX_WINDOWS):
        hers.add(f"{i:016}", made(2))
        nobody.add(f"{i:016}", made(3))
    assert instructions(mine) == ["make it 1"]
    assert instructions(hers) == instructions(nobody) == [] and hers.go_to(WINDOW, 1) is None and hers.undo(WINDOW) is None


def test_the_oldest_windows_of_a_user_go_first(history, tmp_path):
    windows = [f"{i:016}" for i in range(MAX_WINDOWS + 2)]
    for i, window in enumerate(windows):
        history.add(window, made(i))
        os.utime(tmp_path / window, (i, i))
    assert [bool(instructions(history, window)) for window in windows] == [False] * 2 + [True] * MAX_WINDOWS


def test_a_user_s_history_has_a_largest_size_and_the_newest_edit_stays_whatever_its_own(history, tmp_path):
    for i in range(101, 105):
        history.add(WINDOW, made(i, (64, 64)))
    size = history_store.size_of(history.folders(WINDOW)[0].iterdir())
    small = History(root=tmp_path, limits=Limits(bytes=3 * size + size // 2))
    small.add(WINDOW, made(105, (64, 64)))
    assert instructions(history) == ["make it 103", "make it 104", "make it 105"]
    History(root=tmp_path, limits=Limits(bytes=1)).add(WINDOW, made(106, (64, 64)))
    assert instructions(history) == ["make it 106"]


def test_the_largest_size_is_of_all_windows_of_one_user_and_the_oldest_window_s_edits_go_first(history, tmp_path):
    windows = [f"{i:016}" for i in range(3)]
    hers = History("her", tmp_path)
    hers.add(windows[0], made(7, (64, 64)))
    for i, window in enumerate(windows):
        for level in (101, 102):
            history.add(window, made(level, (64, 64)))
        os.utime(tmp_path / window, (i, i))
    size = history_store.size_of(history.folders(windows[0])[0].iterdir())
    History(root=tmp_path, limits=Limits(bytes=4 * size + size // 2)).add(windows[2], made(103, (64, 64)))
    left = [[step.removeprefix("make it ") for step in instructions(history, window)] for window in windows]
    assert left == [[], ["102"], ["101", "102", "103"]]
    assert instructions(hers, windows[0]) == ["make it 7"]


def test_many_events_at_once_each_undo_an_edit_of_their_own(history):
    for i in range(1, 17):
        history.add(WINDOW, made(i))
    with ThreadPoolExecutor(16) as threads:
        undone = list(threads.map(lambda _: history.undo(WINDOW), range(20)))
    assert sorted(place.settings.number for place in undone if place) == list(range(1, 17)) and undone.count(None) == 4


@pytest.mark.parametrize("window", ("../../etc", "a" * 41, "user-0123456789abcdef", "", None, 7, "A" * 16))
def test_an_id_that_no_window_has_is_no_path(history, tmp_path, window):
    history.add(window, made(1))
    assert list(tmp_path.iterdir()) == [] and history.folders(window) == [] and history.undo(window) is None
    assert history.go_to(window, 1) is None and history.place(window).settings is None
    history.clear()
