"""How near a result at the photograph's own size comes to the true edit there: the enlarged result, and the one with its detail.

The truth is a procedural edit, computed of the photograph at its own size. Two results are brought to that size: the true edit made
small, with the autoencoder's loss on it, which tells what `detail` can do and needs no UNet; and the model's own edit.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from ..checkpoints.defaults import defaults_for
from ..dataset.edits.catalogue import KINDS, Kind
from ..dataset.edits.words import phrasings, thing_in
from ..detail import transfer
from ..edit import Edit
from ..editor import Editor
from ..errors import EditError
from ..files import written_whole
from ..images import frame_of, pictures_in, read_image
from ..pixels import to_picture
from ..progress import bar
from ..scorers.perceptual import Perceptual
from ..scorers.structure import LUMA, ssim
from ..segmentation import u2net as masks
from . import metrics
from .evaluate import LINES, Source, begin, sources_of
from .options import MODEL, PAINTED, STRUCTURE, TRUE, FullSizeOptions
from .sweep import NEARER, Lines, seed_of

MEASURES = {"psnr": "PSNR", "ssim": "SSIM", "gradient": "gradients", "perceptual": "perceptual"}
TARGET_SIDE = 256  # longest side in pixels of the targets among which a result is recognised
PERCEPTUAL_SIDE = 1024  # longest side in pixels at which the perceptual distance is measured
NEAR, WORSE = 0.9, -0.02  # an SSIM, and a change of it, that kinds are counted by
TABLES = "full_size.json", "full_size.md"


@dataclass(frozen=True)
class Photograph:
    """pixels: (H, W, 3) in [0, 1]; subject: (H, W), 1 is the subject; found: by a network, else an ellipse in the middle stands for it."""

    name: str
    image: Image.Image
    subject: np.ndarray
    found: bool

    @classmethod
    def read(cls, path: Path, longest_side: int) -> Photograph:
        """Raises EditError."""
        image = read_image(path).convert("RGB")
        image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
        if masks.weights():
            mask = masks.subject_mask(np.asarray(image, np.float32) / 255)
            if masks.is_clear(mask):
                return cls(path.name, image, mask, True)
        return cls(path.name, image, ellipse(image.height, image.width), False)

    @cached_property
    def pixels(self) -> np.ndarray:
        return np.asarray(self.image, np.float32) / 255


@dataclass(frozen=True)
class Task:
    """One edit to make and to measure. size: the longest side it is made at."""

    source: Source
    edit: str
    size: int
    kind: Kind
    value: str

    def key(self, photograph: str) -> tuple:
        return self.source.name, self.edit, photograph, self.kind.name


def evaluate_full_size(options: FullSizeOptions) -> int:
    """Measures, writes the tables and prints them → photographs that could not be read. Raises EditError."""
    files = pictures_in(options.photographs)[0][: options.count]
    if not files:
        raise EditError(f"{options.photographs} holds no pictures.")
    if unknown := [name for name in options.kinds if name not in KINDS]:
        raise EditError(f"There is no kind of edit “{unknown[0][:80]}”. Known ones: {', '.join(KINDS)}.")
    sources = sources_of(options.models, None)
    begin(options.output, settings_of(options), sources, options.force)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    perceptual = perceptual_on(device)
    broken = 0
    with Lines(options.output / LINES) as lines:
        done = {(line["model"], line["edit"], line["photograph"], line["kind"]) for line in lines.lines}
        for source in sources:
            editor: Editor | None = None
            progress = bar(len(files), f"photograph ({source.name})")
            for file, kinds in zip(files, dealt(options.kinds, options.per_photo, len(files), options.seed)):
                tasks = [task for task in tasks_of(source, file.name, kinds, options) if task.key(file.name) not in done]
                if tasks:
                    try:
                        photograph = Photograph.read(file, options.longest_side)
                    except EditError as e:
                        progress.write(f"{file.name}: {e}", file=sys.stderr)
                        broken += 1
                        continue
                    editor = editor or Editor.load(source.place, device, options.precision)
                    for line in measured(photograph, tasks, editor, perceptual, options):
                        lines.append([line])
                        progress.set_postfix_str(f"{line['kind']} {line['enlarged']['ssim']:.3f} → {line['full']['ssim']:.3f}")
                progress.update()
            progress.close()
        write_tables(options, lines.lines)
    return broken


def settings_of(options: FullSizeOptions) -> dict[str, Any]:
    """What every line of a run shares."""
    return {
        "full_size": str(options.photographs), "longest_side": options.longest_side, "true_size": options.true_size, "size": options.size,
        "text_scale": options.text_scale, "image_scale": options.image_scale, "steps": options.steps, "sampler": options.sampler,
        "seed": options.seed, "precision": options.precision, "masks": bool(masks.weights()),
    }  # fmt: skip


def dealt(kinds: Sequence[str], per_photo: int | None, photographs: int, seed: int) -> Iterator[Sequence[str]]:
    """Every photograph's kinds. A share of them is dealt in turn, so that all kinds get as many photographs."""
    kinds = random.Random(seed).sample(kinds, len(kinds))
    hand = min(per_photo or len(kinds), len(kinds))
    for first in range(0, hand * photographs, hand):
        yield [kinds[i % len(kinds)] for i in range(first, first + hand)]


