"""How near the one pass of a student comes to what its teacher's three passes make together, over pairs of scales.

The teacher edits; at steps on its way both networks are given the same noised latent, picture and words. Of each pair of scales the squared
error ‖student − ê‖² is set against ‖full − ê‖², that of the teacher's one pass with picture and words, which knows of no scales.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch

from ..checkpoints.defaults import defaults_for
from ..edit import Edit
from ..editor import Editor
from ..errors import EditError
from ..guidance import combine, pass_weights
from ..progress import bar
from ..scale_input import difference
from ..scorers.by_name import device_named
from .evaluate import LINES, begin, distinct, photographs_of, sources_of
from .metrics import interval
from .options import PROCEDURAL_SIZE, EvaluationOptions
from .procedural import Photo, share
from .sweep import Lines, seed_of

POINTS = 5  # steps of an edit that are looked at, evenly over all of them
TEXT_SHARES, IMAGE_SCALES = (0.4, 0.7, 1.0, 1.3, 1.6), (1.0, 1.4, 1.8, 2.2)  # of the teacher's usual text scale; and image scales


class Watched:
    """A UNet that remembers of each call the rows that it was given, the timestep, the texts and what it predicted."""

    def __init__(self, unet: Any):
        self.unet = unet
        self.calls: list[tuple[torch.Tensor, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unet, name)

    def __call__(self, x: torch.Tensor, t: torch.Tensor, encoder_hidden_states: torch.Tensor, **more: Any) -> Any:
        made = self.unet(x, t, encoder_hidden_states=encoder_hidden_states, **more)
        self.calls.append((x, t, encoder_hidden_states, made.sample.float()))
        return made


def evaluate_beside_teacher(options: EvaluationOptions) -> int:
    """Measures what the folder lacks and prints the table → photographs that could not be read. Raises EditError."""
    assert options.teacher is not None
    pairs, instructions, photos = photographs_of(options, "--teacher")
    students = sources_of(options.models, None)
    (teacher,) = sources_of([options.teacher], None)
    usual = defaults_for(teacher.place)
    text_scales = distinct(options.text_scales or [usual.text_scale * part for part in TEXT_SHARES])
    image_scales = distinct(options.image_scales or IMAGE_SCALES)
    scales = [[*pair] for pair in product(text_scales, image_scales) if pair != (1, 1)]  # there ê is the full pass itself
    settings = {
        "pairs": str(options.data), "split": options.split, "fingerprint": pairs.fingerprint, "teacher": teacher.fingerprint, "scales": scales,
        "size": options.size, "steps": options.sampling.steps, "sampler": options.sampling.sampler, "seed": options.seed,
        "phrasings": instructions.name, "precision": options.precision,
    }  # fmt: skip
    begin(options.output, settings, students, options.force)
    device, broken = device_named(options.device), 0
    loaded = {source.name: Editor.load(source.place, device, options.precision) for source in students}
    if wrong := next((name for name, student in loaded.items() if student.baked_scales is None), None):
        raise EditError(f"{wrong} is no student of one pass: --teacher is for those that `train` makes with a stage of kind distill.")
    teaching = Editor.load(teacher.place, device, options.precision)
    size: dict[str, Any] = dict(options.size or {"longest_side": PROCEDURAL_SIZE})
    progress = bar(len(photos), "photograph")
    with Lines(options.output / LINES) as lines:
        done = {(line["model"], line["group"]) for line in lines.lines}
        for photo in photos:
            missing = {name: student for name, student in loaded.items() if (name, photo.name) not in done}
            row = row_of(photo, options.seed)
            try:
                picture = pairs[row].original_image if missing else None
            except EditError as e:
                print(e)
                broken += 1
                picture = None
            if picture is not None:
                edit = Edit(
                    picture, instructions(row), text_scale=usual.text_scale, image_scale=usual.image_scale, steps=options.sampling.steps,
                    sampler_name=options.sampling.sampler, seed=seed_of(options.seed, photo.name), **size,
                )  # fmt: skip
                points = points_of(teaching, edit)
                for name, student in missing.items():
                    lines.append({"model": name, "group": photo.name, **line} for line in errors_of(student, points, scales))
            progress.update()
        progress.close()
        if not lines.lines:
            raise EditError(f"No photograph of {options.data} could be read.")
        names = {source.name for source in students}
        print("\n\n".join(table_of(name, [line for line in lines.lines if line["model"] == name]) for name in sorted(names)))
    return broken


def row_of(photo: Photo, seed: int) -> int:
    """The one edit of a photograph that is looked at."""
    rows = list(photo.rows.values())
    return rows[seed_of(seed, "one pass", photo.name) % len(rows)]


def points_of(teacher: Editor, edit: Edit) -> list[tuple[torch.Tensor, ...]]:
    """Of some steps of the teacher's edit: row (1, 8, h, w), timestep, text (1, tokens, width), and full, image and uncond, (1, 4, h, w) each.

    Raises EditError where the three passes are not run in one call, as with more words than one chunk."""
    unet = teacher.unet
    teacher.unet = watched = Watched(unet)
    try:
        teacher.edit(edit)
    finally:
        teacher.unet = unet
    calls = [call for call in watched.calls if len(call[0]) == 3]
    if not calls:
        raise EditError(f"“{edit.instruction[:80]}” is not edited by three passes at once, which a student is measured against.")
    chosen = [calls[round((i + 0.5) * len(calls) / POINTS - 0.5)] for i in range(POINTS)]
    return [(x[:1], t[:1], text[:1], *made.split(1)) for x, t, text, made in chosen]


@torch.inference_mode()
def errors_of(student: Editor, points: Sequence[tuple[torch.Tensor, ...]], scales: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Of each point and pair of scales the mean squares of the student's error and of that of the teacher's full pass."""
    assert student.baked_scales is not None
    told = difference(torch.tensor(scales, device=student.device), student.baked_scales).to(student.dtype)
    lines = []
    for x, t, text, full, image, uncond in points:
        rows = x.expand(len(scales), -1, -1, -1)
        made = student.unet(rows, t.expand(len(scales)), encoder_hidden_states=text.expand(len(scales), -1, -1), timestep_cond=told).sample
        for (text_scale, image_scale), own in zip(scales, made.float()):
            wanted = combine((full, image, uncond), pass_weights(text_scale, image_scale))[0]
            errors = [float((one - wanted).square().mean()) for one in (own, full[0])]
            lines.append({"t": float(t), "text_scale": text_scale, "image_scale": image_scale, "student": errors[0], "full": errors[1]})
    return lines


def table_of(name: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """The student's mean squared error as a share of the full pass's, for each pair of scales, in Markdown, and over all of them."""
    text_scales, image_scales = (sorted({line[scale] for line in lines}) for scale in ("text_scale", "image_scale"))
    rows = [f"| s_T \\ s_I | {' | '.join(f'{scale:g}' for scale in image_scales)} |", f"|{' --- |' * (len(image_scales) + 1)}"]
    for text_scale in text_scales:
        cells = []
        for image_scale in image_scales:
            of = [line for line in lines if (line["text_scale"], line["image_scale"]) == (text_scale, image_scale)]
            cells.append(f"{sum(line['student'] for line in of) / sum(line['full'] for line in of):.3f}" if of else "–")
        rows.append(f"| {text_scale:g} | {' | '.join(cells)} |")
    of_all = sum(line["full"] for line in lines) / len(lines)
    over = interval([line["student"] / of_all for line in lines], [line["group"] for line in lines])
    photographs = len({line["group"] for line in lines})
    said = f"{name}: squared error to ê as a share of the full pass's, {photographs} edits at {POINTS} steps each: {share(over)} over all"
    return "\n".join((said, "", *rows))
