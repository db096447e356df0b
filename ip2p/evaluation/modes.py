"""Ways of sampling side by side: the same edits from the same noise by each mode, what each costs and what becomes of it.

A mode is what of an edit's settings changes speed or guidance; the edits are procedural ones, whose targets are known.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from ..checkpoints.defaults import defaults_for
from ..edit import Edit
from ..editor import Editor, check_editor_can
from ..errors import EditError
from ..files import written_whole
from ..progress import bar
from ..scorers.by_name import device_named
from ..scorers.perceptual import Perceptual
from . import metrics
from .evaluate import LINES, PICTURES, Source, begin, photographs_of, sources_of
from .mode_tables import write_tables
from .options import MODE_FIELDS, PROCEDURAL_SIZE, EvaluationOptions
from .procedural import Photo, PhotoBench, nearest
from .sweep import Lines, seed_of

KEPT = ("nearer_rms", "rms_target", "perceptual_target", "psnr_target", "rms_input")  # of what `PhotoBench` measures


@dataclass(frozen=True)
class Mode:
    """One way to edit. source: its model; settings: of `Edit`, by field."""

    source: Source
    settings: Mapping[str, Any]

    @property
    def label(self) -> str:
        """“small, DPM++ 2M, 10 steps, s_T 2.5, s_I 1.5, text guidance 0–0.7”: two modes of one label are the same."""
        said = self.settings
        parts = [self.source.name, said["sampler_name"]]
        if said["scheduler"] != Edit.scheduler:
            parts.append(said["scheduler"])
        parts += [f"{said['steps']} steps", f"s_T {said['text_scale']:g}", f"s_I {said['image_scale']:g}"]
        for guidance in ("text", "image"):
            start, end = said.get(f"{guidance}_start", 0.0), said.get(f"{guidance}_end", 1.0)
            if (start, end) != (0, 1):
                parts.append(f"{guidance} guidance {start:g}–{end:g}")
        if said.get("speed", Edit.speed) != Edit.speed:
            parts.append(said["speed"])
        return ", ".join(parts)

    @property
    def steps(self) -> tuple:
        """What two modes share whose results differ by their guidance, or their model, alone."""
        return self.settings["sampler_name"], self.settings["scheduler"], self.settings["steps"]


def modes_of(options: EvaluationOptions, sources: Sequence[Source]) -> list[Mode]:
    """The modes that are asked for, checked, each once. Raises EditError."""
    modes: dict[str, Mode] = {}
    for text in options.modes:
        said = settings_in(text)
        name = said.pop("model", sources[0].name)
        source = next((source for source in sources if name in (source.name, source.place)), None)
        if source is None:
            raise EditError(f"A mode is of one of the models given by --model ({', '.join(s.name for s in sources)}), not “{name[:80]}”.")
        suited = defaults_for(source.place)
        taken = suited.taken(dict.fromkeys(suited.settings) | said)
        mode = Mode(source, {name: value for name, value in (taken | said).items() if name != "longest_side"})
        check_editor_can(Edit(Image.new("RGB", (64, 64)), "x", **mode.settings))
        modes[mode.label] = mode
    return list(modes.values())


def settings_in(text: str) -> dict[str, Any]:
    """“sampler=DPM++ 2M, steps=10” → {"sampler_name": "DPM++ 2M", "steps": 10}. Raises EditError."""
    said: dict[str, Any] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in ("model", *MODE_FIELDS) or not value:
            raise EditError(f"A mode is NAME=VALUE with commas between, of the names model, {', '.join(MODE_FIELDS)}, not “{part[:80]}”.")
        field, kind = MODE_FIELDS.get(name, ("model", str))
        try:
            said[field] = kind(value)
        except ValueError as e:
            raise EditError(f"The {name} of a mode is a number, not “{value[:80]}”.") from e
    return said


def evaluate_modes(options: EvaluationOptions) -> int:
    """Edits by every mode what the folder lacks, writes the tables and prints them → rows that could not be read. Raises EditError."""
    pairs, instructions, photos = photographs_of(options, "--mode")
    sources = sources_of(options.models, None)
    modes = modes_of(options, sources)
    size = options.size or {"longest_side": PROCEDURAL_SIZE}
    device = device_named(options.device)
    settings = {
        "pairs": str(options.data), "split": options.split, "fingerprint": pairs.fingerprint, "modes": True, "size": size,
        "seed": options.seed, "phrasings": instructions.name, "precision": options.precision,
    }  # fmt: skip
    begin(options.output, settings, sources, options.force)
    editors = cache(lambda place: Editor.load(place, device, options.precision))
    bench = PhotoBench(pairs, size, None, Perceptual(device), photos)
    hands = [drawn(photo, options.per_photo, options.seed) for photo in photos]
    with Lines(options.output / LINES) as lines, closing(bar(sum(map(len, hands)) * len(modes), "edit")) as shown:
        bout = Bout(modes, bench, lambda mode: editors(mode.source.place), lines, options)
        for photo, kinds in zip(photos, hands):
            rows = [photo.rows[kind] for kind in kinds if bench.readable(photo.rows[kind])]
            edits = {row: (" ".join(instructions(row).split()), seed_of(options.seed, photo.name)) for row in rows}
            for mode in modes:
                bout.measure(mode, photo, edits)
                shown.update(len(kinds))
        asked = [photo.rows[kind] for photo, kinds in zip(photos, hands) for kind in kinds]
        write_tables(options.output, [mode.label for mode in modes], bout.lines_of(asked), references(modes))
    return len(bench.broken)


def drawn(photo: Photo, count: int | None, seed: int) -> list[str]:
    """`count` of a photograph's kinds, all for None. What fewer are drawn is among what more are."""
    kinds = list(photo.rows)
    return random.Random(seed_of(seed, photo.name, "kinds")).sample(kinds, len(kinds))[: count or len(kinds)]


