"""What the page's buttons do."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from threading import Event, Lock
from typing import Any

import gradio as gr
import torch
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from ..chain import lines_of
from ..checkpoints import small
from ..edit import Edit, random_scales
from ..editor import Editor, Interrupted
from ..errors import EditError
from ..images import HTTP, fit, notes_of, read_image
from .uploads import NO_LONGER, as_png, file_of, uploaded

EXAMPLES = Path(__file__).parents[1] / "examples"
TRY = (
    ("astronaut.jpg", "make it sepia"),
    ("chelsea.jpg", "make it winter"),
    ("coffee.jpg", "make it a pencil drawing"),
)  # fmt: skip
FIXED, DRAWN = "Fixed", "Random"
STEPS, SEED = 50, 1371  # what the official page starts with, and its seed
Step = tuple[str, str, str]  # of the chain: the file of the picture it started from, that of its result, its instruction


class Events:
    """The page's events for one model, which is loaded with the first edit."""

    def __init__(self, model: str):
        self.model = model
        self.defaults = small.defaults_for(model)
        self.running = Running()

    @cached_property
    def editor(self) -> Editor:
        return Editor.load(self.model)

    def generate(
        self,
        picture: dict | None,
        instruction: str | None,
        negative: str | None,
        steps: Any,
        seed_mode: str,
        seed: Any,
        scale_mode: str,
        text: Any,
        image: Any,
        sampler: Any,
        chain: Sequence[Step],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple:
        """The fields as the browser sends them, unchecked → (before, after), seed, both scales, chain, gallery, infotext."""
        with self.running.edit(request.session_hash) as stop:

            def on_step(step: int, total: int, latents: torch.Tensor) -> bool:
                progress((step, total), unit="steps")
                return not stop.is_set()

            try:
                file = file_of(picture)
                seed = random.randrange(100_000) if seed_mode == DRAWN else whole("seed", seed)
                if scale_mode == DRAWN:
                    text, image = random_scales(seed)
                edit = Edit(
                    image=read_image(file, limits=HTTP),
                    instruction=str(instruction or ""),
                    negative_prompt=str(negative or ""),
                    steps=whole("steps", steps),
                    seed=seed,
                    text_scale=number("text scale", text),
                    image_scale=number("image scale", image),
                    sampler_name=str(sampler),
                    longest_side=self.defaults.longest_side,
                )
                for note in notes_of(edit.image):
                    gr.Info(f"The picture: {note}.")
                progress(0, desc="Loading the model")
                results = self.editor.edit(edit, on_step=on_step)
            except EditError as e:
                raise gr.Error(str(e), print_exception=False) from e
            except Interrupted as e:
                results = e.results  # of the lines before the one that was stopped
                if not results:
                    raise gr.Error(str(e), print_exception=False) from e
                gr.Warning(str(e))
        files = [as_png(result.image, f"result-{result.seed}", result.infotext) for result in results]
        chain = [*chain, *steps_of(edit, file, files)]
        last = results[-1]
        before = as_png(fit(edit.image, last.image.size), "before")
        return (before, files[-1]), last.seed, last.text_scale, last.image_scale, chain, strip(chain), last.infotext

    def stop_edit(self, request: gr.Request) -> None:
        self.running.stop(request.session_hash)

    def reset(self) -> tuple:
        return FIXED, SEED, FIXED, self.defaults.text_scale, self.defaults.image_scale, STEPS, "", "", None, None, [], [], ""


class Running:
    """The edits that run, and how each is stopped: by nobody but the session that began it."""

    def __init__(self) -> None:
        self.stops: dict[str, list[Event]] = {}
        self.lock = Lock()

    @contextmanager
    def edit(self, session: str | None) -> Iterator[Event]:
        """What is set when the edit within the block is to stop. An edit without a session can't be stopped: any visitor may come
        without one."""
        stop = Event()
        if not session:
            yield stop
            return
        with self.lock:
            self.stops.setdefault(session, []).append(stop)
        try:
            yield stop
        finally:
            with self.lock:
                self.stops[session].remove(stop)
                if not self.stops[session]:
                    del self.stops[session]

    def stop(self, session: str | None) -> None:
        with self.lock:
            for stop in self.stops.get(session or "", ()):
                stop.set()


def example() -> tuple[str, str]:
    """A picture and what to make of it. Gradio takes files from the working directory and from its cache, nowhere else."""
    name, instruction = random.choice(TRY)
    return save_file_to_cache(EXAMPLES / name, get_upload_folder()), instruction


def steps_of(edit: Edit, picture: str, results: Sequence[str]) -> list[Step]:
    """picture: the file that was edited; results: one of each line of the edit's instruction, the last ones missing where it was
    stopped."""
    return [(before, result, line.instruction) for before, result, line in zip([picture, *results], results, lines_of(edit))]


def use_result(chain: Sequence[Step]) -> str:
    """The file of the last result, to be the next picture. Raises gr.Error."""
    if not chain:
        raise gr.Error("There is no result yet: edit a picture first.", print_exception=False)
    return kept(chain[-1][1])


def step_back(chain: Sequence[Step]) -> tuple:
    """Takes the last step off: the picture it started from, the chain without it, its results to show, and its instruction."""
    if not chain:
        return gr.skip(), chain, [], gr.skip()
    *rest, (picture, _, instruction) = chain
    return kept(picture), rest, strip(rest), instruction


def strip(chain: Sequence[Step]) -> list[tuple[str, str]]:
    """The results of the chain with their instructions."""
    return [(kept(result), instruction) for _, result, instruction in chain]


def kept(file: str) -> str:
    """Raises gr.Error for a file of the chain that was cleared away."""
    try:
        return uploaded(file, NO_LONGER)
    except EditError as e:
        raise gr.Error(str(e), print_exception=False) from e


def whole(name: str, value: Any) -> int:
    """The value of a number field. Raises EditError when it is empty, no number or has a fraction."""
    if not number(name, value).is_integer():
        raise EditError(f"The {name} must be a whole number, not {value}.")
    return int(value)


def number(name: str, value: Any) -> float:
    """The value of a number field. Raises EditError when it is empty or no number."""
    if value is None:
        raise EditError(f"The {name} is empty: put a number there.")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise EditError(f"The {name} must be a number, not {str(value)[:40]}.")
    return float(value)
