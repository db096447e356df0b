"""One stage from its first step, or its last saved state, to its end."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from ..edit import EditError
from ..files import why
from ..progress import bar
from . import state as states
from .config import Config, Stage
from .data import Order, Samples

FULL = (
    "There is not enough {} memory: lower stages.{}.batch_size (now {}) and raise accumulate as much, or set gradient_checkpointing=true."
)


class Loop:
    """module: a loss of `losses.py`. check(step): called between steps when a validation is due, with the averaged weights in place."""

    def __init__(
        self,
        config: Config,
        name: str,
        module: torch.nn.Module,
        samples: Samples,
        accelerator: Accelerator,
        check: Callable[[int], None] | None = None,
    ):
        self.config, self.name, self.stage, self.samples = config, name, config.stages[name], samples
        self.accelerator, self.check, self.own = accelerator, check, module
        self.folder = Path(config.output) / name
        self.trained = [(key, p) for key, p in module.named_parameters() if p.requires_grad]
        stage = self.stage
        optimizer = torch.optim.AdamW(
            [p for _, p in self.trained], lr=stage.learning_rate, betas=tuple(stage.betas), weight_decay=stage.weight_decay
        )
        self.model, self.optimizer = accelerator.prepare(module, optimizer)
        self.ema = EMAModel([p for _, p in self.trained], decay=stage.ema)  # warms up as LDM's: (1 + step) / (10 + step)
        self.step = 0
        self.seconds = 0.0

    def run(self) -> None:
        """Trains to the last step. Raises EditError, and KeyboardInterrupt after a state is saved."""
        self.resume()
        if self.step >= self.stage.steps:
            return
        accelerator, stage = self.accelerator, self.stage
        order = Order(stage, self.step, accelerator.process_index, accelerator.num_processes)
        workers = self.config.data.workers
        batches = iter(torch.utils.data.DataLoader(self.samples, batch_sampler=order, num_workers=workers, persistent_workers=workers > 0))
        shown = bar(stage.steps, "step") if accelerator.is_main_process else None
        if shown:
            shown.update(self.step)
        self.own.train()
        losses: list[float] = []
        samples = stage.batch_size * stage.accumulate * accelerator.num_processes
        with stop_asked() as asked, self.log() as log:
            while self.step < stage.steps:
                began = time.monotonic()
                losses.append(self.one_step(batches))
                self.step += 1
                self.seconds += time.monotonic() - began
                if shown:
                    shown.update(1)
                if self.step % self.config.log_every == 0 or self.step == stage.steps:
                    mean, losses = sum(losses) / len(losses), []
                    log(self.step, mean, samples)
                    if shown and hasattr(shown, "set_postfix_str"):
                        shown.set_postfix_str(
                            f"{self.name}: loss {mean:.4f}, {samples * self.step / max(self.seconds, 1e-9):.1f} samples/s"
                        )
                stop = self.any_process(asked.is_set())
                last = self.step == stage.steps
                if stop or last or self.step % self.config.save_every == 0:
                    self.save()
                every = self.config.validation.every
                if self.check and every and not stop and (last or self.step % every == 0):
                    self.validate()
                if stop and not last:
                    raise KeyboardInterrupt
        if shown:
            shown.close()

    def one_step(self, batches: Iterator[dict[str, torch.Tensor]]) -> float:
        """Accumulates the gradients of a step over its micro-batches and takes it; → mean loss over all processes."""
        stage, accelerator = self.stage, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(stage, self.step)
        total = torch.zeros((), device=accelerator.device)
        try:
            for turn in range(stage.accumulate):
                batch = {key: value.to(accelerator.device) for key, value in next(batches).items()}
                with accelerator.no_sync(self.model) if turn < stage.accumulate - 1 else nullcontext(), accelerator.autocast():
                    loss = self.model(batch) / stage.accumulate
                    accelerator.backward(loss)
                total += loss.detach()
        except torch.OutOfMemoryError as e:
            raise EditError(FULL.format("GPU", self.name, stage.batch_size)) from e
        except RuntimeError as e:
            if "allocate memory" in str(e):
                raise EditError(FULL.format("main", self.name, stage.batch_size)) from e
            raise
        mean = float(accelerator.reduce(total, "mean"))
        if not math.isfinite(mean):
            raise EditError(
                f"The loss is not a number at step {self.step + 1} of {self.name}: training stopped, the last saved state is kept in "
                f"{self.folder}. Lower stages.{self.name}.learning_rate, set gradient_clip=1, or use precision=no or bf16."
            )
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
        if self.accelerator.is_main_process:
            keys = [key for key, _ in self.trained]
            tensors = {
                "weights": {key: p.detach() for key, p in self.trained},
                "ema": dict(zip(keys, self.ema.shadow_params)),
                "optimizer": states.optimizer_tensors(self.optimizer),
            }
            scaler = self.accelerator.scaler
            numbers = {"ema_step": self.ema.optimization_step, "seconds": self.seconds, "scaler": scaler.state_dict() if scaler else None}
            cpu = {file: {key: tensor.cpu() for key, tensor in part.items()} for file, part in tensors.items()}
            states.write(self.folder, states.State(self.step, cpu, numbers), self.config.keep)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Goes on from the newest whole state, if there is one. Raises EditError when it is another model's."""
        found = states.newest(self.folder, self.accelerator.print)
        if found is None:
            return
        weights = found.tensors["weights"]
        own = {key: tuple(p.shape) for key, p in self.trained}
        if own != {key: tuple(tensor.shape) for key, tensor in weights.items()}:
            raise EditError(f"{self.folder} holds the state of another model: choose another output, or remove that folder.")
        with torch.no_grad():
            for (key, p), average in zip(self.trained, self.ema.shadow_params):
                p.copy_(weights[key])
                average.copy_(found.tensors["ema"][key])
        states.fill_optimizer(self.optimizer, found.tensors["optimizer"])
        self.ema.optimization_step = found.numbers["ema_step"]
        if found.numbers["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(found.numbers["scaler"])
        self.step, self.seconds = found.step, found.numbers["seconds"]
        self.accelerator.print(f"{self.name}: goes on after step {self.step} of {self.stage.steps}.")

    def validate(self) -> None:
        if self.accelerator.is_main_process:
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
    def log(self) -> Iterator[Callable[[int, float, int], None]]:
        """Lines of JSON in log.jsonl, those after the state that was taken up removed, and TensorBoard's events."""
        if not self.accelerator.is_main_process:
            yield lambda *_: None
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "log.jsonl"
        kept = (
            [line for line in path.read_text().splitlines() if whole(line) and json.loads(line)["step"] <= self.step]
            if path.exists()
            else []
        )
        path.write_text("".join(line + "\n" for line in kept))
        board = None
        if self.config.tensorboard:
            with suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step + 1)
        with open(path, "a") as file:

            def write(step: int, loss: float, samples: int) -> None:
                rate = learning_rate(self.stage, step - 1)
                line = {"step": step, "loss": loss, "learning_rate": rate, "samples": samples * step, "seconds": round(self.seconds, 3)}
                try:
                    print(json.dumps(line), file=file, flush=True)
                except OSError as e:
                    raise EditError(f"{path} could not be written: {why(e)}.") from e
                if board:
                    board.add_scalar("loss", loss, step)
                    board.add_scalar("learning_rate", rate, step)
                    board.add_scalar("samples_per_second", samples * step / max(self.seconds, 1e-9), step)

            try:
                yield write
            finally:
                if board:
                    board.close()


def learning_rate(stage: Stage, step: int) -> float:
    """Of the step after `step` were made: warm-up, then constant, or a cosine down to a hundredth."""
    rate = stage.learning_rate
    if step < stage.warmup:
        return rate * (step + 1) / stage.warmup
    if stage.decay == "cosine":
        done = (step - stage.warmup) / max(stage.steps - stage.warmup, 1)
        return rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
    return rate


@contextmanager
def stop_asked() -> Iterator[threading.Event]:
    """Ctrl-C and SIGTERM wait for the step to end; a second Ctrl-C does not."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number, frame):
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
