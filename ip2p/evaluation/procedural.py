"""Procedural edits of photographs: every kind of edit has a known target, so an edit can be recognised.

Four questions: is the result nearer to its target than the untouched photograph is; is the asked edit the nearest of all the
photograph's targets; does each scale do what it is for; how much does the autoencoder lose.
All edits of a photograph start from the same noise: the result of another kind's instruction is then there already,
and without text (s_T = 0, which is what an empty instruction amounts to) there is one result for the whole photograph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..dataset.pairs import PairSet
from ..editor import Editor
from ..pixels import to_picture
from ..scorers.perceptual import Perceptual
from ..scorers.scorer import Scorer
from . import metrics
from .metrics import Interval, interval
from .summary import value
from .sweep import Bench, Lines, Setting, Task, seed_of, setting_of

COUNTS_FROM = 2.0  # a kind counts when its edit is this many times what the autoencoder loses
DISTANCES = {"perceptual": "perceptual distance", "rms": "L2 at 64 px"}


@dataclass(frozen=True)
class Photo:
    """A photograph's rows by their kind."""

    name: str
    rows: dict[str, int]


def photos_of(pairs: PairSet, count: int | None = None, fits: Callable[[Mapping], bool] = lambda texts: True) -> list[Photo]:
    """The set's photographs in its order, the first `count`; none when it lacks the columns `kind` and `photo`.

    A kind that a photograph has twice is taken once, the first that fits. fits: asked with a row's texts.
    """
    photos: dict[str, dict[str, int]] = {}
    for row in range(len(pairs)):
        texts = pairs.texts(row)
        if not texts.get("kind") or texts.get("photo") in (None, ""):
            return []
        if fits(texts):
            photos.setdefault(str(texts["photo"]), {}).setdefault(str(texts["kind"]), row)
    return [Photo(name, rows) for name, rows in list(photos.items())[:count]]


class PhotoBench(Bench):
    """Measures a result against every target of its photograph too: `distances` and `progress_to`, by kind."""

    def __init__(
        self,
        pairs: PairSet,
        size: Mapping[str, int],
        scorer: Scorer | None,
        perceptual: Perceptual | None,
        photos: Sequence[Photo],
    ):
        super().__init__(pairs, size, scorer, perceptual, rows_cached=3 * max((len(photo.rows) for photo in photos), default=1) + 16)
        self.photo_of = {row: photo for photo in photos for row in photo.rows.values()}

    def _measure(
        self,
        index: int,
        result: Image.Image,
        features: torch.Tensor | None,
        joint: torch.Tensor | None,
        layers: list[torch.Tensor] | None,
    ) -> dict[str, Any]:
        measures = super()._measure(index, result, features, joint, layers)
        pixels = metrics.pixels(result)
        targets = {kind: self.row(row) for kind, row in self.photo_of[index].rows.items() if self.readable(row)}
        measures["distances"] = {"rms": {kind: metrics.rms_small(pixels, row.pixels[1]) for kind, row in targets.items()}}
        if layers is not None:
            measures["distances"]["perceptual"] = {
                kind: metrics.layers_distance(layers, row.layers[1]) for kind, row in targets.items() if row.layers is not None
            }
        measures["progress_to"] = {kind: metrics.progress(row.pixels[0], pixels, row.pixels[1]) for kind, row in targets.items()}
        return measures


def procedural_tasks(
    photos: Sequence[Photo], makers: Sequence[str], text_scales: Sequence[float], image_scales: Sequence[float],
    instruction_of: Callable[[int], str], seed: int, swept: int, shown: int,
) -> list[Task]:  # fmt: skip
    """Every kind of every photograph at the first scales; every photograph once without text; and, of the first `swept` photographs,
    each scale over its list while the other keeps its first. shown: photographs whose results are kept to be looked at."""
    tasks: dict[tuple, Task] = {}
    for maker in makers:
        main = Setting(maker, text_scales[0], image_scales[0])
        others = [replace(main, text_scale=s) for s in text_scales[1:]] + [replace(main, image_scale=s) for s in image_scales[1:]]
        for number, photo in enumerate(photos):
            start = seed_of(seed, photo.name)
            for setting in (main, replace(main, text_scale=0.0), *(others if number < swept else ())):
                rows = list(photo.rows.values())
                for row in rows[:1] if setting.text_scale == 0 else rows:
                    task = Task(row, setting, instruction_of(row), start, photo.name, keep=number < shown and setting == main)
                    tasks.setdefault(task.key, task)
    return list(tasks.values())


