"""What the page's buttons do with one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Event
from typing import Any

import gradio as gr
import torch
from PIL import Image

from ..checkpoints.defaults import defaults_for
from ..edit import Edit
from ..editor import Editor, Interrupted
from ..errors import EditError
from ..images import HTTP, fit, notes_of, read_image
from .painted import Exact, painted_from, painted_on
from .running import Running
from .said import said
from .settings_fields import NAMES, number, settings_of
from .steps import Step, shown_variants, steps_of, strip
from .uploads import NO_LONGER, as_png, file_of, shown_size, uploaded
from .working import Kept, Working, settings_made

OWN_DETAIL = "The photograph's own size"


class Events:
    """The page's events for one model, which is loaded with the first edit."""

    def __init__(self, model: str):
        self.model = model
        self.defaults = defaults_for(model)
        self.running = Running()
        self.kept = Kept()

    @cached_property
    def editor(self) -> Editor:
        return Editor.load(self.model)

    def generate(
        self,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        *values: Any,
    ) -> Iterator[tuple]:
        """values: of the picture, of the fields by `NAMES`, of what is painted, the mask file, the chain; but for the last two as the browser
        sends them, unchecked.

        → (before, after), seed, both scales, chain, gallery, variations, their gallery, infotext, the whole result, what there is to say.
        before, after: small pictures; whole result: a PNG file; of variations the first is the result. Raises EditError."""
        picture, *fields, text, exact, chain = values
        with self.running.edit(request.session_hash) as stop:
            file = file_of(picture)
            settings = settings_of(dict(zip(NAMES, fields)), self.defaults, painted=bool(text or exact))
            image, painted = read_image(file, limits=HTTP), painted_on(file, text, exact)
            edit = Edit(image=image, mask=painted.mask(image.size), **settings)
            sentences = [f"The picture: {note}." for note in notes_of(image)]
            progress(0, desc="Loading the model")
            try:
                results = self.editor.edit(edit, on_step=on_step(progress, stop), on_rows=on_rows(progress, stop))
            except Interrupted as e:
                results = e.results  # of the lines before the one that was stopped
                if not results:
                    raise EditError(str(e)) from e
                sentences.append(str(e))
        files = [file_and_shown(result.image, f"result-{result.seed}", result.infotext) for result in results]
        before = as_png(fit(image, shown_size(results[-1].image.size), whole=True), "before")
        steps = steps_of(edit, file, before, files, painted)
        variants, made = (steps, results) if edit.variations else ([], results[-1:])
        chain = [*chain, *(steps[:1] if variants else steps)]
        workings = zip(made, settings_made(settings, edit, results), variants or steps[-1:])
        self.kept.put(request.session_hash, [Working.of(*one) for one in workings])
        shown, step = made[0], chain[-1]
        scales, gallery = (shown.text_scale, shown.image_scale), shown_variants(variants)
        yield (
            (before, step.after), shown.seed, *scales, chain, strip(chain), variants, gallery, shown.infotext, step.result, said(*sentences),
        )  # fmt: skip

    def again(
        self,
        result: Any,
        detail: Any,
        chain: Sequence[Step],
        variants: Sequence[Step],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple]:
        """The last result given back in another way, without a new edit → (before, after), chain, gallery, variations, their gallery, infotext,
        the whole result, what there is to say: first what is shown, and when its file is written, that too. Raises EditError."""
        if not chain:
            yield (gr.skip(),) * 8  # there is nothing yet: the fields hold for the next edit
            return
        last = chain[-1]
        with self.remaking(request.session_hash, last) as (stop, working, photograph):

            def rows(done: int, total: int) -> None:
                if not on_rows(progress, stop)(done, total):
                    raise EditError(str(Interrupted([])))

            image, infotext = working.again(self.editor, photograph, str(result), number("detail", detail), rows)
        shown = as_png(image.resize(shown_size(image.size), Image.Resampling.BOX), "shown")
        yield (last.before, shown), *[gr.skip()] * 5, None, said()
        file, after = file_and_shown(image, f"result-{working.seed}", infotext)
        working.file = file
        yield (last.before, after), *in_place(chain, variants, last._replace(result=file, after=after)), infotext, file, said()

    def finish_exactly(
        self,
        result: Any,
        detail: Any,
        chain: Sequence[Step],
        variants: Sequence[Step],
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple]:
        """The last result, which was made fast, made once more with its seed and settings, exact → as `again`. Raises EditError."""
        if not chain:
            raise EditError("There is no result yet: edit a picture first.")
        last = chain[-1]
        with self.remaking(request.session_hash, last) as (stop, working, photograph):
            edit = working.exactly(photograph, str(result), number("detail", detail))
            try:
                (made,) = self.editor.edit(edit, on_step=on_step(progress, stop), on_rows=on_rows(progress, stop))
            except Interrupted as e:
                raise EditError(str(e)) from e
        file, after = file_and_shown(made.image, f"result-{made.seed}", made.infotext)
        now = last._replace(result=file, after=after)
        self.kept.replace(request.session_hash, working, Working.of(made, {**working.settings, "speed": edit.speed}, now))
        yield (last.before, after), *in_place(chain, variants, now), made.infotext, file, said()

    @contextmanager
    def remaking(self, session: str | None, last: Step) -> Iterator[tuple[Event, Working, Image.Image]]:
        """Within the block the session makes its last result anew → what stops it, what is kept of the result, the photograph. Raises EditError."""
        with self.running.edit(session) as stop:
            yield stop, self.kept.get(session, last.result), read_image(uploaded(last.picture, NO_LONGER), limits=HTTP)

    def stop_edit(self, request: gr.Request) -> None:
        self.running.stop(request.session_hash)


def in_place(chain: Sequence[Step], variants: Sequence[Step], now: Step) -> tuple:
    """→ the chain, its gallery, the variations and theirs, once the last result is given back in another way."""
    last = chain[-1]
    chain, places = [*chain[:-1], now], [place for place, step in enumerate(variants) if step == last]
    variants = [now if step == last else step for step in variants]
    return chain, strip(chain), variants, shown_variants(variants, *places)


def on_step(progress: gr.Progress, stop: Event, described: str | None = None) -> Callable[[int, int, torch.Tensor], bool]:
    """The editor's callback after every step."""

    def after_step(step: int, total: int, latents: torch.Tensor) -> bool:
        progress((step, total), desc=described, unit="steps")
        return not stop.is_set()

    return after_step


def on_rows(progress: gr.Progress, stop: Event) -> Callable[[int, int], bool]:
    """The editor's callback after every strip of rows of a result that is brought to the picture's size."""

    def after_rows(done: int, total: int) -> bool:
        progress((done, total), desc=OWN_DETAIL, unit="rows")
        return not stop.is_set()

    return after_rows


def file_and_shown(image: Image.Image, name: str, infotext: str) -> tuple[str, str]:
    """The files of a result and of a small picture of it, which are one where it is small."""
    file = as_png(image, name, infotext)
    size = shown_size(image.size)
    return file, file if size == image.size else as_png(image.resize(size, Image.Resampling.LANCZOS), "preview")


def take_mask(file: str, picture: dict | None) -> Iterator[tuple[str, Exact, str]]:
    """A mask file for the picture → how it looks painted, both files, what there is to say. Raises EditError."""
    of = file_of(picture)
    painted = painted_from(uploaded(file), of)
    yield painted.text, (of, painted.file), said()
