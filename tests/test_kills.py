"""Whenever a command is killed: nothing torn stays, the next run starts, and what it ends with is what an undisturbed one ends with.

Half of the moments are changes of the file system, half are times. IP2P_KILLS: how many of each command; IP2P_SEED: which.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="pairs of photographs need OpenCV (pip install -e '.[photos]')")
pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")
pytest.importorskip("matplotlib", reason="a report needs matplotlib (pip install -e '.[evaluate]')")

from PIL import Image

from instruction_cases import CAPTIONS, write_captions
from ip2p.dataset.pairs import Pair
from ip2p.dataset.parquet_writer import write_pairs
from pair_runs import ROWS, save_model, write_rows_file
from pair_sets import picture
from tiny_model import save_folder, tiny_editor

KILLS = int(os.environ.get("IP2P_KILLS", "2"))
SEED = int(os.environ.get("IP2P_SEED", random.randrange(2**32)))
ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "ip2p" / "examples"
WEIGHTS = random.Random(0).randbytes(5_000_000)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it forks and sends signals")


class Driver:
    """The process of kill_driver.py."""

    def __init__(self):
        env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "no_proxy": "*"}
        command = [sys.executable, str(Path(__file__).with_name("kill_driver.py"))]
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def __call__(self, **command) -> dict:
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def driver():
    driver = Driver()
    yield driver
    driver.process.stdin.close()
    driver.process.wait()


class Handler(BaseHTTPRequestHandler):
    """Serves WEIGHTS, from anywhere on, a piece at a time."""

    def do_GET(self):
        asked = self.headers.get("Range")
        start = int(asked[6:-1]) if asked else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(WEIGHTS) - 1}/{len(WEIGHTS)}")
        self.send_header("Content-Length", str(len(WEIGHTS) - start))
        self.end_headers()
        self.wfile.write(WEIGHTS[start:])

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        """A client that was killed."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory, tuned):
    """What the commands work on."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "language").symlink_to(tuned)
    write_captions(folder / "captions.txt", CAPTIONS[:6])
    save_folder(tiny_editor(), folder / "model")
    save_model(folder / "painter")
    write_rows_file(folder / "rows.jsonl", ROWS[:3])
    (folder / "pictures").mkdir()
    for i in range(3):
        picture(i, (64, 64)).save(folder / "pictures" / f"{i}.png")
    (folder / "photos").mkdir()
    for name in ("chelsea", "coffee", "astronaut"):
        Image.open(EXAMPLES / f"{name}.jpg").resize((96, 72)).save(folder / "photos" / f"{name}.jpg")
    write_pairs((Pair(picture(i, (64, 64)), picture(9 + i, (64, 64)), (f"make it {i}",)) for i in range(3)), folder / "pairs.parquet")
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    (folder / "url").write_text(f"http://127.0.0.1:{server.server_port}/model.safetensors")
    yield folder
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Verb:
    """make(sources, output) → the command; output: the name of what it writes, `result` in it is the last to come, if not itself."""

    output: str
    make: object
    result: str = ""


def edit(sources: Path, output: Path) -> dict:
    settings = ["--model", sources / "model", "--steps", 2, "--seed", 1, "--size", 64]
    return {"argv": ["edit", sources / "pictures", "make it winter", "--output", output, *settings]}


def convert(*options):
    return lambda sources, output: {"argv": ["model", "convert", "small", output, *options]}


def convert_back(sources: Path, output: Path) -> dict:
    return {"argv": ["model", "convert", sources / "diffusers", output]}


def fetch(sources: Path, output: Path) -> dict:
    return {"fetch": [output, (sources / "url").read_text(), hashlib.sha256(WEIGHTS).hexdigest()]}


def photos(sources: Path, output: Path) -> dict:
    return {"argv": ["dataset", "photos", sources / "photos", "--output", output, "--size", 64, "--kinds", "sepia,inverted,fog"]}


def evaluate(sources: Path, output: Path) -> dict:
    settings = ["--image-scale", "1.5", "--steps", 1, "--size", 64, "--scorer", "none", "--batch", 1]
    return {"argv": ["evaluate", "--model", sources / "model", "--data", sources / "pairs.parquet", "--output", output, *settings]}


def instructions(sources: Path, output: Path) -> dict:
    settings = ["--model", sources / "language", "--temperature", 0, "--batch", 2, "--max-tokens", 24, "--runner", "here"]
    return {"argv": ["dataset", "instructions", sources / "captions.txt", "--output", output, *settings]}


def pairs(sources: Path, output: Path) -> dict:
    settings = ["--model", sources / "painter", "--steps", 1, "--size", 64, "--samples", 2, "--shard", 1, "--runner", "here"]
    return {"argv": ["dataset", "pairs", sources / "rows.jsonl", "--output", output, *settings]}


VERBS = {
    "edit": Verb("out", edit),
    "model convert to a folder": Verb("model", convert("--half")),
    "model convert to a file": Verb("half.safetensors", convert("--half")),
    "model convert from a folder": Verb("back.safetensors", convert_back),
    "model fetch": Verb("fetched.safetensors", fetch),
    "dataset photos": Verb("pairs.parquet", photos),
    "dataset instructions": Verb("run", instructions),
    "dataset pairs": Verb("set", pairs),
    "evaluate": Verb("report", evaluate),
}
CONTINUED = (
    "edit",
    "evaluate",
    "model fetch",
    "dataset instructions",
    "dataset pairs",
)  # what is finished of these stays, and the next run goes on


def command(verb: str, sources: Path, place: Path) -> dict:
    made = VERBS[verb].make(sources, place / VERBS[verb].output)
    return {key: [str(part) for part in value] for key, value in made.items()} | {"root": str(place)}


def content(folder: Path) -> dict[str, bytes]:
    """Of every file below it, hidden ones too; without the folder's own name, which yaml and report have."""
    name = str(folder).encode()
    return {
        path.relative_to(folder).as_posix(): path.read_bytes().replace(name, b"") for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(driver, sources, tmp_path_factory):
    """verb → (what an undisturbed run writes, its seconds, its changes of the file system)."""
    runs = {}

    def run(verb: str) -> tuple[dict[str, bytes], float, int]:
        if verb == "model convert from a folder" and not (sources / "diffusers").exists():
            driver(argv=["model", "convert", "small", str(sources / "diffusers")], root=str(sources))
        if verb not in runs:
            place = tmp_path_factory.mktemp("undisturbed")
            came = driver(**command(verb, sources, place))
            assert came["statuses"] == [0], came["said"]
            runs[verb] = content(place), came["seconds"], came["changes"][0]
        return runs[verb]

    return run


def assert_nothing_torn(verb: str, place: Path, expected: dict[str, bytes]) -> None:
    """What lies there under its own name is what an undisturbed run writes. A log of lines may lack some; hidden files are not looked at."""
    for name, data in content(place).items():
        if not any(part.startswith(".ip2p-") for part in Path(name).parts) and not name.endswith((".jsonl", "run.json", ".part")):
            assert data == expected.get(name), f"{name} is torn"


def finish(driver, verb: str, sources: Path, place: Path, expected: dict[str, bytes]) -> None:
    """The next run ends with what an undisturbed one ends with; one that would replace what is there is refused."""
    goes_on = verb in CONTINUED or not (place / VERBS[verb].output).exists()
    came = driver(**command(verb, sources, place))
    assert came["statuses"] == [0 if goes_on else 2], came["said"]
    after = content(place)
    assert after.keys() == expected.keys()
    assert [name for name in expected if after[name] != expected[name]] == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_killed_at_any_moment_leaves_nothing_torn_and_the_next_run_ends_equal(driver, sources, undisturbed, tmp_path, verb):
    expected, seconds, changes = undisturbed(verb)
    rng = random.Random(f"{SEED} {verb}")
    assert changes >= 2
    for number in range(KILLS):
        place = tmp_path / str(number)
        place.mkdir()
        moment = {"kill_at": rng.randint(1, changes)} if number % 2 == 0 else {"kill_after": rng.uniform(0.05, 1) * seconds}
        came = driver(**command(verb, sources, place), **moment)
        try:
            assert came["statuses"] in ([-9], [0]), came["said"]
            if "kill_at" in moment:
                assert came["statuses"] == [-9]
            assert_nothing_torn(verb, place, expected)
            finish(driver, verb, sources, place, expected)
        except AssertionError as e:
            raise AssertionError(f"IP2P_SEED={SEED}, {verb}, killed at {moment}: {e}") from e
        shutil.rmtree(place)


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_a_sentence_and_leaves_nothing_torn(driver, sources, undisturbed, tmp_path, verb):
    expected, *_ = undisturbed(verb)
    largest = max(map(len, expected.values()))
    for number, limit in enumerate((64, largest // 2)):
        place = tmp_path / str(number)
        place.mkdir()
        came = driver(**command(verb, sources, place), largest_file=limit)
        assert came["statuses"] in ([1], [2]) and "Traceback" not in came["said"], came["said"]
        assert "file too large" in came["said"].lower(), "why, in the system's words"
        assert_nothing_torn(verb, place, expected)
        finish(driver, verb, sources, place, expected)


@pytest.mark.parametrize("verb", VERBS)
def test_two_runs_at_the_same_time_end_with_what_one_ends_with(driver, sources, undisturbed, tmp_path, verb):
    expected, *_ = undisturbed(verb)
    came = driver(**command(verb, sources, tmp_path), copies=2)
    assert 0 in came["statuses"] and set(came["statuses"]) <= {0, 2} and "Traceback" not in came["said"], came["said"]
    finish(driver, verb, sources, tmp_path, expected)