def references(modes: Sequence[Mode]) -> dict[str, list[str]]:
    """With what each mode's results are compared, pixel by pixel, by its label: the first mode's, and those of the first one that makes
    the same steps."""
    same = {mode.steps: mode for mode in reversed(modes)}
    return {mode.label: [modes[0].label, same[mode.steps].label] for mode in modes}


class Bout:
    """What is measured of a photograph's edits by each mode in turn, which have to come in their order. lines: gets a line for each."""

    def __init__(self, modes: Sequence[Mode], bench: PhotoBench, editor_of: Any, lines: Lines, options: EvaluationOptions):
        self.bench, self.editor_of, self.lines, self.options = bench, editor_of, lines, options
        self.modes = {mode.label: mode for mode in modes}
        self.references = references(modes)
        self.shown = {label for labels in self.references.values() for label in labels}  # whose results are kept
        self.done = {(line["mode"], line["row"], line["instruction"]): line for line in lines.lines}

    def measure(self, mode: Mode, photo: Photo, edits: Mapping[int, tuple[str, int]]) -> None:
        """edits: of every row its instruction and its seed."""
        label, kind_of = mode.label, {row: kind for kind, row in photo.rows.items()}
        todo = [row for row in edits if not self.is_done(label, row, edits[row][0])]
        if not todo:
            return
        results, rows, seconds = self.edited(mode, {row: edits[row] for row in todo})
        measured = []
        for row, result, measures in zip(todo, results, self.bench.measure(todo, results)):
            pixels = metrics.pixels(result)
            measured.append({
                "mode": label, "row": row, "instruction": edits[row][0], "photo": photo.name, "kind": kind_of[row],
                "local": self.bench.row(row).mask_weight is not None, "rows": rows, "seconds": seconds,
                "recognised": {name: nearest(distances) == kind_of[row] for name, distances in measures["distances"].items()},
                "gradient": metrics.gradient_energy(pixels),
                "psnr": {
                    other: metrics.psnr(pixels, metrics.pixels(result if other == label else self.result(other, row, edits[row])))
                    for other in self.references[label]
                },
                **{name: measures[name] for name in KEPT},
            })  # fmt: skip
        self.lines.append(measured)
        self.done |= {(line["mode"], line["row"], line["instruction"]): line for line in measured}

    def is_done(self, label: str, row: int, instruction: str) -> bool:
        line = self.done.get((label, row, instruction))
        return line is not None and all(other in line["psnr"] for other in self.references[label])

    def edited(self, mode: Mode, edits: Mapping[int, tuple[str, int]]) -> tuple[list[Image.Image], float, float]:
        """→ the results, and of each the UNet's rows and the seconds on the mean."""
        asked = []
        for row, (instruction, seed) in edits.items():
            picture = self.bench.row(row).before
            asked.append(Edit(picture, instruction, seed=seed, width=picture.width, height=picture.height, **mode.settings))
        editor = self.editor_of(mode)
        begun = time.perf_counter()
        results = [result.image for result in editor.edit(asked, batch_size=self.options.sampling.batch)]
        seconds = (time.perf_counter() - begun) / len(asked)
        if mode.label in self.shown:
            for row, result in zip(edits, results):
                with written_whole(self.file(mode.label, row, edits[row][0]), force=True) as beside:
                    result.save(beside, "PNG")
        return results, sum(editor.rows) / len(asked), seconds

    def result(self, label: str, row: int, edit: tuple[str, int]) -> Image.Image:
        """What another mode made of a row, made again where its picture is gone."""
        file = self.file(label, row, edit[0])
        if not file.is_file():
            return self.edited(self.modes[label], {row: edit})[0][0]
        with Image.open(file) as image:
            return image.convert("RGB")

    def file(self, label: str, row: int, instruction: str) -> Path:
        return self.options.output / PICTURES / f"{row:06}-{seed_of(label, instruction):012x}.png"

    def lines_of(self, rows: Iterable[int]) -> list[dict]:
        """The lines of these rows, of all modes, the latest of each."""
        wanted = set(rows)
        return [line for (label, row, _), line in self.done.items() if label in self.modes and row in wanted]
