"""What results were made of is kept in memory for the window that asked, bounded in number and in bytes."""

import json
from dataclasses import dataclass, field

import pytest

from ip2p.webui.history_store import MAX_WINDOWS
from ip2p.webui.kept_results import BEFORE_FIELD, JOB_FIELD, MAX_JOBS, RESULTS_FIELD, SHOWN_FIELD, Kept, KeptResults, with_job

WINDOW, OTHER = "a" * 32, "b" * 32


@dataclass
class Made:
    """So many bytes of its own, and some that it shares."""

    bytes: int = 10
    shared: dict = field(default_factory=dict)

    @property
    def parts(self):
        yield id(self), self.bytes
        yield from self.shared.items()


def job(*sizes: int, **fields) -> dict[int, Kept]:
    return {place: Kept(Made(size, **fields), seed=place) for place, size in enumerate(sizes or (10,))}


def test_a_result_is_given_to_its_own_window_and_user_only():
    kept, results = KeptResults(), job(1, 2)
    key = kept.add("anna", WINDOW, results)
    assert kept.result("anna", WINDOW, key, 1) is results[1]
    for user, window, name, place in (
        ("ben", WINDOW, key, 1), (None, WINDOW, key, 1), ("anna", OTHER, key, 1), ("anna", WINDOW, "0" * 32, 1), ("anna", WINDOW, key, 2),
        ("anna", WINDOW, None, 1), ("anna", WINDOW, ["a"], 1),
    ):  # fmt: skip
        assert kept.result(user, window, name, place) is None


def test_only_the_last_jobs_of_a_window_are_kept_and_only_so_many_windows_of_a_user():
    kept = KeptResults()
    other = kept.add("ben", WINDOW, job())
    keys = [kept.add("anna", WINDOW, job()) for _ in range(MAX_JOBS + 2)]
    assert [kept.result("anna", WINDOW, key, 0) is not None for key in keys] == [False, False] + [True] * MAX_JOBS
    assert kept.newest("anna", WINDOW) == keys[-1]
    for i in range(MAX_WINDOWS):
        kept.add("anna", f"{i:032}", job())
    assert kept.newest("anna", WINDOW) is None and kept.newest("anna", f"{0:032}")
    assert kept.result("ben", WINDOW, other, 0), "another user's stay"


def test_the_oldest_job_goes_when_all_are_too_large_and_what_is_shared_counts_once():
    kept = KeptResults(max_bytes=100)
    first = kept.add(None, WINDOW, job(30, 30))
    assert kept.add(None, OTHER, job(41))
    assert kept.result(None, WINDOW, first, 0) is None
    assert kept.add(None, WINDOW, job(101)) is None and not kept.jobs, "too large alone"
    assert kept.add(None, WINDOW, job(5, 5, 5, shared={7: 80}))


@pytest.mark.parametrize("window", ("", "../../etc", None, ["a"], "A" * 32))
def test_an_id_that_no_window_has_keeps_nothing(window):
    assert KeptResults().add(None, window, job()) is None


def test_the_file_of_a_result_is_deleted_when_another_takes_its_place_and_when_the_job_goes(tmp_path):
    files = [tmp_path / name for name in "abc"]
    for file in files:
        file.write_bytes(b"")
    kept, results = KeptResults(), job()
    kept.add(None, WINDOW, results)
    for file in files:
        results[0].temporary_file(file)
    assert [file.exists() for file in files] == [False, False, True]
    for _ in range(MAX_JOBS):
        kept.add(None, WINDOW, job())
    assert not files[-1].exists()


def test_the_description_of_a_job_carries_its_id():
    places = {RESULTS_FIELD: [1, 2], SHOWN_FIELD: 2, BEFORE_FIELD: "file=a"}
    assert json.loads(with_job('{"seed": 7}', "abc", [1, 2], 2, "file=a")) == {"seed": 7, JOB_FIELD: "abc", **places}
    assert json.loads(with_job('{"seed": 7}', None, [1, 2], 2, "file=a")) == {"seed": 7, **places}
