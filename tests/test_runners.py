"""Where work is done makes no difference: in this process, in one for each device, on Ray; and what becomes of units that misbehave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ip2p.errors import EditError
from ip2p.runners import Attempts, Here, Local, OnRay, TookItsProcess
from toy_stage import Squares, noted

ROOT = Path(__file__).resolve().parents[1]
TAKEN = "it took its process with it 3 times"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="it sends signals")


@pytest.fixture(scope="module")
def ray_cluster():
    """One for all tests of this file, of two processors, whose processes find the tests' modules."""
    ray = pytest.importorskip("ray", reason="the runner ray needs ray (pip install -e '.[data]')")
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}}
    )
    yield
    ray.shutdown()


@pytest.fixture(params=["here", "one process", "two processes"])
def runner(request):
    return {"here": Here(), "one process": Local([None]), "two processes": Local([None, None])}[request.param]


@pytest.fixture
def attempts(tmp_path):
    return Attempts(tmp_path)


def ran(runner, stage, numbers):
    """The results, and of every number the reports."""
    reports = {}
    results = list(runner.run(stage, numbers, lambda number, *report: reports.setdefault(number, []).append(report)))
    return results, reports


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return met


def test_the_results_come_in_the_order_of_the_units_whoever_works_on_them(runner, attempts):
    results, reports = ran(runner, Squares(attempts, raises=(3,)), range(8))
    assert results == [0, 1, 4, "3 is poisoned", 16, 25, 36, 49]
    assert {number: report[-1] for number, report in reports.items()} == {i: (2, 2, "") for i in range(8) if i != 3}
    assert not list(attempts.folder.rglob("*.json")), "what has ended leaves no note of having been begun"


@pytest.mark.parametrize("what", ["a unit", "the opening"])
def test_what_ends_the_run_is_told_in_its_sentence(runner, attempts, what):
    stage, said = (
        (Squares(attempts, ends=(1,)), "The disk is full.") if what == "a unit" else (Squares(attempts, opens=False), "There is no model.")
    )
    with pytest.raises(EditError, match=said):
        ran(runner, stage, range(3))


def test_nothing_is_opened_where_there_is_nothing_to_do(runner, attempts):
    assert ran(runner, Squares(attempts), []) == ([], {}) and not noted(attempts.folder, "opened")


def test_what_takes_its_process_with_it_three_times_is_set_aside_and_what_does_so_once_is_not(attempts):
    results, reports = ran(Local([None, None]), Squares(attempts, kills=(5,), kills_once=(2,)), range(8))
    assert results == [0, 1, 4, 9, 16, TAKEN, 36, 49] and reports[2] == [(1, 2, ""), (2, 2, "")]
    assert sorted(line.split()[1] for line in noted(attempts.folder, "killed")) == ["2", "5", "5", "5"]
    begun = [line.split()[1] for line in noted(attempts.folder, "begun")]
    assert sorted(begun) == [*"01", *"22", *"34", *"555", *"67"]


def test_a_fault_of_the_device_ends_the_process_and_no_other_unit_suffers_from_it(attempts, capfd):
    results, _ = ran(Local([None]), Squares(attempts, faults=(1,)), range(4))
    assert results == [0, TAKEN, 4, 9]
    processes = {line.split()[0] for line in noted(attempts.folder, "begun") if line.endswith(" 1")}
    assert len(processes) == 3 and "illegal memory access" in capfd.readouterr().err
    with pytest.raises(EditError, match="The device has failed: CUDA error"):
        ran(Here(), Squares(attempts, faults=(5,)), [5])


def test_ray_gives_the_same_and_does_not_try_for_ever_what_takes_its_process_with_it(ray_cluster, attempts):
    results, reports = ran(OnRay((1, 1)), Squares(attempts, raises=(3,), kills=(1,)), range(6))
    assert results == [0, TAKEN, 4, "3 is poisoned", 16, 25] and len(noted(attempts.folder, "killed")) == 3
    assert reports == {number: [(2, 2, "")] for number in (0, 2, 4, 5)}
    with pytest.raises(EditError, match="The disk is full"):
        ran(OnRay((1, 1)), Squares(attempts, ends=(1,)), range(3))


def test_deaths_of_another_run_are_not_an_items_fault_and_what_was_counted_stays(tmp_path):
    gone = []

    def begun_by(attempts):
        """And not ended, as by a process that is gone."""
        gone.append(attempts.of("a row"))
        gone[-1].__enter__()

    first = Attempts(tmp_path)
    begun_by(first), begun_by(first)
    second = Attempts(tmp_path)
    begun_by(second), begun_by(second)
    with pytest.raises(TookItsProcess), second.of("a row"):
        pass
    with pytest.raises(TookItsProcess, match="3 times"), Attempts(tmp_path).of("a row"):
        pass
    second.forget(["a row"])
    with second.of("a row"):
        pass
    for _ in range(5):
        begun_by(Attempts(tmp_path))
    with Attempts(tmp_path).of("a row"):
        pass


def test_a_process_that_can_not_begin_is_told_and_not_tried_for_ever(attempts):
    with pytest.raises(EditError, match=r"ended 3 times before it could begin \(by SIGKILL\)"):
        ran(Local([None]), Squares(attempts, opens=None), range(3))
    assert len(noted(attempts.folder, "opened")) == 3


def test_processes_end_with_a_run_that_is_left(attempts):
    results = Local([None, None]).run(Squares(attempts, seconds=0.2), range(100), lambda *_: None)
    assert next(results) == 0
    assert wait_until(lambda: len(noted(attempts.folder, "opened")) == 2)
    results.close()
    processes = {int(line.split()[0]) for line in noted(attempts.folder, "opened")}
    assert len(processes) == 2 and not any(map(is_running, processes))


def test_processes_end_by_themselves_where_the_run_is_killed(tmp_path):
    script = (
        "from pathlib import Path\nfrom ip2p.runners import *\nfrom toy_stage import Squares\n"
        f"stage = Squares(Attempts(Path({str(tmp_path)!r})), seconds=600)\n"
        "if __name__ == '__main__':\n    list(Local([None, None]).run(stage, range(4), print))\n"
    )
    (tmp_path / "driver.py").write_text(script)
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    driver = subprocess.Popen([sys.executable, tmp_path / "driver.py"], env=env, stdout=subprocess.DEVNULL)
    assert wait_until(lambda: len(noted(tmp_path, "begun")) == 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    processes = [int(line.split()[0]) for line in noted(tmp_path, "opened")]
    assert len(processes) == 2 and wait_until(lambda: not any(map(is_running, processes)))


def test_ray_is_imported_by_nothing_but_its_own_runner(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom ip2p.runners import *\nfrom toy_stage import Squares\n"
        f"print(list(Here().run(Squares(Attempts(Path({str(tmp_path)!r}))), range(3), print)), 'ray' in sys.modules, 'torch' in sys.modules)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[0, 1, 4] False False"


def test_where_there_is_no_cluster_a_sentence_says_so(attempts):
    pytest.importorskip("ray", reason="the runner ray needs ray (pip install -e '.[data]')")
    script = (
        "from pathlib import Path\nfrom ip2p.runners import *\nfrom toy_stage import Squares\n"
        f"try:\n    list(OnRay(address='nonsense').run(Squares(Attempts(Path({str(attempts.folder)!r}))), range(3), print))\n"
        "except ValueError as e:\n    print(type(e).__name__, e)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    out = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120).stdout
    assert out.startswith("EditError There is no Ray cluster at nonsense")