def measure_references(
    photos: Sequence[Photo], maker: str, reconstruct: Callable[[Image.Image], Image.Image], bench: Bench, lines: Lines
) -> None:
    """Of every row that `lines` lacks how far its target is from the photograph, and from itself after the autoencoder."""
    done = {(line["maker"], line["row"]) for line in lines.lines}
    for photo in photos:
        reconstructed = None  # of the photograph, once it is needed
        for kind, index in photo.rows.items():
            if (maker, index) in done or not bench.readable(index):
                continue
            row = bench.row(index)
            if reconstructed is None:
                reconstructed = reconstruct(row.before)
            reconstructed_target = reconstruct(row.target)
            outside = None if row.mask_weight is None else 1 - row.mask_weight
            line: dict[str, Any] = {"maker": maker, "row": index, "photo": photo.name, "kind": kind, "local": outside is not None}
            pixels = metrics.pixels(reconstructed)
            line["psnr"] = metrics.psnr(pixels, row.pixels[0])
            lost = metrics.rms_small(metrics.pixels(reconstructed_target), row.pixels[1])
            line["rms"] = {"edit": row.untouched["rms_target"], "autoencoder": lost}
            if outside is not None:
                line["rms"]["outside"] = metrics.rms_small(pixels, row.pixels[0], outside)
            if bench.perceptual is not None and row.layers is not None:
                target_layers, layers = bench.perceptual.layers([reconstructed_target, reconstructed])
                lost = metrics.layers_distance(target_layers, row.layers[1])
                line["perceptual"] = {"edit": row.untouched["perceptual_target"], "autoencoder": lost}
                if outside is not None:
                    line["perceptual"]["outside"] = metrics.layers_distance(layers, row.layers[0], outside)
            lines.append([line])


def reconstruction(editor: Editor) -> Callable[[Image.Image], Image.Image]:
    """What the editor's autoencoder makes of a picture: the posterior's mode, decoded."""

    @torch.inference_mode()
    def reconstruct(image: Image.Image) -> Image.Image:
        latent = editor.encode_picture(image) * editor.vae.config.scaling_factor
        return to_picture(editor.decode(latent))

    return reconstruct


def nearest(distances: Mapping[str, float]) -> str:
    return min(distances, key=lambda kind: distances[kind])


def figures(photos: Sequence[Photo], lines: Sequence[Mapping], references: Sequence[Mapping], main: Setting) -> dict:
    """All figures of one model. lines: of any settings; references: as `measure_references` writes them."""
    kind_of = {row: kind for photo in photos for kind, row in photo.rows.items()}
    own = [line for line in lines if line["maker"] == main.maker and line["row"] in kind_of]
    references = [line for line in references if line["maker"] == main.maker and line["row"] in kind_of]
    asked = [line for line in own if setting_of(line) == main]
    blank = {line["group"]: line for line in own if setting_of(line) == replace(main, text_scale=0.0)}
    names = [name for name in DISTANCES if any(name in line["distances"] for line in asked)]
    kinds = {name: kinds_of(name, asked, references, kind_of) for name in names}
    psnr = {line["photo"]: line["psnr"] for line in references}
    return {
        "maker": main.maker,
        "setting": main.label,
        "photos": len({line["group"] for line in asked}),
        "edits": len(asked),
        "nearer": {name: nearer(name, asked, kinds[name], kind_of) for name in names},
        "nearer_by_both": interval([float(all(value(line, f"nearer_{n}") for n in names)) for line in asked], groups_of(asked)),
        "kinds": kinds,
        "recognised": {name: recognised(name, asked, blank, kind_of, kinds[name]) for name in names},
        "over_image_scale": curve([line for line in own if line["text_scale"] == main.text_scale], "image_scale", kind_of),
        "over_text_scale": curve([line for line in own if line["image_scale"] == main.image_scale], "text_scale", kind_of),
        "autoencoder_psnr": interval(list(psnr.values())),
    }


