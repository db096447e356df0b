"""Edits every pair at every setting, in batches, and writes what is measured line by line: an unfinished run continues."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image

from .. import images
from ..dataset.pairs import Pair, PairSet
from ..edit import Edit
from ..errors import EditError
from ..files import why, written_whole
from ..progress import bar
from ..scorers.perceptual import Perceptual
from ..scorers.scorer import Scorer
from ..scorers.vectors import cosine, directional_similarity
from . import metrics
from .options import SamplingConfig

UNTOUCHED = "untouched picture"
NEARER = 1 - 1e-4  # of a distance: less apart than this is rounding
ROWS_CACHED = 32  # rows whose features stay in memory


class Maker(Protocol):
    """What makes the results: `ip2p.editor.Editor`, or anything like it."""

    def edit(self, edits: Sequence[Edit], *, batch_size: int) -> Sequence[Any]:
        """One result per edit, with its picture as `.image`."""


@dataclass(frozen=True)
class Setting:
    """One way to edit. maker: its name in the report; image_scale: None for SDEdit, which has none; strength: SDEdit's."""

    maker: str
    text_scale: float = 0.0
    image_scale: float | None = None
    strength: float = 1.0

    @property
    def label(self) -> str:
        """“s_T 7.5, s_I 1.5”, the maker left out."""
        if self.maker == UNTOUCHED:
            return "–"
        image = f"strength {self.strength:g}" if self.image_scale is None else f"s_I {self.image_scale:g}"
        return f"s_T {self.text_scale:g}, {image}"

    @property
    def full_label(self) -> str:
        return self.maker if self.maker == UNTOUCHED else f"{self.maker}, {self.label}"


@dataclass(frozen=True)
class Task:
    """One edit to make and to measure. group: what rows share that are not independent, the photograph; keep: its picture too."""

    row: int
    setting: Setting
    instruction: str
    seed: int
    group: str
    keep: bool = False

    @property
    def key(self) -> tuple:
        setting = self.setting
        return setting.maker, setting.text_scale, setting.image_scale, setting.strength, self.row, self.instruction

    def line(self, measures: Mapping[str, Any], picture: str | None) -> dict:
        """What is written of it."""
        maker, text_scale, image_scale, strength, row, instruction = self.key
        return {
            "maker": maker, "text_scale": text_scale, "image_scale": image_scale, "strength": strength, "row": row,
            "instruction": instruction, "group": self.group, "seed": self.seed, "picture": picture, **measures,
        }  # fmt: skip


def key_of(line: Mapping) -> tuple:
    """A line's task, as `Task.key`."""
    return tuple(line[name] for name in ("maker", "text_scale", "image_scale", "strength", "row", "instruction"))


def setting_of(line: Mapping) -> Setting:
    return Setting(line["maker"], line["text_scale"], line["image_scale"], line["strength"])


def read_lines(path: Path) -> tuple[list[dict], int]:
    """A file of JSON lines → its lines, and the length in bytes of the whole ones: a last line that was cut off is left out.

    Raises EditError for any other damage.
    """
    try:
        data = path.read_bytes() if path.exists() else b""
    except OSError as e:
        raise EditError(f"{path} can't be read: {why(e)}.") from e
    whole, lines = data[: data.rfind(b"\n") + 1], []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            lines.append(json.loads(line))
        except ValueError as e:
            raise EditError(f"{path} is damaged at line {number}: begin again with --force.") from e
    return lines, len(whole)


