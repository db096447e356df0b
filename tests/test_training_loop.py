"""The loop of a stage: averages, rates, states, its end when asked to stop, and errors that end it with a sentence."""

import os
import re
import resource
import subprocess
import threading
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate", reason="training needs accelerate (pip install -e '.[train]')")

from accelerate import Accelerator

from ip2p import states
from ip2p.errors import EditError
from ip2p.files import unfinished
from ip2p.training import data
from ip2p.training.config import Config, Stage
from ip2p.training.data import Draw, Samples
from ip2p.training.loop import Loop, learning_rate, memory_errors_explained
from ip2p.training.train import clear_killed
from training_runs import Command

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with numpy 2


class Line(torch.nn.Module):
    """The smallest thing to train."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))

    def forward(self, batch):
        return (self.weight * batch["x"]).sum(-1).square().mean()


def small_loop(tmp_path: Path, module: torch.nn.Module, **stage) -> Loop:
    stage = Stage(**{"kind": "edit", "steps": 6, "batch_size": 2, "ema": 0.3, "learning_rate": 0.1, **stage})
    config = Config(output=str(tmp_path), save_every=1, tensorboard=False, stages={"edit": stage})
    draw = Draw(8, lambda row, rng, variant: {"row": torch.tensor(row), "x": torch.tensor([row + 1.0, 2.0])})
    return Loop(config, "edit", module, Samples(draw, stage, 0, 0), Accelerator(cpu=True))


def test_the_average_warms_up_to_its_decay(tmp_path):
    loop = small_loop(tmp_path, Line())
    loop.run()
    assert [path.name for path in states.states(tmp_path / "edit")] == ["state-00000006", "state-00000005"], "two are kept"
    before, after = (states.read(tmp_path / "edit" / f"state-{step:08d}").tensors for step in (5, 6))
    decay = min(0.3, (1 + 5) / (10 + 5))
    torch.testing.assert_close(after["ema"]["weight"], decay * before["ema"]["weight"] + (1 - decay) * after["weights"]["weight"])


@pytest.mark.parametrize("step, decay", ((2, 2 / 11), (3, 3 / 12), (100, 100 / 109)))
def test_the_warm_up_is_that_of_the_original_code(tmp_path, step, decay):
    assert small_loop(tmp_path, Line(), ema=0.9999).ema.get_decay(step) == pytest.approx(decay)


@pytest.mark.parametrize("moment", ("step", "validation"))
def test_asked_to_stop_in_its_last_step_or_validation_a_stage_ends_the_run(tmp_path, monkeypatch, moment):
    asked = threading.Event()
    monkeypatch.setattr("ip2p.training.loop.stop_requested", lambda patient: nullcontext(asked))
    loop = small_loop(tmp_path, Line())
    loop.config.validation.every = 6
    looked = []

    def check(step):
        looked.append(step)
        asked.set()

    loop.check = check
    if moment == "step":
        loop.own.register_forward_hook(lambda *_: asked.set() if loop.step == 5 else None)
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    assert states.newest_step(tmp_path / "edit") == 6 and looked == ([] if moment == "step" else [6])
    small_loop(tmp_path, Line()).run()


def test_only_what_a_killed_start_of_this_run_left_is_cleared(tmp_path):
    """Not a stranger's unfinished download, not what a running process writes, and nothing in folders that are not the run's."""
    ended_process = subprocess.Popen(["true"])
    ended_process.wait()
    own, strangers = [], [tmp_path / ".film.mkv.part", tmp_path / "edit" / ".notes.12345678.part", unfinished(tmp_path / "a", "part")]
    for path in (tmp_path / "run.safetensors", tmp_path / "edit" / "state-00000003", tmp_path / "cache" / "texts-1" / "000000.safetensors"):
        name = unfinished(path, "part").name.replace(f"-{os.getpid()}-", f"-{ended_process.pid}-")
        own.append(path.with_name(name))
        strangers.append(tmp_path / "downloads" / name)
    for path in (*own, *strangers):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clear_killed(tmp_path, ["edit"])
    assert not [path for path in own if path.exists()] and all(path.exists() for path in strangers)


def test_the_state_just_written_is_kept_beside_a_torn_newer_one(tmp_path):
    (tmp_path / "state-00000006").mkdir()
    path = states.write(tmp_path, states.State(3, {"weights": {"a": torch.ones(1)}}, {}), keep=1)
    assert states.read(path).step == 3 and states.states(tmp_path) == [path]


def test_a_state_of_another_model_is_a_sentence(tmp_path):
    small_loop(tmp_path, Line()).run()
    wider = Line()
    wider.weight = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(EditError, match="holds the state of another model: choose another output, or remove that folder"):
        small_loop(tmp_path, wider, steps=9).run()


def test_another_batch_size_skips_and_repeats_no_sample(tmp_path):
    seen = []

    class Watching(Line):
        def forward(self, batch):
            seen.append(batch["row"].tolist())
            return super().forward(batch)

    small_loop(tmp_path, Watching(), steps=2).run()
    small_loop(tmp_path, Watching(), steps=5, batch_size=3).run()
    rows = [data.row_of(n, 8, 0, 0) for n in range(13)]
    assert [len(batch) for batch in seen] == [2, 2, 3, 3, 3] and [row for batch in seen for row in batch] == rows


def test_the_learning_rate_warms_up_and_falls():
    stage = Stage(steps=110, warmup=10, decay="cosine", learning_rate=1.0)
    rates = [learning_rate(stage, step) for step in range(110)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)]) and rates[10] == 1
    assert all(a > b for a, b in pairwise(rates[10:])) and 0.01 < rates[-1] < 0.02
    assert {learning_rate(Stage(learning_rate=0.5), step) for step in (0, 5000)} == {0.5}


def test_accumulated_the_gradient_is_that_of_the_whole_batch(tmp_path):
    one, other = (small_loop(tmp_path / str(i), Line(), batch_size=6 // i, accumulate=i) for i in (1, 3))
    for loop in (one, other):
        loop.run()
    torch.testing.assert_close(one.own.weight, other.own.weight)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(tmp_path):
    loop = small_loop(tmp_path, Line(), learning_rate=1e30)
    with pytest.raises(EditError, match=r"loss is not a number at step 2 of edit.*kept in .*edit.*learning_rate"):
        loop.run()
    (kept,) = states.states(tmp_path / "edit")
    assert states.read(kept).step == 1 and states.read(kept).tensors["weights"]["weight"].isfinite().all()


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    class Root(Line):
        def forward(self, batch):  # its value is a number where its slope is not
            return (self.weight * (batch["x"] * 0)).abs().sum().sqrt()

    with pytest.raises(EditError, match="weight is not a number at step 1 of edit"):
        small_loop(tmp_path, Root()).run()
    assert not states.states(tmp_path / "edit")


def test_a_run_whose_loss_explodes_ends_with_a_sentence(edit_config, tmp_path):
    command = Command(edit_config(stage={"learning_rate": 1e18, "gradient_clip": 0}), "save_every=1", said=tmp_path / "said")
    assert command.status() == 2
    (line,) = command.errors
    assert re.search(r"not a number at step \d of edit: training stopped, the last saved state is kept in .*/run/edit\.", line)
    state = states.newest(tmp_path / "run" / "edit", print)
    assert all(tensor.isfinite().all() for tensor in state.tensors["weights"].values())


@pytest.mark.parametrize(
    "error, memory",
    ((torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "GPU"), (MemoryError(), "main"),
     (RuntimeError("[enforce fail at alloc_cpu.cpp:128] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "main")),
)  # fmt: skip
def test_no_memory_names_the_settings_to_change(error, memory):
    sentence = rf"not enough {memory} memory: lower stages.edit.batch_size \(now 4\).*stages.edit.accumulate.*gradient_check"
    with pytest.raises(EditError, match=sentence), memory_errors_explained("edit", Stage()):
        raise error
    with pytest.raises(RuntimeError, match="another"), memory_errors_explained("edit", Stage()):
        raise RuntimeError("another")


def test_no_memory_ends_the_command_with_a_sentence(edit_config, tmp_path):
    limit = 2 << 30  # of address space, of which the libraries take one
    config = edit_config(stage={"batch_size": 100, "size": 256, "cache": False}, validation={"every": 0})
    command = Command(config, said=tmp_path / "said", limits={resource.RLIMIT_AS: limit})
    assert command.status() == 2
    assert command.errors[-1].startswith("There is not enough main memory: lower stages.edit.batch_size (now 100)")
