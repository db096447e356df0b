"""A training that is stopped, killed or starved goes on as if nothing had happened: same batches, same bits."""

import contextlib
import json
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

import torch
from safetensors.torch import load_file

from convert_cases import same_bits
from ip2p import states
from ip2p.files import digest_of_name
from training_runs import SECONDS, STAGES, STEPS, Command, ended, only, tensors, write_config

KILLS = int(os.environ.get("IP2P_KILLS", "3"))
ROOT = Path(__file__).resolve().parents[1]
SEED = int(os.environ.get("IP2P_SEED", random.randrange(2**32)))

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it sends signals")


def lines_of(run: Path, stage: str) -> list[dict]:
    path = run / stage / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def curve(run: Path, stage: str) -> list[tuple]:
    return [(line["step"], line["loss"], line["samples"], line["learning_rate"]) for line in lines_of(run, stage)]


def assert_same_run(run: Path, other: Path) -> None:
    """Same batches in the same order, and every tensor of states, networks and exports bit for bit."""
    for stage in STAGES:
        found = curve(run, stage)
        assert [step for step, *_ in found] == list(range(1, STEPS + 1))
        assert found == curve(other, stage)
    one, two = tensors(run), tensors(other)
    assert one.keys() == two.keys()
    assert [name for name in one if not same_bits(one[name], two[name])] == []
    for stage in STAGES:
        for path in sorted((run / stage / "validation").glob("*.png")) + sorted((run / stage / "model").rglob("*.json")):
            assert path.read_bytes() == (other / path.relative_to(run)).read_bytes(), path


# In the order of a run: where it is, and by what a watcher sees it.
def starting(run: Path):
    return lambda: True


def in_step(stage: str, step: int):
    return lambda run: lambda: len(lines_of(run, stage)) >= step


def unfinished_at(path: Path) -> bool:
    """Whether a run is writing it."""
    return any(path.parent.glob(f".ip2p-{digest_of_name(path)}-*.part"))


def writing_state(stage: str):
    return lambda run: lambda: any(unfinished_at(run / stage / f"state-{step:08d}") for step in (3, 6, STEPS))


def validating(stage: str):
    def moment(run: Path):
        def now() -> bool:
            done = {path.stem for path in (run / stage / "validation").glob("*.png")}
            at = [step for step in (4, 8) if f"{step:08d}" not in done]
            return bool(at) and len(lines_of(run, stage)) == at[0]

        return now

    return moment


def filling(stage: str, what: str):
    """Before this stage's first step, and `count` finished caches of that kind lie there."""
    before = {"latents": {"text_to_image": 0, "edit": 1}, "texts": {"edit": 0}}[what][stage]
    former = STAGES[STAGES.index(stage) - 1]
    return lambda run: (
        lambda: (
            (run / former / "model").is_dir() and (any(run.glob(f"cache/{what}-*/.*.part")) or len([*run.glob(f"cache/{what}-*")]) > before)
        )
    )


def finishing(stage: str):
    """The last state is there, and the networks are not."""
    return lambda run: (run / stage / f"state-{STEPS:08d}").is_dir


def exporting(run: Path):
    return lambda: any(unfinished_at(run / f"run{name}") for name in (".safetensors", "-plain", "-plain.safetensors"))


RESUMED = "edit: a step after a state"
MOMENTS = {
    "start-up": starting,
    "autoencoder: a step": in_step("autoencoder", 2),
    "autoencoder: a state": writing_state("autoencoder"),
    "autoencoder: validation": validating("autoencoder"),
    "text_to_image: the latents' cache": filling("text_to_image", "latents"),
    "text_to_image: a state": writing_state("text_to_image"),
    "text_to_image: its end": finishing("text_to_image"),
    "edit: the texts' cache": filling("edit", "texts"),
    RESUMED: in_step("edit", 5),
    "edit: a state": writing_state("edit"),
    "edit: validation": validating("edit"),
    "edit: its end": finishing("edit"),
    "export": exporting,
}