def tasks_of(source: Source, photograph: str, kinds: Sequence[str], options: FullSizeOptions) -> Iterator[Task]:
    for edit in options.edits:
        size = options.true_size if edit == TRUE else options.size or defaults_for(source.place).longest_side
        for name in kinds:
            yield Task(source, edit, size, KINDS[name], value_for(KINDS[name], photograph, options.seed))


def measured(
    photograph: Photograph, tasks: Sequence[Task], editor: Editor, perceptual: Perceptual | None, options: FullSizeOptions
) -> Iterator[dict]:
    """A line for every edit that makes sense on the photograph; where its subject was not found, none of a model's own of subjects."""
    decoded: dict[int, np.ndarray] = {}
    compare: tuple[str, Image.Image, Measures] | None = None
    targets = Targets(photograph, options.seed) if any(task.edit == MODEL for task in tasks) else None
    for task in sorted(tasks, key=lambda task: task.kind.name):
        kind = task.kind
        if (kind.local and task.edit == MODEL and not photograph.found) or not kind.suits(photograph.pixels, photograph.subject):
            continue
        if compare is None or compare[0] != kind.name:
            truth = to_picture(kind(photograph.pixels, photograph.subject, task.value) * 255)
            compare = kind.name, truth, Measures(truth, perceptual)
        _, truth, measures = compare
        if task.size not in decoded:
            decoded[task.size] = through_autoencoder(editor, photograph.image, task.size)
        if task.edit == TRUE:
            result, told = through_autoencoder(editor, truth, task.size), {}
        else:
            instruction = instruction_for(kind, photograph.name, task.value, options.seed)
            result = edited(editor, photograph, instruction, task, options)
            told = {"instruction": instruction} | (targets.compared(result, kind.name) if targets else {})
        full, enlarged = (transfer(photograph.image, result, decoded[task.size], strength) for strength in (1, 0))
        yield {
            "model": task.source.name, "edit": task.edit, "photograph": photograph.name, "kind": kind.name, "value": task.value,
            "size": task.size, "subject": "found" if photograph.found else "ellipse", **told,
            "enlarged": measures(enlarged), "full": measures(full),
        }  # fmt: skip


def edited(editor: Editor, photograph: Photograph, instruction: str, task: Task, options: FullSizeOptions) -> np.ndarray:
    """The model's own edit at working size, (h, w, 3) in [0, 255]."""
    suited = defaults_for(task.source.place)
    result = editor.edit(
        Edit(
            photograph.image, instruction,
            text_scale=suited.text_scale if options.text_scale is None else options.text_scale,
            image_scale=suited.image_scale if options.image_scale is None else options.image_scale,
            steps=options.steps, sampler_name=options.sampler, seed=seed_of(options.seed, photograph.name),
            longest_side=task.size, crop=False,
        )
    )[0]  # fmt: skip
    return np.asarray(result.image, np.float32)


def instruction_for(kind: Kind, photograph: str, value: str, seed: int) -> str:
    """The first of its phrasings."""
    rng = random.Random(seed_of(seed, photograph, kind.name))
    return phrasings(kind.name, kind.parameter, value, thing_in(photograph), rng)[0][0]


