"""The history of edits on disk: by user and by window, whole steps only, within its limits."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from ip2p.errors import EditError
from ip2p.webui import history_store
from ip2p.webui.history_store import MAX_STEPS, MAX_WINDOWS, History, Limits, Step

WINDOW = "a" * 16


def step(level: int, size: tuple[int, int] = (8, 8)) -> Step:
    return Step(Image.new("RGB", size, (level, 0, 0)), Image.new("RGB", size, (0, level, 0)), f"make it {level}\nSteps: 20")


def instructions(history: History, window: str = WINDOW) -> list[str]:
    return [text for _, text in history.thumbnails(window)[0]]


@pytest.fixture
def history(tmp_path) -> History:
    return History(root=tmp_path)


def test_twenty_edits_are_kept_and_the_oldest_goes_first(history):
    for i in range(1, MAX_STEPS + 1):
        history.add(WINDOW, step(i))
        assert len(instructions(history)) == i
    history.add(WINDOW, step(99))
    assert instructions(history) == [f"make it {i}" for i in [*range(2, MAX_STEPS + 1), 99]]


def test_a_step_comes_back_as_it_was(history):
    history.add(WINDOW, step(7))
    history.add(WINDOW, step(8))
    back = history.step(WINDOW, 0)
    assert (back.picture.getpixel((0, 0)), back.result.getpixel((0, 0)), back.infotext) == ((7, 0, 0), (0, 7, 0), "make it 7\nSteps: 20")
    assert history.step_back(WINDOW).infotext.startswith("make it 8") and instructions(history) == ["make it 7"]
    assert history.step(WINDOW, 1) is None and history.step(WINDOW, -1) is None


@pytest.mark.parametrize("file", ("picture.png", "result.png", "step.json", "thumbnail.png"))
def test_a_damaged_step_is_passed_over_and_named_and_later_edits_are_kept(history, tmp_path, file):
    for i in (1, 2, 3):
        history.add(WINDOW, step(i))
    (tmp_path / WINDOW / "3" / file).write_bytes(b"\0" * 20)
    if file in ("step.json", "thumbnail.png"):  # what the strip is made of
        assert instructions(history) == ["make it 1", "make it 2"]
        assert history.thumbnails(WINDOW)[1] == [tmp_path / WINDOW / "3"]
    else:
        with pytest.raises(EditError, match=f"{file} is damaged"):
            history.step(WINDOW, 2)
    history.add(WINDOW, step(4))
    assert instructions(history)[-1] == "make it 4"
    assert history.step_back(WINDOW).infotext.startswith("make it 4")


def test_nothing_of_one_user_is_seen_or_evicted_by_another(tmp_path):
    mine, hers, nobody = History("me", tmp_path), History("her", tmp_path), History(None, tmp_path)
    mine.add(WINDOW, step(1))
    for i in range(3 * MAX_WINDOWS):
        hers.add(f"{i:016}", step(2))
        nobody.add(f"{i:016}", step(3))
    assert instructions(mine) == ["make it 1"]
    assert instructions(hers) == instructions(nobody) == [] and hers.step(WINDOW, 0) is None and hers.step_back(WINDOW) is None


def test_the_oldest_windows_of_a_user_go_first(history, tmp_path):
    windows = [f"{i:016}" for i in range(MAX_WINDOWS + 2)]
    for i, window in enumerate(windows):
        history.add(window, step(i))
        os.utime(tmp_path / window, (i, i))
    assert [bool(instructions(history, window)) for window in windows] == [False] * 2 + [True] * MAX_WINDOWS


def test_a_user_s_history_has_a_largest_size_and_the_newest_edit_stays_whatever_its_own(history, tmp_path):
    for i in range(101, 105):
        history.add(WINDOW, step(i, (64, 64)))
    size = history_store.size_of(history.steps(WINDOW)[0].iterdir())
    smaller = History(root=tmp_path, limits=Limits(bytes=3 * size + size // 2))
    smaller.add(WINDOW, step(105, (64, 64)))
    assert instructions(history) == ["make it 103", "make it 104", "make it 105"]
    History(root=tmp_path, limits=Limits(bytes=1)).add(WINDOW, step(106, (64, 64)))
    assert instructions(history) == ["make it 106"]


def test_the_bytes_are_those_of_all_windows_of_a_user(history, tmp_path):
    windows = [f"{i:016}" for i in range(4)]
    for i, window in enumerate(windows):
        history.add(window, step(101 + i, (64, 64)))
        os.utime(tmp_path / window, (i, i))
    size = history_store.size_of(history.steps(windows[0])[0].iterdir())
    History(root=tmp_path, limits=Limits(bytes=2 * size + size // 2)).add(WINDOW, step(109, (64, 64)))
    assert [bool(instructions(history, window)) for window in (*windows, WINDOW)] == [False, False, False, True, True]


def test_a_window_keeps_as_many_edits_as_were_asked_for(tmp_path):
    history = History(root=tmp_path, limits=Limits(steps=2))
    for i in range(1, 5):
        history.add(WINDOW, step(i))
    assert instructions(history) == ["make it 3", "make it 4"]


def test_a_cleared_history_is_empty_and_that_of_others_is_not(tmp_path):
    mine, hers, nobody = History("me", tmp_path), History("her", tmp_path), History(None, tmp_path)
    for history in (mine, hers, nobody):
        for window in (WINDOW, "b" * 16):
            history.add(window, step(1))
    nobody.clear()
    assert instructions(nobody) == [] and instructions(mine) == instructions(hers) == ["make it 1"]
    mine.clear()
    mine.clear()
    assert instructions(mine) == instructions(mine, "b" * 16) == [] and instructions(hers) == ["make it 1"]
    mine.add(WINDOW, step(2))
    assert instructions(mine) == ["make it 2"]


def test_many_events_at_once_each_take_a_step_of_their_own(history):
    for i in range(1, 17):
        history.add(WINDOW, step(i))
    with ThreadPoolExecutor(16) as threads:
        taken = list(threads.map(lambda _: history.step_back(WINDOW), range(20)))
    assert sorted(int(one.infotext.split()[2]) for one in taken if one) == list(range(1, 17)) and taken.count(None) == 4


@pytest.mark.parametrize("window", ("../../etc", "a" * 41, "user-0123456789abcdef", "", None, 7, "A" * 16))
def test_an_id_that_no_window_has_is_no_path(history, tmp_path, window):
    history.add(window, step(1))
    assert list(tmp_path.iterdir()) == [] and history.steps(window) == [] and history.step_back(window) is None