def some_moments(count: int, rng: random.Random) -> list[str]:
    """In the order of a run; the one with a state to go on from always, and every other one before any comes twice."""
    others = [name for name in MOMENTS if name != RESUMED]
    often, rest = divmod(count - 1, len(others))
    return sorted([RESUMED, *others * often, *rng.sample(others, rest)], key=list(MOMENTS).index)


def test_killed_at_any_moment_it_goes_on_to_the_same_bits(trained, tmp_path):
    """A moment that a busy machine lets slip ends a run too early: it is checked, and the kills go on in another one."""
    rng, config = random.Random(SEED), write_config(tmp_path / "tiny.yaml")
    killed, moments, finished = [], some_moments(KILLS, rng), 0
    while moments:
        run = tmp_path / str(finished) / "run"
        argv = config, f"output={run}", "export=both", "tensorboard=true"
        command = Command(*argv, said=tmp_path / "said")
        if command.wait_until(MOMENTS[moments[0]](run)):
            time.sleep(rng.uniform(0, 1.0 if moments[0] == "start-up" else 0.03))
        command.kill()
        if command.process.exitcode == -signal.SIGKILL:
            killed.append(moments.pop(0))
            assert killed[-1] != RESUMED or states.states(run / "edit")
        if not moments or command.process.exitcode == 0:
            last = ended(*argv, said=tmp_path / "said")
            assert_same_run(trained, run)
            assert not list(run.rglob("*.part")), last.out
            finished += 1
            assert finished <= KILLS, f"IP2P_SEED={SEED}: only {killed}"
    print(f"killed {len(killed)} times in {finished} runs (IP2P_SEED={SEED}): {', '.join(killed)}")


def test_started_again_when_it_is_finished_it_trains_nothing(trained, tmp_path):
    before = {path: path.stat().st_mtime_ns for stage in STAGES for path in (trained / stage).rglob("*")}
    again = ended(trained.parent / "tiny.yaml", f"output={trained}", "export=both", "tensorboard=true", said=tmp_path / "said")
    assert "Exported" in again.out and not again.errors
    assert {path: path.stat().st_mtime_ns for path in before} == before


DAMAGES = {
    "cut short": lambda path: os.truncate(path / "optimizer.safetensors", 1000),
    "one bit": lambda path: flip(path / "weights.safetensors"),
    "no sums": lambda path: (path / "state.json").unlink(),
    "half its sums": lambda path: os.truncate(path / "state.json", 40),
    "a file missing": lambda path: (path / "ema.safetensors").unlink(),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_torn_state_is_recognised_and_the_one_before_it_is_used(trained, damage, tmp_path):
    for step in (3, 6):
        old = states.read(trained / "edit" / f"state-{step:08d}")
        states.write(tmp_path, old, keep=2)
    DAMAGES[damage](tmp_path / "state-00000006")
    said = []
    found = states.newest(tmp_path, said.append)
    assert found.step == 3 and len(said) == 1
    assert "state-00000006 is torn" in said[0] and said[0].endswith("the one before it is used.")


@pytest.fixture
def edit_only(edited, tmp_path):
    """The same command with another output."""
    return edited.parent / "edit.yaml", f"output={tmp_path}/run"


def test_the_same_with_torn_states(edited, edit_only, tmp_path):
    """A finished run loses its networks and its two newest states, and is trained again from the one that is left."""
    shutil.copytree(edited, tmp_path / "run")
    DAMAGES["cut short"](tmp_path / "run/edit/state-00000008")
    DAMAGES["no sums"](tmp_path / "run/edit/state-00000006")
    shutil.rmtree(tmp_path / "run/edit/model")
    again = ended(*edit_only, said=tmp_path / "said")
    assert again.out.count("is torn") == 2 and "goes on after step 3 of 8" in again.out
    first, second = tensors(edited), tensors(tmp_path / "run")
    assert first.keys() == second.keys() and all(same_bits(first[name], second[name]) for name in first)
    assert curve(tmp_path / "run", "edit") == curve(edited, "edit")


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT), ids=lambda number: number.name)
def test_asked_to_stop_it_saves_and_says_so(edited, edit_only, number, tmp_path):
    """A signal to the whole group, as a terminal sends it, with workers that draw the samples."""
    settings = ("save_every=100", "data.workers=1")
    for _ in range(5):  # a busy machine may let the moment slip
        command = Command(*edit_only, *settings, said=tmp_path / "said")
        assert command.wait_until(lambda: len(lines_of(tmp_path / "run", "edit")) >= 2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, number)
        if command.status():
            break
        shutil.rmtree(tmp_path / "run")
    assert command.status() == 130
    assert command.errors == ["Interrupted. The same command goes on from the last saved state."]
    (state,) = states.states(tmp_path / "run" / "edit")
    assert states.read(state).step == len(lines_of(tmp_path / "run", "edit")) < STEPS
    ended(*edit_only, *settings, said=tmp_path / "said")
    assert curve(tmp_path / "run", "edit") == curve(edited, "edit")  # which had no workers