def value_for(kind: Kind, photograph: str, seed: int) -> str:
    values = list(kind.values)
    return "" if "" in values else values[seed_of(seed, photograph, kind.name) % len(values)]


class Targets:
    """The photograph, and its true edit of every one of the thirty kinds that suits it, at 64 px."""

    def __init__(self, photograph: Photograph, seed: int):
        image = photograph.image.copy()
        image.thumbnail((TARGET_SIDE, TARGET_SIDE), Image.Resampling.LANCZOS)
        pixels, subject = np.asarray(image, np.float32) / 255, cv2.resize(photograph.subject, image.size, interpolation=cv2.INTER_AREA)
        suiting = [kind for kind in map(KINDS.__getitem__, STRUCTURE + PAINTED) if kind.suits(pixels, subject)]
        self.size, self.untouched = image.size, metrics.pixels(image)
        self.edits = {
            kind.name: metrics.pixels(to_picture(kind(pixels, subject, value_for(kind, photograph.name, seed)) * 255)) for kind in suiting
        }

    def compared(self, result: np.ndarray, kind: str) -> dict[str, bool]:
        """Of a result at working size, (h, w, 3) in [0, 255], made for `kind`: whether that is the nearest of the targets, and whether
        it is nearer to it than the photograph, both by L2 at 64 px."""
        pixels = metrics.pixels(to_picture(result).resize(self.size, Image.Resampling.LANCZOS))
        distances = {name: metrics.rms_small(pixels, target) for name, target in self.edits.items()}
        if kind not in distances:
            return {}
        untouched = metrics.rms_small(self.untouched, self.edits[kind])
        return {"recognised": min(distances, key=lambda name: distances[name]) == kind, "nearer": distances[kind] < untouched * NEARER}


@torch.inference_mode()
def through_autoencoder(editor: Editor, image: Image.Image, longest_side: int) -> np.ndarray:
    """The whole picture at working size, encoded and decoded, (h, w, 3) in [0, 255]."""
    frame = frame_of(image, longest_side=longest_side)
    return frame.cut_levels(editor.decode(editor.encode_picture(frame.place(image)) * editor.vae.config.scaling_factor))


class Measures:
    """Of pictures against a truth of their size."""

    def __init__(self, truth: Image.Image, perceptual: Perceptual | None):
        self.pixels, self.perceptual = np.asarray(truth, np.float32) / 255, perceptual
        self.luma = self.pixels @ LUMA
        self.layers = self.layers_of(truth)

    def layers_of(self, image: Image.Image) -> list[torch.Tensor] | None:
        if self.perceptual is None:
            return None
        small = image.copy()
        small.thumbnail((PERCEPTUAL_SIDE, PERCEPTUAL_SIDE), Image.Resampling.LANCZOS)
        return self.perceptual.layers([small])[0]

    def __call__(self, image: Image.Image) -> dict[str, float]:
        pixels = np.asarray(image, np.float32) / 255
        luma, layers = pixels @ LUMA, self.layers_of(image)
        error = float(np.square(pixels - self.pixels).mean())
        return {
            "psnr": min(-10 * math.log10(error), metrics.HIGHEST_PSNR) if error > 0 else metrics.HIGHEST_PSNR,
            "ssim": ssim(luma, self.luma),
            "gradient": gradient_similarity(luma, self.luma),
            "perceptual": math.nan if layers is None or self.layers is None else metrics.layers_distance(layers, self.layers),
        }


