"""A worker or the whole command is killed at random moments, again and again: on either runner the folder ends with what an undisturbed run of
the local one ends with, byte for byte.

IP2P_KILLS: how many for the local runner; IP2P_RAY_KILLS: for Ray, which takes up to half a minute over each; IP2P_SEED: which moments.
"""

import os
import random

import pytest

pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")

from pair_runs import ROWS, save_model, write_rows_file
from test_kills import SEED, Driver, content

KILLS = {"local": int(os.environ.get("IP2P_KILLS", "2")), "ray": int(os.environ.get("IP2P_RAY_KILLS", "1"))}
OF_A_FOLDER = 5  # kills; of workers two at most, for a row that loses three is set aside
RUNNERS = {"local": ("--runner", "local", "--device", "cpu,cpu"), "ray": ("--runner", "ray", "--workers", "1,2")}
LATEST = 0.8  # moment of a kill, as a share of what is left of an undisturbed run
SHARDS = 5

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it forks and sends signals")


@pytest.fixture(scope="module")
def driver():
    driver = Driver()
    yield driver
    driver.process.stdin.close()
    driver.process.wait()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    save_model(folder / "painter")
    write_rows_file(folder / "rows.jsonl", [row | {"id": f"{row['id']} {i}"} for i in range(2) for row in ROWS])
    return folder


def command(sources, place, runner: str) -> dict:
    settings = ["--model", sources / "painter", "--steps", 2, "--size", 64, "--samples", 4, "--batch", 2, "--shard", 2]
    argv = ["dataset", "pairs", sources / "rows.jsonl", "--output", place / "set", *settings, *RUNNERS[runner]]
    return {"argv": [str(part) for part in argv], "root": str(place)}


@pytest.fixture(scope="module")
def undisturbed(driver, sources, tmp_path_factory):
    """→ (what an undisturbed run of the local runner writes, its seconds)."""
    place = tmp_path_factory.mktemp("undisturbed")
    came = driver(**command(sources, place, "local"))
    assert came["statuses"] == [0], came["said"]
    return content(place), came["seconds"]


def victims(rng: random.Random, kills: int) -> list[str]:
    """Who is killed one after the other while one folder is made."""
    whom = ["worker", "driver", "worker", "driver", "driver"][: min(kills, OF_A_FOLDER)]
    rng.shuffle(whom)
    return whom


def moments_of(rng: random.Random, whom: list[str], seconds: float, place) -> list[tuple[float, str, str]]:
    """Of those up to the one that ends the command, who are taken from the list: some while it starts, most while it works on what is left."""
    last = next((i for i, one in enumerate(whom) if one == "driver"), len(whom) - 1)
    some, whom[: last + 1] = whom[: last + 1], []
    left = 1 - len(list((place / "set" / "finished").glob("*.json"))) / SHARDS
    return [
        (rng.uniform(0, LATEST * left * seconds / len(some)), one, "start" if i == 0 and rng.random() < 0.25 else "work")
        for i, one in enumerate(some)
    ]


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_set_ends_the_same_whatever_was_killed_while_it_was_made(driver, sources, undisturbed, tmp_path, runner):
    if runner == "ray":
        pytest.importorskip("ray", reason="the runner ray needs ray (pip install -e '.[data]')")
    expected, seconds = undisturbed
    rng = random.Random(f"{SEED} {runner}")
    killed, folders = 0, 0
    while killed < KILLS[runner] and folders < 6 * KILLS[runner]:  # a kill that comes too late is made up for in another folder
        place = tmp_path / str(folders)
        place.mkdir()
        whom, status, folders = victims(rng, KILLS[runner] - killed), None, folders + 1
        while status != 0:
            moments = moments_of(rng, whom, seconds, place)
            came = driver(**command(sources, place, runner), kills=moments)
            (status,) = came["statuses"]
            where = f"IP2P_SEED={SEED}, {runner}, folder {folders}, killed at {moments}: {came['said']}"
            assert status in (0, -9) and not came["left"], f"{came['left']} {where}"
            killed += came["killed"]
            if not came["killed"]:
                seconds = min(seconds, came["seconds"])  # the machine was busier before
        after = content(place)
        assert after.keys() == expected.keys(), where
        assert [name for name in expected if after[name] != expected[name]] == [], where
    print(f"{killed} kills in {folders} folders")
    assert killed == KILLS[runner]