def test_asked_to_stop_while_it_starts_it_says_so(edit_only, tmp_path):
    command = Command(*edit_only, said=tmp_path / "said")
    command.wait_until((tmp_path / "run" / "config.yaml").exists)
    os.kill(command.pid, signal.SIGTERM)
    assert (command.status(), len(command.errors)) == (130, 1)


def test_a_full_disk_is_a_sentence_and_leaves_the_last_state_whole(edited, edit_only, tmp_path):
    """Full for everything larger than two thirds of a state's optimizer; first at a state, then at the finished networks."""
    run = tmp_path / "run"
    size = (edited / "edit/state-00000008/optimizer.safetensors").stat().st_size
    ended(*edit_only, "stages.edit.steps=3", said=tmp_path / "said")
    before = {path: path.read_bytes() for path in (run / "edit").glob("state-*/*")}
    for limit, what in ((size * 2 // 3, "state-00000006"), (1000, "config.yaml")):
        starved = Command(*edit_only, said=tmp_path / "said", limits={resource.RLIMIT_FSIZE: limit})
        assert starved.status() == 2
        (line,) = starved.errors
        assert re.search(rf"({what}) could not be written: .*too large", line), line
        assert {path: path.read_bytes() for path in (run / "edit").glob("state-*/*")} == before
        assert not [*run.rglob("*.part")]
    ended(*edit_only, said=tmp_path / "said")
    assert curve(run, "edit") == curve(edited, "edit")


@pytest.mark.parametrize(
    "change, limit, what", (("export=none", 200_000, "edit/model"), ("export=plain", 1_000_000, "run-plain.safetensors"))
)
def test_a_disk_full_for_the_networks_or_the_export_is_a_sentence(edited, edit_only, change, limit, what, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(edited, run)
    sizes = [path.stat().st_size for path in run.glob("edit/model/*/*.safetensors")]
    if change == "export=none":
        shutil.rmtree(run / "edit/model")
    else:
        limit = max(sizes) + 10_000
        assert limit < sum(sizes), "the networks fit, and one file of all of them does not"
    starved = Command(*edit_only, change, said=tmp_path / "said", limits={resource.RLIMIT_FSIZE: limit})
    assert starved.status() == 2
    (line,) = starved.errors
    assert f"{run}/{what} could not be written: " in line and "too large" in line.lower(), line
    assert not [*run.rglob("*.part")]
    ended(*edit_only, change, said=tmp_path / "said")
    found = tensors(run)
    assert all(same_bits(part, found[name]) for name, part in tensors(edited).items())


# Several processes


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def torchrun(*argv: str | Path, said: Path) -> str:
    """`python -m torch.distributed.run` with two processes on the CPU → what they said."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}", "-m", "ip2p", "train"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *map(str, argv)], cwd=said.parent, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_processes_follow_the_curve_of_one_that_accumulates(trained, tmp_path):
    """Over 24 steps of the edit stage with both of its networks trained, drawn as they go; the first process exports."""
    config = write_config(
        tmp_path / "edit.yaml", model={"start": str(trained / "text_to_image/model")}, export="ema", validation={"every": 0},
        stages=only("edit", steps=24, cache=False, train_text=True),
    )  # fmt: skip
    said = torchrun(config, f"output={tmp_path}/two/run", said=tmp_path / "said")
    assert "2 processes." in said and said.count("Exported") == 2
    ended(config, f"output={tmp_path}/one/run", "stages.edit.accumulate=2", said=tmp_path / "said")
    one, two = (curve(tmp_path / name / "run", "edit") for name in ("one", "two"))
    assert (
        [(step, samples) for step, _, samples, _ in one]
        == [(step, samples) for step, _, samples, _ in two]
        == [(n, 4 * n) for n in range(1, 25)]
    )
    apart = max(abs(a - b) for (_, a, *_), (_, b, *_) in zip(one, two))
    print(f"two processes and one with accumulation: loss curves of 24 steps at most {apart:.2e} apart")
    assert apart <= 1e-4 and len({loss for _, loss, *_ in one}) == 24
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        same, other = (load_file(tmp_path / name / f"run/edit/model/{part}.safetensors") for name in ("one", "two"))
        for name in same:
            torch.testing.assert_close(same[name], other[name], rtol=0, atol=1e-3)


def pair_of(*argv: str | Path, said: Path) -> list[Command]:
    """Two processes of one run, as a launcher would start them."""
    port, common = str(free_port()), {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    ranks = ({**common, "MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2))
    return [Command(*argv, said=Path(f"{said}-{rank['RANK']}"), environment=rank) for rank in ranks]


def test_of_two_processes_both_stop_at_one_step_and_go_on(edited, edit_only, tmp_path):
    """Only the second is told. Then one process goes on, with accumulation: the samples are those of the others."""
    run = tmp_path / "run"
    for _ in range(5):  # a busy machine may let the moment slip
        first, second = pair_of(*edit_only, "save_every=100", said=tmp_path / "said")
        assert second.wait_until(lambda: len(lines_of(run, "edit")) >= 2)
        with contextlib.suppress(ProcessLookupError):
            os.kill(second.pid, signal.SIGTERM)
        if second.status():
            break
        assert first.status() == 0
        shutil.rmtree(run)
    assert (first.status(), second.status()) == (130, 130), (first.errors, second.errors)
    assert first.errors == ["Interrupted. The same command goes on from the last saved state."] and not second.errors
    (state,) = states.states(run / "edit")
    assert states.read(state).step == len(lines_of(run, "edit")) < STEPS
    ended(*edit_only, "stages.edit.accumulate=2", said=tmp_path / "said")
    ended(*edit_only, "stages.edit.accumulate=2", f"output={tmp_path}/straight", said=tmp_path / "said")
    one, other = (curve(folder, "edit") for folder in (run, tmp_path / "straight"))
    assert [line[2] for line in one] == [line[2] for line in other]
    assert [line[1] for line in one] == pytest.approx([line[1] for line in other], abs=1e-4)


def test_two_processes_fill_the_caches_and_end_alike(edited, edit_only, tmp_path):
    pair = pair_of(*edit_only, "stages.edit.batch_size=1", said=tmp_path / "said")
    assert [command.status() for command in pair] == [0, 0], [command.errors for command in pair]
    assert [line[1] for line in curve(tmp_path / "run", "edit")] == pytest.approx([line[1] for line in curve(edited, "edit")], abs=1e-4)
    caches = [sorted(path.name for path in (run / "cache").iterdir()) for run in (edited, tmp_path / "run")]
    assert caches[0] == caches[1]