def groups_of(lines: Iterable[Mapping]) -> list[str]:
    return [line["group"] for line in lines]


def kinds_of(name: str, asked: Sequence[Mapping], references: Sequence[Mapping], kind_of: Mapping[int, str]) -> dict[str, dict]:
    """By kind: the size of its edit and what the autoencoder loses, whether it counts, and the share of results nearer."""
    figures_of: dict[str, dict] = {}
    for kind in dict.fromkeys(kind_of.values()):
        of_kind = [line for line in asked if kind_of[line["row"]] == kind]
        known = [line[name] for line in references if line["kind"] == kind and name in line]
        edit, lost = (float(np.mean([line[part] for line in known])) if known else math.nan for part in ("edit", "autoencoder"))
        figures_of[kind] = {
            "edits": len(of_kind),
            "edit": edit,
            "autoencoder": lost,
            "counts": bool(edit >= COUNTS_FROM * lost),
            "nearer": interval([value(line, f"nearer_{name}") for line in of_kind], groups_of(of_kind)),
        }
        inside = interval([value(line, f"nearer_{name}_inside") for line in of_kind], groups_of(of_kind))
        if inside.n:
            outside = [line["outside"] for line in known if "outside" in line]
            figures_of[kind]["inside"] = {"nearer": inside}
            figures_of[kind]["outside"] = {
                "result": interval([value(line, f"{name}_input_outside") for line in of_kind], groups_of(of_kind)),
                "autoencoder": float(np.mean(outside)) if outside else math.nan,
            }
    return figures_of


def nearer(name: str, asked: Sequence[Mapping], kinds: Mapping[str, Mapping], kind_of: Mapping[int, str]) -> dict:
    """Share of results nearer to the target than the untouched photograph: over all kinds, and over those that count."""
    counting = [line for line in asked if kinds[kind_of[line["row"]]]["counts"]]
    return {
        "counting_kinds": sum(kind["counts"] for kind in kinds.values()),
        "kinds": len(kinds),
        "counting": interval([value(line, f"nearer_{name}") for line in counting], groups_of(counting)),
        "all": interval([value(line, f"nearer_{name}") for line in asked], groups_of(asked)),
    }


def recognised(
    name: str, asked: Sequence[Mapping], blank: Mapping[str, Mapping], kind_of: Mapping[int, str], kinds: Mapping[str, Mapping]
) -> dict:
    """Share of results whose nearest target of the photograph is the asked one; the same with no text, and with the instruction
    of another kind in its place; the confusion matrix, asked kinds down and nearest targets across."""
    by_photo: dict[str, dict[str, Mapping]] = {}
    for line in asked:
        by_photo.setdefault(line["group"], {})[kind_of[line["row"]]] = line
    order = list(kinds)
    matrix = np.zeros((len(order), len(order)), int)
    right: dict[str, list[float]] = {"asked": [], "blank": [], "other": [], "chance": []}
    groups, counted = [], []
    for photo, results in by_photo.items():
        present = list(results)
        turn = 1 + seed_of(photo) % (len(present) - 1) if len(present) > 1 else 0
        unasked = nearest(blank[photo]["distances"][name]) if photo in blank else None
        for place, kind in enumerate(present):
            distances = results[kind]["distances"][name]
            matrix[order.index(kind), order.index(nearest(distances))] += 1
            other = results[present[(place + turn) % len(present)]]["distances"][name]
            right["asked"].append(float(nearest(distances) == kind))
            right["blank"].append(math.nan if unasked is None else float(unasked == kind))
            right["other"].append(float(nearest(other) == kind) if turn else math.nan)
            right["chance"].append(1 / len(distances))
            groups.append(photo)
            counted.append(kinds[kind]["counts"])
    shares = {what: interval(values, groups) for what, values in right.items()}
    minus = {what: interval(np.subtract(right["asked"], right[what]), groups) for what in ("blank", "other")}
    of_counting = [v if c else math.nan for v, c in zip(right["asked"], counted)]
    return {**shares, "asked_counting": interval(of_counting, groups), "asked_minus": minus, "order": order, "confusion": matrix.tolist()}


