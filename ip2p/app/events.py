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
from PIL import Image

from ..chain import lines_of
from ..checkpoints import small
from ..edit import FULL, Edit, random_scales
from ..editor import Editor, Interrupted, Result
from ..errors import EditError
from ..images import HTTP, fit, notes_of, read_image
from .uploads import NO_LONGER, as_png, file_of, uploaded
from .working import Kept, Working, last_settings

EXAMPLES = Path(__file__).parents[1] / "examples"
TRY = (
    ("astronaut.jpg", "make it sepia"),
    ("chelsea.jpg", "make it winter"),
    ("coffee.jpg", "make it a pencil drawing"),
)  # fmt: skip
FIXED, DRAWN = "Fixed", "Random"
OWN_DETAIL = "The photograph's own size"
STEPS, SEED = 50, 1371  # what the official page starts with, and its seed
DETAIL = 1.0
PREVIEW = 1024  # longest side in pixels of what is shown; what is downloaded and edited again is the whole result
# Of the chain: the files of the picture it started from and of its result, its instruction, the preview's file.
Step = tuple[str, str, str, str]


class Events:
    """The page's events for one model, which is loaded with the first edit."""

    def __init__(self, model: str):
        self.model = model
        self.defaults = small.defaults_for(model)
        self.running = Running()
        self.kept = Kept()

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
        result: Any,
        detail: Any,
        chain: Sequence[Step],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple:
        """The fields as the browser sends them, unchecked → (before, after), seed, both scales, chain, gallery, infotext, the whole result.

        before, after: small pictures; whole result: a PNG file."""
        with self.running.edit(request.session_hash) as stop:

            def on_step(step: int, total: int, latents: torch.Tensor) -> bool:
                progress((step, total), unit="steps")
                return not stop.is_set()

            def on_rows(done: int, total: int) -> bool:
                progress((done, total), desc=OWN_DETAIL, unit="rows")
                return not stop.is_set()

            try:
                file = file_of(picture)
                seed = random.randrange(100_000) if seed_mode == DRAWN else whole("seed", seed)
                if scale_mode == DRAWN:
                    text, image = random_scales(seed, self.defaults.scale_ranges)
                settings: dict[str, Any] = {
                    "instruction": str(instruction or ""),
                    "negative_prompt": str(negative or ""),
                    "steps": whole("steps", steps),
                    "seed": seed,
                    "text_scale": number("text scale", text),
                    "image_scale": number("image scale", image),
                    "sampler_name": str(sampler),
                    "longest_side": self.defaults.longest_side,
                    "result": str(result),
                    "detail": number("detail", detail),
                    "crop": False,
                }
                edit = Edit(image=read_image(file, limits=HTTP), **settings)
                for note in notes_of(edit.image):
                    gr.Info(f"The picture: {note}.")
                progress(0, desc="Loading the model")
                results = self.editor.edit(edit, on_step=on_step, on_rows=on_rows)
            except EditError as e:
                raise gr.Error(str(e), print_exception=False) from e
            except Interrupted as e:
                results = e.results  # of the lines before the one that was stopped
                if not results:
                    raise gr.Error(str(e), print_exception=False) from e
                gr.Warning(str(e))
        files = [file_and_preview(result) for result in results]
        chain = [*chain, *steps_of(edit, file, files)]
        last = results[-1]
        before = as_png(fit(edit.image, preview_size(last.image.size), whole=True), "before")
        whole_file, preview = files[-1]
        self.kept.put(request.session_hash, Working(last_settings(settings, edit, results), chain[-1][0], before, whole_file, last))
        return (before, preview), last.seed, last.text_scale, last.image_scale, chain, strip(chain), last.infotext, whole_file

    def again(
        self,
        result: Any,
        detail: Any,
        chain: Sequence[Step],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple]:
        """The last result given back in another way, without a new edit → (before, after), chain, gallery, infotext, the whole result:
        first what is shown, and when its file is written, that too."""
        if not chain:
            yield (gr.skip(),) * 5  # there is nothing yet: the fields hold for the next edit
            return
        with self.running.edit(request.session_hash) as stop:

            def on_rows(done: int, total: int) -> None:
                progress((done, total), desc=OWN_DETAIL, unit="rows")
                if stop.is_set():
                    raise EditError(str(Interrupted([])))

            try:
                working = self.kept.get(request.session_hash, chain[-1][1])
                photograph = read_image(uploaded(working.picture, NO_LONGER), limits=HTTP)
                new = working.again(self.editor, photograph, str(result), number("detail", detail), on_rows)
            except EditError as e:
                raise gr.Error(str(e), print_exception=False) from e
        shown = new.image.resize(preview_size(new.image.size), Image.Resampling.BOX)
        yield (working.before, as_png(shown, "shown")), gr.skip(), gr.skip(), gr.skip(), None
        whole_file, preview = file_and_preview(new)
        working.file = whole_file
        *rest, (picture, _, instruction, _) = chain
        chain = [*rest, (picture, whole_file, instruction, preview)]
        yield (working.before, preview), chain, strip(chain), new.infotext, whole_file

    def stop_edit(self, request: gr.Request) -> None:
        self.running.stop(request.session_hash)

    def reset(self) -> tuple:
        scales = self.defaults.text_scale, self.defaults.image_scale
        return FIXED, SEED, FIXED, *scales, STEPS, FULL, DETAIL, "", "", None, None, [], [], "", None


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


def preview_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of what is shown of a picture."""
    scale = min(PREVIEW / max(size), 1)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def file_and_preview(result: Result) -> tuple[str, str]:
    """The files of a result and of a small picture of it, which are one where it is small."""
    file = as_png(result.image, f"result-{result.seed}", result.infotext)
    size = preview_size(result.image.size)
    return file, file if size == result.image.size else as_png(result.image.resize(size, Image.Resampling.LANCZOS), "preview")


def steps_of(edit: Edit, picture: str, results: Sequence[tuple[str, str]]) -> list[Step]:
    """picture: the file that was edited; results: of each line of the edit's instruction the file and that of its preview, the last ones
    missing where it was stopped."""
    starts = [picture, *(file for file, _ in results)]
    return [(start, file, line.instruction, preview) for start, (file, preview), line in zip(starts, results, lines_of(edit))]


def use_result(chain: Sequence[Step]) -> str:
    """The file of the last result, to be the next picture. Raises gr.Error."""
    if not chain:
        raise gr.Error("There is no result yet: edit a picture first.", print_exception=False)
    return kept(chain[-1][1])


def step_back(chain: Sequence[Step]) -> tuple:
    """Takes the last step off: the picture it started from, the chain without it, its results to show, and its instruction."""
    if not chain:
        return gr.skip(), chain, [], gr.skip()
    *rest, (picture, _, instruction, _) = chain
    return kept(picture), rest, strip(rest), instruction


def strip(chain: Sequence[Step]) -> list[tuple[str, str]]:
    """Small pictures of the chain's results with their instructions."""
    return [(kept(preview), instruction) for _, _, instruction, preview in chain]


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