class Lines:
    """A file of JSON lines that is read once and appended to. Raises EditError as `read_lines` does, and when it can't be written."""

    def __init__(self, path: Path):
        self.path = path
        self.lines, length = read_lines(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("r+b" if path.exists() else "w+b")
            self.file.truncate(length)
            self.file.seek(length)
        except OSError as e:
            raise EditError(f"{path} can't be written: {why(e)}.") from e

    def append(self, lines: Iterable[Mapping]) -> None:
        try:
            for line in lines:
                self.lines.append(json.loads(text := json.dumps(plain(line), ensure_ascii=False)))
                self.file.write(text.encode() + b"\n")
            self.file.flush()
        except OSError as e:
            raise EditError(f"{self.path} could not be written: {why(e)}.") from e

    def close(self) -> None:
        with suppress(OSError):  # of lines that could not be written, which `append` has said
            self.file.close()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plain(value: Any) -> Any:
    """`value` with null in place of not-a-number, which JSON has no word for, and floats of seven digits."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


@dataclass
class Row:
    """A pair at working size, and what is computed of it once.

    mask_weight: (h, w), the weight of each pixel inside the mask, 1 or 0, None without a mask; caption: of the target, (width,);
    words: both captions, None without both; pixels, features, layers: of the input and the target; joint: the input in the
    captions' space; untouched: distances of the input to the target.
    """

    before: Image.Image
    target: Image.Image
    mask_weight: torch.Tensor | None
    instruction: str
    caption: torch.Tensor | None
    words: torch.Tensor | None
    pixels: tuple[torch.Tensor, torch.Tensor]
    features: torch.Tensor | None
    joint: torch.Tensor | None
    layers: list[list[torch.Tensor]] | None
    untouched: dict[str, float]


def mask_weight(pair: Pair, size: tuple[int, int]) -> torch.Tensor | None:
    """size: (width, height) in pixels → (h, w), 1 inside the pair's mask and 0 outside; None where there is no mask, or it divides nothing."""
    if pair.mask is None:
        return None
    weight = (metrics.mask_weight(images.fit(pair.mask.convert("L"), size)) > 0.5).float()
    return weight if 0 < float(weight.mean()) < 1 else None


def to_target(row: Row, pixels: torch.Tensor, layers: list[torch.Tensor] | None) -> dict[str, float]:
    """Distances of a result to the target, on the whole and inside the mask."""
    distances = {"rms_target": metrics.rms_small(pixels, row.pixels[1])}
    if row.mask_weight is not None:
        distances["rms_target_inside"] = metrics.rms_small(pixels, row.pixels[1], row.mask_weight)
    if layers is not None and row.layers is not None:
        distances["perceptual_target"] = metrics.layers_distance(layers, row.layers[1])
        if row.mask_weight is not None:
            distances["perceptual_target_inside"] = metrics.layers_distance(layers, row.layers[1], row.mask_weight)
    return distances


class Bench:
    """Measures results of the rows of a pair set. size: `longest_side`, or `width` and `height`."""

    def __init__(
        self, pairs: PairSet, size: Mapping[str, int], scorer: Scorer | None, perceptual: Perceptual | None, rows_cached: int = ROWS_CACHED
    ):
        self.pairs, self.size, self.scorer, self.perceptual, self.rows_cached = pairs, dict(size), scorer, perceptual, rows_cached
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self.broken: dict[int, str] = {}

    def row(self, index: int) -> Row:
        """Raises EditError (`BrokenRow`) when the pair can't be read."""
        if index not in self._rows:
            self._rows[index] = self._read(index)
            while len(self._rows) > self.rows_cached:
                self._rows.popitem(last=False)
        self._rows.move_to_end(index)
        return self._rows[index]

    def readable(self, index: int) -> bool:
        """Whether the row can be read; why not is in `broken`."""
        if index not in self.broken:
            try:
                self.row(index)
            except EditError as e:
                self.broken[index] = " ".join(str(e).split())
        return index not in self.broken

    def fitted(self, image: Image.Image) -> Image.Image:
        return images.frame_of(image, **self.size, crop=True).place(image)

    def _read(self, index: int) -> Row:
        pair = self.pairs[index]
        before = self.fitted(pair.original_image)
        target = images.fit(pair.edited_image, before.size)
        both = [before, target]
        captions = [pair.original_prompt.strip(), pair.edited_prompt.strip()]
        reader = self.scorer if self.scorer is not None and self.scorer.reads_text else None
        caption = reader.texts(captions[1:])[0] if reader and captions[1] else None
        words = reader.texts(captions) if reader and all(captions) else None
        features, joint = (None, None) if self.scorer is None else self.scorer.pictures(both)
        row = Row(
            before=before,
            target=target,
            mask_weight=mask_weight(pair, before.size),
            instruction=pair.edit_prompts[0] if pair.edit_prompts else "",
            caption=caption,
            words=words,
            pixels=(metrics.pixels(before), metrics.pixels(target)),
            features=features,
            joint=None if joint is None else joint[0],
            layers=None if self.perceptual is None else self.perceptual.layers(both),
            untouched={},
        )
        row.untouched = to_target(row, row.pixels[0], row.layers[0] if row.layers else None)
        return row

    def measure(self, rows: Sequence[int], results: Sequence[Image.Image]) -> list[dict[str, Any]]:
        """Of every result of a row all that can be measured of it, by the names of `summary.MEASURES`."""
        features, joint = (None, None) if self.scorer is None else self.scorer.pictures(results)
        layers = None if self.perceptual is None else self.perceptual.layers(results)
        return [
            self._measure(
                index,
                result,
                None if features is None else features[n],
                None if joint is None else joint[n],
                None if layers is None else layers[n],
            )
            for n, (index, result) in enumerate(zip(rows, results))
        ]

    def _measure(
        self,
        index: int,
        result: Image.Image,
        features: torch.Tensor | None,
        joint: torch.Tensor | None,
        layers: list[torch.Tensor] | None,
    ) -> dict[str, Any]:
        row = self.row(index)
        pixels = metrics.pixels(result)
        before, target = row.pixels
        measures = {
            "l1_input": metrics.l1(pixels, before),
            "l2_input": metrics.l2(pixels, before),
            "rms_input": metrics.rms_small(pixels, before),
            "l1_target": metrics.l1(pixels, target),
            "l2_target": metrics.l2(pixels, target),
            "psnr_target": metrics.psnr(pixels, target),
            "progress": metrics.progress(before, pixels, target),
        }
        if layers is not None and row.layers is not None:
            measures["perceptual_input"] = metrics.layers_distance(layers, row.layers[0])
        if features is not None and row.features is not None:
            measures["image_similarity"] = cosine(features, row.features[0])
            measures["target_similarity"] = cosine(features, row.features[1])
        if joint is not None and row.caption is not None:
            measures["text_similarity"] = cosine(joint, row.caption)
            if row.joint is not None and row.words is not None:
                measures["directional_similarity"] = directional_similarity(row.joint, joint, *row.words)
        if row.mask_weight is not None:
            outside = 1 - row.mask_weight
            measures["l1_input_outside"] = metrics.l1(pixels, before, outside)
            measures["rms_input_outside"] = metrics.rms_small(pixels, before, outside)
            if layers is not None and row.layers is not None:
                measures["perceptual_input_outside"] = metrics.layers_distance(layers, row.layers[0], outside)
        distances = to_target(row, pixels, layers)
        nearer = {f"nearer_{name.replace('_target', '')}": float(d < NEARER * row.untouched[name]) for name, d in distances.items()}
        return {**measures, **distances, **nearer}


def seed_of(*parts: object) -> int:
    """A seed in 0 … 2⁴⁸ − 1 from what it is of, the same on every machine and in any order."""
    return int.from_bytes(hashlib.sha256(":".join(map(str, parts)).encode()).digest()[:6], "big")


def run_sweep(
    tasks: Sequence[Task],
    makers: Mapping[str, Callable[[], Maker]],
    bench: Bench,
    lines: Lines,
    sampling: SamplingConfig,
    pictures: Path | None = None,
) -> int:
    """Edits and measures what `lines` lacks, a batch at a time. → rows that could not be read.

    makers: what loads each maker, by its name, called when there is something to edit with it; pictures: folder for the results of
    tasks with `keep`. Raises EditError.
    """
    done = {key_of(line) for line in lines.lines}
    todo = [task for task in tasks if task.key not in done]
    if not todo:
        return 0
    reported: set[int] = set()
    with closing(bar(len(todo), "edit")) as shown:
        for name in dict.fromkeys(task.setting.maker for task in todo):
            of_maker = [task for task in todo if task.setting.maker == name]
            maker = None if name == UNTOUCHED else makers[name]()
            for start in range(0, len(of_maker), sampling.batch):
                part = of_maker[start : start + sampling.batch]
                batch = [task for task in part if bench.readable(task.row)]
                for row in bench.broken.keys() - reported:
                    shown.write(bench.broken[row], file=sys.stderr)
                reported |= bench.broken.keys()
                if batch:
                    results = [bench.row(task.row).before for task in batch] if maker is None else edited(maker, batch, bench, sampling)
                    measured = bench.measure([task.row for task in batch], results)
                    files = [keep(task, result, pictures) for task, result in zip(batch, results)]
                    lines.append(task.line(measures, file) for task, measures, file in zip(batch, measured, files))
                shown.update(len(part))
    return len({task.row for task in todo} & reported)


def edited(maker: Maker, batch: Sequence[Task], bench: Bench, sampling: SamplingConfig) -> list[Image.Image]:
    """The results of a batch, at working size."""
    edits = []
    for task in batch:
        picture, setting = bench.row(task.row).before, task.setting
        edit = Edit(
            image=picture,
            instruction=" ".join(task.instruction.split()),  # a line break would make it a chain
            text_scale=setting.text_scale,
            steps=sampling.steps,
            sampler_name=sampling.sampler,
            seed=task.seed,
            width=picture.width,
            height=picture.height,
            denoising_strength=setting.strength,
        )
        edits.append(edit if setting.image_scale is None else replace(edit, image_scale=setting.image_scale))
    return [result.image for result in maker.edit(edits, batch_size=sampling.batch)]


def keep(task: Task, result: Image.Image, folder: Path | None) -> str | None:
    """Writes the result where it is to be looked at → its name in the folder. Raises EditError."""
    if not task.keep or folder is None:
        return None
    name = f"{task.row:06}-{seed_of(*task.key):012x}.jpg"
    with written_whole(folder / name, force=True) as beside:
        result.save(beside, "JPEG", quality=92)
    return name