def curve(lines: Sequence[Mapping], scale: str, kind_of: Mapping[int, str]) -> dict:
    """Similarity and distance to the input, and how far towards the target, at every value of `scale` over the photographs that
    have them all; how much each changes from the lowest to the highest, paired by photograph."""
    scales = sorted({line[scale] for line in lines})
    # Sorted, since a bootstrap draws by place.
    common = sorted(set.intersection(*({line["group"] for line in lines if line[scale] == s} for s in scales))) if scales else []
    measures = [name for name in ("image_similarity", "perceptual_input", "rms_input", "progress") if any(name in line for line in lines)]
    averages = {name: [photo_means([x for x in lines if x[scale] == s], name, common, kind_of) for s in scales] for name in measures}
    rows = [{"scale": s, **{name: interval(list(averages[name][i].values())) for name in measures}} for i, s in enumerate(scales)]
    change = {}
    for name, per_scale in averages.items():
        if len(scales) > 1:
            steps = [row[name].mean for row in rows]
            change[name] = {
                "last_minus_first": interval([per_scale[-1][photo] - per_scale[0][photo] for photo in common]),
                "rises_at_every_step": bool(all(b > a for a, b in pairwise(steps))),
                "falls_at_every_step": bool(all(b < a for a, b in pairwise(steps))),
            }
    return {"photos": len(common), "rows": rows, "change": change}


def photo_means(lines: Sequence[Mapping], name: str, photos: Iterable[str], kind_of: Mapping[int, str]) -> dict[str, float]:
    """A measure's mean over each photograph's kinds; a result without text stands for every kind."""
    values_of: dict[str, list[float]] = {photo: [] for photo in photos}
    for line in lines:
        if line["group"] in values_of:
            spread = name == "progress" and line["text_scale"] == 0
            values = list(line["progress_to"].values()) if spread else [line.get(name)]
            values_of[line["group"]] += [v for v in values if v is not None]
    return {photo: float(np.mean(values)) if values else math.nan for photo, values in sorted(values_of.items())}


def printed(figures: Mapping) -> str:
    """The figures for a terminal."""
    lines = [f"{figures['maker']}, {figures['setting']}: {figures['edits']} edits of {figures['photos']} photographs"]
    for name, label in DISTANCES.items():
        if name not in figures["nearer"]:
            continue
        near, seen = figures["nearer"][name], figures["recognised"][name]
        lines += [
            f"By {label}:",
            f"  nearer to the target than the untouched photograph  {share(near['counting'])} of the {near['counting_kinds']} of "
            f"{near['kinds']} kinds that count; {share(near['all'])} of all",
            f"  the asked edit is the nearest target                {share(seen['asked'])}; without text {share(seen['blank'])}, "
            f"another kind's instruction {share(seen['other'])}, chance {seen['chance'].mean:.3f}",
        ]
    for over, scale, wanted in (("over_image_scale", "s_I", "image_similarity"), ("over_text_scale", "s_T", "perceptual_input")):
        change = figures[over]["change"].get(wanted) or figures[over]["change"].get("rms_input")
        if change:
            first, last = figures[over]["rows"][0]["scale"], figures[over]["rows"][-1]["scale"]
            what = (
                "similarity to the input"
                if wanted == "image_similarity" and wanted in figures[over]["change"]
                else "distance from the input"
            )
            steps = "at every step" if change["rises_at_every_step"] else "not at every step"
            lines.append(f"{what} from {scale} {first:g} to {last:g}: {signed(change['last_minus_first'])}, rises {steps}")
    lines.append(f"autoencoder, PSNR of the photographs: {share(figures['autoencoder_psnr'], 1)} dB")
    return "\n".join(lines)


def share(figure: Interval, digits: int = 3) -> str:
    """“0.812 [0.770, 0.850]”, or “0.812” of too few photographs."""
    mean = f"{figure.mean:.{digits}f}"
    return "–" if not figure.n else f"{mean} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]" if figure.known else mean


def signed(figure: Interval) -> str:
    """“+0.012 [−0.003, +0.027]”, or “+0.012” of too few photographs."""
    mean = f"{figure.mean:+.3f}"
    return "–" if not figure.n else f"{mean} [{figure.low:+.3f}, {figure.high:+.3f}]" if figure.known else mean
