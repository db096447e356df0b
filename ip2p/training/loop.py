"""One stage from its first step, or its last saved state, to its end."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from .. import states
from ..errors import EditError
from ..files import why, written_whole
from ..progress import bar
from .checks import Check
from .config import Config, Stage
from .data import Order, Samples, collate

FULL = (
    "There is not enough {0} memory: lower stages.{1}.batch_size (now {2}) and raise stages.{1}.accumulate as much, "
    "or set stages.{1}.gradient_checkpointing=true."
)
NOT_A_NUMBER = (
    "{} not a number at step {} of {}: training stopped, the last saved state is kept in {}. "
    "Lower stages.{}.learning_rate, set gradient_clip=1, or use precision=no or bf16."
)


class Loop:
    """module: a loss from `losses.py`. check(step): called between steps when a validation is due, with the averaged weights in place;
    check.file(step) is what it writes."""

    def __init__(
        self,
        config: Config,
        name: str,
        module: torch.nn.Module,
        data: Samples,
        accelerator: Accelerator,
        check: Check | None = None,
    ):
        self.config, self.name, self.stage, self.data = config, name, config.stages[name], data
        self.accelerator, self.check, self.own = accelerator, check, module
        self.folder = Path(config.output) / name
        self.batch = config.stages[name].batch_size * config.stages[name].accumulate * accelerator.num_processes
        self.trained = [(key, p) for key, p in module.named_parameters() if p.requires_grad]
        stage = self.stage
        optimizer = torch.optim.AdamW(
            [p for _, p in self.trained],
            lr=stage.learning_rate,
            betas=(stage.betas[0], stage.betas[1]),
            weight_decay=stage.weight_decay,
            fused=True,
        )
        self.model, self.optimizer = accelerator.prepare(module, optimizer)
        self.ema = EMAModel([p for _, p in self.trained], decay=stage.ema)  # warms up as LDM's: (1 + step) / (10 + step)
        self.step = self.samples = 0
        self.seconds = 0.0

    def run(self) -> None:
        """Trains to the last step. Raises EditError, and KeyboardInterrupt after a state is saved."""
        self.resume()
        if self.step >= self.stage.steps:
            return
        accelerator, stage = self.accelerator, self.stage
        self.own.train()
        losses: list[float] = []
        with (
            stop_requested(accelerator.num_processes > 1) as stopping,
            self.log() as log,
            self.bar() as shown,
            closing(self.batches()) as batches,
        ):
            while self.step < stage.steps:
                began = time.monotonic()
                losses.append(self.one_step(batches))
                self.step += 1
                self.samples += self.batch
                self.seconds += time.monotonic() - began
                if shown:
                    shown.update(1)
                if self.step % self.config.log_every == 0 or self.step == stage.steps:
                    mean, losses = sum(losses) / len(losses), []
                    log(mean)
                    if shown and hasattr(shown, "set_postfix_str"):
                        shown.set_postfix_str(f"{self.name}: loss {mean:.4f}, {self.throughput:.1f} samples/s")
                stop = self.any_process(stopping.is_set())
                if stop or self.step == stage.steps or self.step % self.config.save_every == 0:
                    self.save()
                if stop:
                    raise KeyboardInterrupt
                self.validate()
            if self.any_process(stopping.is_set()):  # while the last step was validated
                raise KeyboardInterrupt

    def batches(self) -> Generator[dict[str, torch.Tensor], None, None]:
        """This process's micro-batches. Raises EditError when a picture can't be read."""
        accelerator, workers = self.accelerator, self.config.data.workers
        order = Order(self.stage, self.step, self.samples, accelerator.process_index, accelerator.num_processes)
        # Forked, since how a sample is drawn is a closure.
        options: dict[str, Any] = {"multiprocessing_context": "fork", "worker_init_fn": ignore_signals} if workers else {}
        for batch in torch.utils.data.DataLoader(self.data, batch_sampler=order, num_workers=workers, collate_fn=collate, **options):
            if isinstance(batch, EditError):
                raise batch
            yield batch

    @contextmanager
    def bar(self) -> Iterator[Any]:
        """Of the main process; cleared away however the block ends."""
        shown = bar(self.stage.steps, "step", done=self.step) if self.accelerator.is_main_process else None
        try:
            yield shown
        finally:
            if shown:
                shown.close()

    @property
    def throughput(self) -> float:
        """Samples a second, of all processes and starts."""
        return self.samples / max(self.seconds, 1e-9)

    def one_step(self, batches: Iterator[dict[str, torch.Tensor]]) -> float:
        """Accumulates the gradients of a step over its micro-batches and takes it; → mean loss over all processes."""
        stage, accelerator = self.stage, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(stage, self.step)
        total = torch.zeros((), device=accelerator.device)
        for turn in range(stage.accumulate):
            batch = {key: value.to(accelerator.device) for key, value in next(batches).items()}
            with accelerator.no_sync(self.model) if turn < stage.accumulate - 1 else nullcontext():
                loss = self.model(batch) / stage.accumulate
                accelerator.backward(loss)
            total += loss.detach()
        mean = float(accelerator.reduce(total, "mean"))
        if not math.isfinite(mean):
            raise EditError(NOT_A_NUMBER.format("The loss is", self.step + 1, self.name, self.folder, self.name))
        if stage.gradient_clip:
            accelerator.clip_grad_norm_([p for _, p in self.trained], stage.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step([p for _, p in self.trained])
        return mean

    def any_process(self, flag: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return flag
        return bool(self.accelerator.reduce(torch.tensor(float(flag), device=self.accelerator.device), "sum") > 0)

    def save(self) -> None:
        """Raises EditError for a full disk, and for weights that are no numbers: the states before them are kept."""
        if not all(bool(p.isfinite().all()) for _, p in self.trained):
            raise EditError(NOT_A_NUMBER.format("A weight is", self.step, self.name, self.folder, self.name))
        if self.accelerator.is_main_process:
            keys = [key for key, _ in self.trained]
            tensors = {
                "weights": {key: p.detach() for key, p in self.trained},
                "ema": dict(zip(keys, self.ema.shadow_params)),
                "optimizer": states.optimizer_tensors(self.optimizer),
            }
            scaler = self.accelerator.scaler
            numbers = {
                "samples": self.samples,
                "seconds": self.seconds,
                "ema_step": self.ema.optimization_step,
                "scaler": scaler.state_dict() if scaler else None,
            }
            cpu = {file: {key: tensor.cpu() for key, tensor in part.items()} for file, part in tensors.items()}
            states.write(self.folder, states.State(self.step, cpu, numbers), self.config.keep)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Goes on from the newest whole state, if there is one. Raises EditError when it is another model's."""
        state = states.newest(self.folder, self.accelerator.print)
        if state is None:
            return
        weights = state.tensors["weights"]
        shapes = {key: tuple(p.shape) for key, p in self.trained}
        if shapes != {key: tuple(tensor.shape) for key, tensor in weights.items()}:
            raise EditError(f"{self.folder} holds the state of another model: choose another output, or remove that folder.")
        with torch.no_grad():
            for (key, p), average in zip(self.trained, self.ema.shadow_params):
                p.copy_(weights[key])
                average.copy_(state.tensors["ema"][key])
        states.fill_optimizer(self.optimizer, state.tensors["optimizer"])
        self.ema.optimization_step = state.numbers["ema_step"]
        if state.numbers["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state.numbers["scaler"])
        self.step, self.seconds = state.step, state.numbers["seconds"]
        self.samples = state.numbers.get("samples", self.step * self.batch)
        self.accelerator.print(f"{self.name}: goes on after step {self.step} of {self.stage.steps}.", flush=True)
        self.validate(again=False)

    def validate(self, again: bool = True) -> None:
        """Where it is due. again: also where there is a grid of this step already."""
        every = self.config.validation.every
        if not self.check or not every or (self.step % every and self.step != self.stage.steps):
            return
        if self.accelerator.is_main_process and (again or not self.check.file(self.step).exists()):
            with self.averaged():
                self.check(self.step)
        self.accelerator.wait_for_everyone()

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within the block the networks have their EMA weights."""
        parameters = [p for _, p in self.trained]
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        self.own.eval()
        try:
            yield
        finally:
            self.ema.restore(parameters)
            self.own.train()

    @contextmanager
    def log(self) -> Iterator[Callable[[float], None]]:
        """Lines of JSON in log.jsonl, without those after the state that the run continues from, and TensorBoard's events. Raises EditError."""
        if not self.accelerator.is_main_process:
            yield lambda *_: None
            return
        path = self.folder / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else ()
        earlier = [line for line in lines if whole(line) and json.loads(line)["step"] <= self.step]
        with written_whole(path, force=True) as beside:
            beside.write_text("".join(line + "\n" for line in earlier))
        board: Any = None
        if self.config.tensorboard:
            with suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step + 1)

        def write(loss: float) -> None:
            figures = {"loss": loss, "learning_rate": learning_rate(self.stage, self.step - 1)}
            line = {"step": self.step, **figures, "samples": self.samples, "seconds": round(self.seconds, 3)}
            try:
                with open(path, "a") as file:
                    print(json.dumps(line), file=file)
                for name, value in ({**figures, "samples_per_second": self.throughput} if board else {}).items():
                    board.add_scalar(name, value, self.step)
            except OSError as e:
                raise EditError(f"{path} could not be written: {why(e)}.") from e

        try:
            yield write
        finally:
            with suppress(OSError):
                if board:
                    board.close()


def learning_rate(stage: Stage, step: int) -> float:
    """Of the step after `step` steps: warm-up, then constant, or a cosine down to a hundredth."""
    rate = stage.learning_rate
    if step < stage.warmup:
        return rate * (step + 1) / stage.warmup
    if stage.decay == "cosine":
        done = (step - stage.warmup) / max(stage.steps - stage.warmup, 1)
        return rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
    return rate


@contextmanager
def memory_errors_explained(name: str, stage: Stage) -> Iterator[None]:
    """Within the block a lack of memory is an EditError that names the settings to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        gpu = isinstance(e, torch.OutOfMemoryError)
        if gpu or isinstance(e, MemoryError) or "allocate memory" in str(e):
            raise EditError(FULL.format("GPU" if gpu else "main", name, stage.batch_size)) from e
        raise


def ignore_signals(worker: int) -> None:
    """In a worker: a signal to the whole group of processes is for the main one, which ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_requested(patient: bool = False) -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM, which wait for the step to end; a second Ctrl-C does not, unless `patient`: torchrun passes on the
    terminal's."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if stopping.is_set() and number == signal.SIGINT and not patient:
            raise KeyboardInterrupt
        stopping.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def whole(line: str) -> bool:
    """Whether a line of the log was written to its end."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
