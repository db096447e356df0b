"""How well the region that an instruction means is found, and what an edit gains by keeping to it.

The truth is a procedural edit of the subject or the background of a photograph, whose region is known. Four edits are compared: of the
whole picture; within the region; with guidance that is scaled down outside it (`guidance.Scope`); and with the scales that these have on
average, the same everywhere.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..acting import acting_levels
from ..checkpoints.defaults import defaults_for
from ..dataset.edits.catalogue import BACKGROUND, KINDS, SUBJECT, Kind
from ..edit import OWN_SIZE, Edit
from ..editor import Editor
from ..editor.editor import held_and_scope
from ..errors import EditError
from ..files import written_whole
from ..images import pictures_in
from ..located import located
from ..progress import bar
from ..where import INSTRUCTION, Where
from . import metrics
from .evaluate import LINES, Source, begin, sources_of
from .full_size import Photograph, dealt, instruction_for, value_for
from .options import SCOPED, WITHIN, RegionOptions
from .sweep import Lines, seed_of

BOX = 0.5**0.5  # of either side: a box in the middle of half the area
TABLES = "regions.json", "regions.md"
EVERYWHERE, EVEN = "whole", "even"  # edits beside WITHIN and SCOPED
LOST, GAINED = 1.0, 6.0  # dB: what an edit may lose inside, and what it should gain outside


def evaluate_regions(options: RegionOptions) -> int:
    """Measures, writes the tables and prints them → photographs that could not be read. Raises EditError."""
    files = pictures_in(options.photographs)[0][: options.count]
    if not files:
        raise EditError(f"{options.photographs} holds no pictures.")
    if unknown := [name for name in options.kinds if name not in KINDS or not KINDS[name].local]:
        raise EditError(f"There is no kind of edit “{unknown[0][:80]}” that has a region. Known ones: {', '.join(local_kinds())}.")
    hands = list(dealt(options.kinds, options.per_photo, len(files), options.seed))
    found = measured_lines(options, settings_of(options), files, hands, options.size, lambda photograph: photograph.found, measured)
    write_tables(options, found.lines)
    return found.broken


@dataclass(frozen=True)
class Found:
    """The lines of a run, and how many photographs could not be read."""

    lines: Sequence[Mapping[str, Any]]
    broken: int


def measured_lines(
    options: RegionOptions,
    settings: dict[str, Any],
    files: Sequence[Path],
    hands: Sequence[Sequence[str]],
    longest_side: int | None,
    is_wanted: Callable[[Photograph], bool],
    measure: Callable[[Photograph, Kind, Editor, Source, RegionOptions], dict[str, Any]],
) -> Found:
    """A line for every model, photograph and kind of edit that suits it, those that an earlier run has made among them. hands: of every
    photograph the kinds; longest_side: to which photographs are shrunk, the model's own for None. Raises EditError."""
    sources = sources_of(options.models, None)
    begin(options.output, settings, sources, options.force)
    broken = 0
    with Lines(options.output / LINES) as lines:
        done = {(line["model"], line["photograph"], line["kind"]) for line in lines.lines}
        for source in sources:
            editor = Editor.load(source.place, options.device, options.precision)
            progress = bar(len(files), f"photograph ({source.name})")
            for file, names in zip(files, hands):
                kinds = [KINDS[name] for name in names if (source.name, file.name, name) not in done]
                try:
                    photograph = Photograph.read(file, longest_side or defaults_for(source.place).longest_side) if kinds else None
                except EditError as e:
                    progress.write(f"{file.name}: {e}", file=sys.stderr)
                    broken, photograph = broken + 1, None
                if photograph is not None and is_wanted(photograph):
                    for kind in kinds:
                        if kind.suits(photograph.pixels, photograph.subject):
                            lines.append([measure(photograph, kind, editor, source, options)])
                progress.update()
            progress.close()
        return Found(list(lines.lines), broken)


def local_kinds() -> list[str]:
    return [name for name, kind in KINDS.items() if kind.local]


def settings_of(options: RegionOptions) -> dict[str, Any]:
    """What every line of a run shares."""
    return {
        "regions": str(options.photographs), "size": options.size, "steps": options.steps, "sampler": options.sampler,
        "seed": options.seed, "precision": options.precision, "edits": list(options.edits),
    }  # fmt: skip


def measured(photograph: Photograph, kind: Kind, editor: Editor, source: Source, options: RegionOptions) -> dict[str, Any]:
    """One line: how well the region is found, and of every edit its PSNR inside and outside the true region."""
    value = value_for(kind, photograph.name, options.seed)
    suited = defaults_for(source.place)
    edit = Edit(
        photograph.image, instruction_for(kind, photograph.name, value, options.seed),
        text_scale=suited.text_scale, image_scale=suited.image_scale, steps=options.steps, sampler_name=options.sampler,
        seed=seed_of(options.seed, photograph.name), longest_side=max(photograph.image.size), crop=False, result=OWN_SIZE,
        region=Where(INSTRUCTION),
    )  # fmt: skip
    inside = torch.from_numpy(kind.mask(photograph.subject).astype(np.float32))
    line = {
        "model": source.name, "photograph": photograph.name, "kind": kind.name, "value": value,
        "instruction": edit.instruction, **found(edit, editor, inside),
    }  # fmt: skip
    target = kind(photograph.pixels, photograph.subject, value)
    for name, picture in edits(edit, editor, options.edits).items():
        result = metrics.pixels(picture)
        line[name] = {
            "inside": metrics.psnr(result, planes(target), inside),
            "outside": metrics.psnr(result, planes(photograph.pixels), 1 - inside),
        }
    return line


def planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def found(edit: Edit, editor: Editor, inside: torch.Tensor) -> dict[str, float]:
    """Of the map the area under the curve, of the region at its default threshold the intersection over union with the true one; of the
    full frame and of a box in its middle the same."""
    truth = inside > 0.5
    height, width = truth.shape
    levels = acting_levels(edit, editor.asks(edit))
    levels = torch.nn.functional.interpolate(levels[None, None], size=truth.shape, mode="bilinear")[0, 0]
    box = torch.zeros_like(truth)
    top, left = round(height * (1 - BOX) / 2), round(width * (1 - BOX) / 2)
    box[top : height - top, left : width - left] = True
    overlaps = {"iou": levels >= 0.5, "frame": torch.ones_like(truth), "box": box}
    return {"auc": metrics.area_under_curve(levels, truth)} | {name: metrics.overlap(region, truth) for name, region in overlaps.items()}


def edits(edit: Edit, editor: Editor, wanted: Sequence[str]) -> dict[str, Image.Image]:
    """The results by their names; of the two that compare guidance as the network leaves them, with nothing put back."""
    plain = replace(edit, region=None)
    results = {EVERYWHERE: editor.edit(plain)[0].image} if wanted else {}
    if WITHIN not in wanted and SCOPED not in wanted:
        return results
    where = located(edit, editor.finders)
    if WITHIN in wanted:
        results[WITHIN] = editor.edit(where)[0].image
    if SCOPED in wanted:
        scoped = replace(where, region=Where(INSTRUCTION, scoped=True))
        made = editor.edit(scoped)[0]
        results[SCOPED] = uncovered(made.levels, edit)
        text_scale, image_scale = average_scales(scoped)
        results[EVEN] = editor.edit(replace(plain, text_scale=text_scale, image_scale=image_scale))[0].image
    return results


def uncovered(levels: np.ndarray, edit: Edit) -> Image.Image:
    """What the network made, before the photograph is put back outside the region."""
    shown = Image.fromarray((edit.frame.cut_levels(levels) + 0.5).astype(np.uint8))
    return shown if shown.size == edit.image.size else shown.resize(edit.image.size, Image.Resampling.LANCZOS)


def average_scales(edit: Edit) -> tuple[float, float]:
    """Both scales of a scoped edit on average over the picture."""
    assert edit.seen_mask is not None
    width, height = edit.frame.size
    _, scope = held_and_scope(edit, edit.frame.place(edit.seen_mask), torch.empty(height // 8, width // 8))
    text, image = replace(edit.guidance(), scope=scope).at(0)
    return float(torch.as_tensor(text).mean()), float(torch.as_tensor(image).mean())


def write_tables(options: RegionOptions, lines: Sequence[Mapping]) -> None:
    """Writes regions.json and regions.md, and prints the latter."""
    if not lines:
        raise EditError(f"No photograph of {options.photographs} has a subject that was found, so there is nothing to measure.")
    sections = [section(name, [line for line in lines if line["model"] == name]) for name in dict.fromkeys(line["model"] for line in lines)]
    contents = json.dumps(list(lines), indent=1), "\n\n".join(sections) + "\n"
    for name, text in zip(TABLES, contents):
        with written_whole(options.output / name, force=True) as beside:
            beside.write_text(text, encoding="utf8")
    print("\n\n".join((*sections, str(options.output / TABLES[1]))))


def section(model: str, lines: Sequence[Mapping]) -> str:
    names = [name for name in (EVERYWHERE, WITHIN, SCOPED, EVEN) if name in lines[0]]
    groups = {kind: [line for line in lines if line["kind"] == kind] for kind in local_kinds()}
    groups |= {f"all of the {region}": [line for line in lines if KINDS[line["kind"]].region == region] for region in (SUBJECT, BACKGROUND)}
    groups["all"] = list(lines)
    header = [
        "kind",
        "edits",
        "AUC",
        "IoU: region, frame, box",
        *(f"{where} dB: {', '.join(names)}" for where in ("outside", "inside") if names),
    ]
    rows = [row(name, of, names) for name, of in groups.items() if of]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
    photographs = len({line["photograph"] for line in lines})
    lost = [line for line in lines if WITHIN in names and line[WITHIN]["inside"] < line[EVERYWHERE]["inside"] - LOST]
    little = [line for line in lines if WITHIN in names and line[WITHIN]["outside"] < line[EVERYWHERE]["outside"] + GAINED]
    said = [
        f"More than {LOST:g} dB lost inside: {len(lost)} of {len(lines)} ({cases(lost)}).",
        f"Less than {GAINED:g} dB gained outside: {len(little)} of {len(lines)} ({cases(little)}).",
    ]
    return f"**{model}**, {photographs} photographs:\n\n{table}" + (f"\n\n{' '.join(said)}" if WITHIN in names else "")


def row(name: str, lines: Sequence[Mapping], edits: Sequence[str]) -> list[str]:
    def mean(*path: str) -> float:
        values = [line[path[0]] if len(path) == 1 else line[path[0]][path[1]] for line in lines]
        return float(np.mean(values))

    overlaps = ", ".join(f"{mean(which):.2f}" for which in ("iou", "frame", "box"))
    decibels = [", ".join(f"{mean(edit, where):.1f}" for edit in edits) for where in ("outside", "inside") if edits]
    return [name, str(len(lines)), f"{mean('auc'):.2f}", overlaps, *decibels]


def cases(lines: Sequence[Mapping]) -> str:
    """By kind how many there are."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line["kind"]] = counts.get(line["kind"], 0) + 1
    return ", ".join(f"{kind} {count}" for kind, count in counts.items()) or "none"
