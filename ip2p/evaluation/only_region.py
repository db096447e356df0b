"""What editing a subject by itself, at the model's own size, gains over editing it within the whole picture; and whether its seam shows.

The truth is a procedural edit of the subject, computed of the photograph at its own size. Subjects that take a small part of the picture
are measured, for which the network has few latents when it sees the whole picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import cv2
import numpy as np
import torch

from ..checkpoints.defaults import defaults_for
from ..dataset.edits.catalogue import KINDS, SUBJECT, Kind
from ..edit import FULL, Edit
from ..editor import Editor
from ..errors import EditError
from ..images import pictures_in
from ..located import located
from ..region import Region
from ..scorers.structure import LUMA
from ..where import NAME, Where
from . import metrics
from .evaluate import Source
from .full_size import Photograph, dealt, instruction_for, value_for
from .options import ONLY, WITHIN, RegionOptions
from .regions import measured_lines
from .sweep import seed_of

SMALLEST, LARGEST = 0.05, 0.15  # of the picture, of a subject that is measured
SEAM = 2  # pixels on each side of a region's outline


def evaluate_only_region(options: RegionOptions) -> int:
    """Measures and prints the table → photographs that could not be read. Raises EditError."""
    files = pictures_in(options.photographs)[0][: options.count]
    kinds = [name for name in options.kinds if name in KINDS and KINDS[name].region == SUBJECT]
    if not files or not kinds:
        raise EditError(
            f"{options.photographs} holds no pictures." if not files else "Only kinds of edits of a subject are measured by themselves."
        )
    hands = list(dealt(kinds, options.per_photo or 1, len(files), options.seed))
    found = measured_lines(options, settings_of(options), files, hands, options.longest_side, is_small, measured)
    if not found.lines:
        raise EditError(f"No photograph of {options.photographs} has a subject of {SMALLEST:.0%} to {LARGEST:.0%} that was found.")
    print(table_of(found.lines))
    return found.broken


def settings_of(options: RegionOptions) -> dict[str, Any]:
    """What every line of a run shares."""
    return {
        "only": str(options.photographs), "longest_side": options.longest_side, "size": options.size, "steps": options.steps,
        "sampler": options.sampler, "seed": options.seed, "precision": options.precision, "per_photo": options.per_photo,
    }  # fmt: skip


def is_small(photograph: Photograph) -> bool:
    return photograph.found and SMALLEST <= float((photograph.subject > 0.5).mean()) <= LARGEST


def measured(photograph: Photograph, kind: Kind, editor: Editor, source: Source, options: RegionOptions) -> dict[str, Any]:
    """One line: of both edits the PSNR within the subject against the true edit, in dB, and the gradient along the region's outline as a
    multiple of the photograph's own there."""
    value = value_for(kind, photograph.name, options.seed)
    suited = defaults_for(source.place)
    edit = Edit(
        photograph.image, instruction_for(kind, photograph.name, value, options.seed),
        text_scale=suited.text_scale, image_scale=suited.image_scale, steps=options.steps, sampler_name=options.sampler,
        seed=seed_of(options.seed, photograph.name), longest_side=options.size or suited.longest_side, crop=False, result=FULL,
        region=Where(NAME, SUBJECT),
    )  # fmt: skip
    target = torch.from_numpy(kind(photograph.pixels, photograph.subject, value)).permute(2, 0, 1)
    inside = torch.from_numpy(photograph.subject.astype(np.float32))
    line: dict[str, Any] = {
        "model": source.name,
        "photograph": photograph.name,
        "kind": kind.name,
        "value": value,
        "share": float(inside.mean()),
    }
    for name, where in ((WITHIN, Where(NAME, SUBJECT)), (ONLY, Where(NAME, SUBJECT, only=True))):
        asked = located(replace(edit, region=where), editor.finders)
        result = editor.edit(asked)[0].image
        outline = outline_of(reduce(Region.plus, asked.parts).levels() > 0)
        gradients = [gradient(np.asarray(picture, np.float32))[outline].mean() for picture in (result, photograph.image)]
        line[name] = {"inside": metrics.psnr(metrics.pixels(result), target, inside), "seam": float(gradients[0] / max(gradients[1], 1e-6))}
    return line


def outline_of(region: np.ndarray) -> np.ndarray:
    """region: (h, w), True inside → True within SEAM pixels of its outline, on both sides; the picture's border is none."""
    kernel = np.ones((2 * SEAM + 1, 2 * SEAM + 1), np.uint8)
    levels = region.astype(np.uint8)
    return cv2.dilate(levels, kernel) > cv2.erode(levels, kernel)


def gradient(pixels: np.ndarray) -> np.ndarray:
    """pixels: (h, w, 3) → (h, w), how much the luma changes from pixel to pixel."""
    down, across = np.gradient(pixels @ np.asarray(LUMA, np.float32))
    return np.hypot(down, across)


def table_of(lines: Sequence[Mapping[str, Any]]) -> str:
    """By kind of edit and for all of them, in Markdown."""
    header = f"| kind | edits | share | inside dB: {WITHIN}, {ONLY} | gain | gain of | seam: {WITHIN}, {ONLY} |"
    groups = {kind: [line for line in lines if line["kind"] == kind] for kind in KINDS} | {"all": list(lines)}
    rows = [header, f"|{' --- |' * 7}"]
    for name, of in groups.items():
        if of:
            inside, seam = ([float(np.mean([line[edit][what] for line in of])) for edit in (WITHIN, ONLY)] for what in ("inside", "seam"))
            better = sum(line[ONLY]["inside"] > line[WITHIN]["inside"] for line in of)
            share = float(np.mean([line["share"] for line in of]))
            rows.append(
                f"| {name} | {len(of)} | {share:.2f} | {inside[0]:.1f}, {inside[1]:.1f} | {inside[1] - inside[0]:+.1f} | {better} of {len(of)} "
                f"| {seam[0]:.2f}, {seam[1]:.2f} |"
            )
    return "\n".join(rows)