def gradient_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Mean similarity of the gradients' magnitudes (GMSD's map, Xue et al., 2014) of two lumas (H, W) in [0, 1]."""

    def magnitude(x: np.ndarray) -> np.ndarray:
        return cv2.magnitude(*(cv2.Scharr(x, cv2.CV_32F, dx, 1 - dx, scale=1 / 16) for dx in (1, 0)))

    x, y = magnitude(a), magnitude(b)
    return float(((2 * x * y + 0.0026) / (x * x + y * y + 0.0026)).mean(dtype=np.float64))


def ellipse(height: int, width: int) -> np.ndarray:
    """A subject in the middle, (height, width), for photographs whose own is not found."""
    y, x = np.ogrid[:height, :width]
    inside = ((y - height / 2) / (height * 0.3)) ** 2 + ((x - width / 2) / (width * 0.2)) ** 2 < 1
    return cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(height, width) / 400)


def perceptual_on(device: torch.device) -> Perceptual | None:
    try:
        return Perceptual(device)
    except ImportError as e:
        print(f"Without perceptual distance: {e}")
        return None


def write_tables(options: FullSizeOptions, lines: Sequence[Mapping]) -> None:
    """Writes full_size.json and full_size.md, and prints the latter."""
    names = dict.fromkeys((line["model"], line["edit"], line["size"]) for line in lines)
    found = {key: figures([x for x in lines if (x["model"], x["edit"], x["size"]) == key]) for key in names}
    if not found:
        raise EditError(f"No photograph of {options.photographs} could be measured.")
    sections = [section(key, figures_of) for key, figures_of in found.items()]
    contents = (
        json.dumps([{"model": m, "edit": e, "size": s, **f} for (m, e, s), f in found.items()], indent=1),
        "\n\n".join(sections) + "\n",
    )
    for name, text in zip(TABLES, contents):
        with written_whole(options.output / name, force=True) as beside:
            beside.write_text(text, encoding="utf8")
    print("\n\n".join((*sections, str(options.output / TABLES[1]))))


def figures(lines: Sequence[Mapping]) -> dict[str, Any]:
    """By kind and over groups of kinds the means of every measure, enlarged and full; over kinds every kind counts the same."""
    kinds: dict[str, dict] = {}
    for name in dict.fromkeys((*STRUCTURE, *PAINTED, *(line["kind"] for line in lines))):
        of_kind = [line for line in lines if line["kind"] == name]
        if of_kind:
            kinds[name] = {"edits": len(of_kind)} | {which: means_of(of_kind, which) for which in ("enlarged", "full")} | shares_of(of_kind)
    groups = {"kinds that keep structure": STRUCTURE, "painted kinds": PAINTED, "all kinds": tuple(kinds)}
    return {"photographs": len({line["photograph"] for line in lines}), "kinds": kinds} | {
        "groups": {
            group: {"edits": sum(x["edits"] for x in of_group)}
            | {which: means_of(of_group, which) for which in ("enlarged", "full")}
            | shares_of([line for line in lines if line["kind"] in names])
            for group, names in groups.items()
            if (of_group := [kinds[name] for name in names if name in kinds])
        },
        "near": sum(kinds[name]["full"]["ssim"] >= NEAR for name in STRUCTURE if name in kinds),
        "worse": [name for name, of in kinds.items() if of["full"]["ssim"] - of["enlarged"]["ssim"] < WORSE],
    }


def means_of(items: Sequence[Mapping], which: str) -> dict[str, float]:
    return {name: float(np.mean([math.nan if (x := item[which][name]) is None else x for item in items])) for name in MEASURES}


def shares_of(lines: Sequence[Mapping]) -> dict[str, float]:
    """Of a model's own edits, which are recognised and nearer to the target than the photograph is."""
    known = [line for line in lines if "recognised" in line]
    return {name: float(np.mean([line[name] for line in known])) for name in ("recognised", "nearer") if known}


def section(key: tuple[str, str, int], found: Mapping) -> str:
    model, edit, size = key
    what = f"the true edit at {size} px through its autoencoder" if edit == TRUE else f"its own edit at {size} px"
    measures = [name for name in MEASURES if not all(math.isnan(of["full"][name]) for of in found["kinds"].values())]

    shares = ("recognised", "nearer") if edit == MODEL else ()

    def row(name: str, of: Mapping) -> list[str]:
        cells = [" → ".join(f"{of[which][m]:.{1 if m == 'psnr' else 3}f}" for which in ("enlarged", "full")) for m in measures]
        return [name, str(of["edits"]), *cells, *(f"{of[share]:.2f}" if share in of else "–" for share in shares)]

    rows = [row(name, of) for name, of in (*found["kinds"].items(), *found["groups"].items())]
    header = ["kind", "edits", *(MEASURES[name] for name in measures), *shares]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))
    worse = ", ".join(found["worse"]) or "none"
    return (
        f"**{model}, {what}**, {found['photographs']} photographs; enlarged → with the photograph's detail:\n\n{table}\n\n"
        f"SSIM of at least {NEAR}: {found['near']} of the kinds that keep structure. Worse than enlarged by more than {-WORSE}: {worse}."
    )
