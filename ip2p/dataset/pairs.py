"""A pair set: a picture, what to change and the picture changed, row by row, whatever files it lies in."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ..edit import EditError
from ..images import read_image

PICTURES = ("original_image", "edited_image", "mask")
# Ours first, then what published sets call it: InstructPix2Pix, MagicBrush, OmniEdit, SuperEdit, the 1000 samples; then plain words.
ALIASES = {
    "original_image": ("original_image", "input_image", "source_img", "src_img", "source_image", "before", "original", "input", "source"),
    "edited_image": ("edited_image", "target_img", "edited_img", "target_image", "output_image", "after", "edited", "output", "target"),
    "mask": ("mask", "mask_img", "mask_image"),
    "edit_prompt": ("edit_prompt", "instruction", "edit", "edit_instruction", "prompt"),
    "edit_prompts": ("edit_prompts", "edited_prompt_list", "instructions", "instruction_list"),
    "original_prompt": ("original_prompt", "input_prompt", "source_prompt", "original_caption", "source_caption", "caption"),
    "edited_prompt": ("edited_prompt", "output_prompt", "target_prompt", "edited_caption", "target_caption"),
    "seed": ("seed",),
    "scores": ("scores",),
}
SPLITS = {"train": (0.0, 0.9), "val": (0.9, 0.95), "test": (0.95, 1.0)}  # the original code's, by order (edit_dataset.py)
SAME_SPLIT = {"validation": "val", "valid": "val", "dev": "val", "eval": "val", "training": "train"}
ASPECT = 0.02  # what rounding to whole pixels can make of one aspect


class BrokenRow(EditError):
    """“FILE row N: reason”."""


@dataclass(frozen=True)
class Pair:
    """One row. Pictures are upright RGB; the mask is L, of the original's size, and white is edited.

    edit_prompts: one or several phrasings of the same instruction. extra: columns that only some sets have, as kind or photo.
    """

    original_image: Image.Image
    edited_image: Image.Image
    edit_prompts: tuple[str, ...]
    original_prompt: str = ""
    edited_prompt: str = ""
    seed: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    mask: Image.Image | None = None
    extra: Mapping[str, str | int | float] = field(default_factory=dict)

    @property
    def edit_prompt(self) -> str:
        return self.edit_prompts[0]


class PairSet(Sequence):
    """Random access to pairs; a row's pictures are read and decoded when it is asked for. Can be sent to other processes.

    source: rows of raw columns, as `tables.py` and `layout.py` have them: `len()`, `columns`, `row(i, columns)` and `place(i)`.
    fingerprint: changes when the content changes.
    """

    def __init__(self, name: str, source, fingerprint: str, rows: Sequence[int] | None = None):
        self.name, self.source, self.fingerprint = name, source, fingerprint
        self.rows = range(len(source)) if rows is None else rows
        self.found = columns_of(source.columns, name)
        named = {column for columns in self.found.values() for column in columns}
        self.extra = [column for column in source.columns if column not in named]
        self.text_columns = [column for name in self.found if name not in PICTURES for column in self.found[name]] + self.extra

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Pair:
        """Raises BrokenRow where there is no instruction or a picture can't be used."""
        row = self.raw(i)
        try:
            original = decoded(row["original_image"], "picture before")
            edited = decoded(row["edited_image"], "picture after")
            check_aspects(original.size, edited.size)
            mask = mask_of(row["mask"], original.size) if row.get("mask") else None
        except BrokenRow:
            raise
        except EditError as e:
            raise self.broken(i, e) from e
        texts = {name: row[name] for name in ("edit_prompts", "original_prompt", "edited_prompt", "seed", "scores")}
        return Pair(original, edited, mask=mask, extra=row["extra"], **texts)

    def raw(self, i: int) -> dict:
        """The row as `Pair` has it, but the pictures are their files' bytes. Raises BrokenRow where something is missing."""
        pictures = [column for name in PICTURES for column in self.found.get(name, ())]
        columns = self.source.row(self.rows[i], self.text_columns + pictures)
        row = self._texts(columns)
        try:
            if not row["edit_prompts"]:
                raise EditError("the instruction is empty")
            for name, what in zip(PICTURES, ("picture before", "picture after", "mask")):
                data = next((data for column in self.found.get(name, ()) if (data := picture_bytes(columns[column], what))), None)
                if data is None and name != "mask":
                    raise EditError(f"the {what} is missing")
                row[name] = data
        except EditError as e:
            raise self.broken(i, e) from e
        return row

    def texts(self, i: int) -> dict:
        """The row without its pictures, which is cheap: edit_prompts, original_prompt, edited_prompt, seed, scores and the extra columns."""
        row = self._texts(self.source.row(self.rows[i], self.text_columns))
        return row.pop("extra") | row

    def select(self, rows: Iterable[int]) -> PairSet:
        """These rows of it, in this order."""
        import hashlib

        rows = [int(i) for i in rows]
        fingerprint = hashlib.sha256(f"{self.fingerprint} {rows}".encode()).hexdigest()[:32]
        return PairSet(self.name, self.source, fingerprint, [self.rows[i] for i in rows])

    def broken(self, i: int, reason: object) -> BrokenRow:
        file, row = self.source.place(self.rows[i])
        return BrokenRow(f"{file} row {row}: {str(reason).rstrip('.')}")

    def _texts(self, columns: Mapping) -> dict:
        def first(name: str):
            return next((columns[c] for c in self.found.get(name, ()) if columns.get(c) is not None), None)

        phrasings = [text for name in ("edit_prompt", "edit_prompts") for c in self.found.get(name, ()) for text in listed(columns[c])]
        extra = {c: columns[c] for c in self.extra if isinstance(columns.get(c), (str, int, float))}
        seed = first("seed")
        return {
            "edit_prompts": tuple(dict.fromkeys(phrasings)),
            "original_prompt": str(first("original_prompt") or ""),
            "edited_prompt": str(first("edited_prompt") or ""),
            "seed": None if seed is None else int(seed),
            "scores": scores_of(first("scores")),
            "extra": extra,
        }


def open_pairs(source: str | Path, split: str | None = None, in_order: bool = False) -> PairSet:
    """A pair set from a parquet file, a folder of them, the original folder layout, a folder of before and after pictures with a CSV,
    or a data set's name on the Hugging Face hub.

    split: one the set names, in a column `split` or its files' names; where it names none, the original code's train, val and
    test: 90, 5 and 5 % of the prompts in their order. None is all of it.
    in_order: rows will be asked for one after another; parquet is then always read where it lies (`tables.parquet`).
    Raises EditError when there is nothing of that name, or it has no pictures before, after or instructions.
    """
    from . import tables

    path = Path(source)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return tables.parquet([path], path.name, split, in_order)
    raise EditError(f"There is no pair set {source}.")


def write_pairs(pairs: Iterable[Pair], path: Path, force: bool = False) -> int:
    """Writes one parquet file, row group by row group, beside and renamed; returns the number of rows.

    A picture that was read from a set keeps its file's bytes; a new one becomes a PNG. Raises EditError when `path` exists and not `force`.
    """
    from .tables import write_rows

    return write_rows((row_of(pair) for pair in pairs), path, force)


def row_of(pair: Pair) -> dict:
    """The pair with its pictures' bytes in place of the pictures: what `PairSet.raw` gives."""
    row = {name: getattr(pair, name) for name in Pair.__dataclass_fields__}
    return row | {name: None if row[name] is None else encoded(row[name]) for name in PICTURES}


def columns_of(columns: Sequence[str], name: str) -> dict[str, list[str]]:
    """Our column: the set's columns that hold it. Raises EditError when there are no pictures before or after, or no instructions."""
    lower = {column.lower(): column for column in reversed(columns)}
    found = {ours: [lower[alias] for alias in theirs if alias in lower] for ours, theirs in ALIASES.items()}
    for ours in found:
        if not ours.startswith("edit_prompt"):  # of phrasings all are taken
            del found[ours][1:]
    missing = [
        what
        for what, names in {
            "pictures before": ["original_image"],
            "pictures after": ["edited_image"],
            "instructions": ["edit_prompt", "edit_prompts"],
        }.items()
        if not any(found[ours] for ours in names)
    ]
    if missing:
        has = ", ".join(columns) or "none"
        raise EditError(
            f"{name} has no column of {' nor of '.join(missing)}: its columns are {has}; call them original_image, edit_prompt and edited_image."
        )
    return {ours: theirs for ours, theirs in found.items() if theirs}


def listed(value) -> list[str]:
    """One instruction or several, without empty ones."""
    values = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    return [text.strip() for text in values if isinstance(text, str) and text.strip()]


def scores_of(value) -> dict[str, float]:
    """Of a struct, or of JSON; what is no number is left out."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    items = value.items() if isinstance(value, Mapping) else ()
    return {name: float(score) for name, score in items if isinstance(score, (int, float))}


def picture_bytes(value, what: str) -> bytes | None:
    """Of Hugging Face's Image feature, {bytes, path}, or of plain bytes. Raises EditError for a file that is not there."""
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if data:
            return data
        try:
            return Path(path).read_bytes() if path else None
        except OSError as e:
            raise EditError(f"the {what} {path} can't be read: {(e.strerror or str(e)).lower()}") from e
    return value if isinstance(value, bytes) else None


def decoded(data: bytes, what: str) -> Image.Image:
    """Upright, in RGB; remembers its file's bytes for `encoded`."""
    image = read_image(io.BytesIO(data), what)
    image.encoded = data
    image.readonly = 1  # so that Pillow takes a copy, and this mark with it, when someone draws on it
    return image


def encoded(image: Image.Image) -> bytes:
    """The file's bytes a picture was read from and has not been changed since; else a PNG."""
    if getattr(image, "readonly", 0) and (data := getattr(image, "encoded", None)):
        return data
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def mask_of(data: bytes, size: tuple[int, int]) -> Image.Image:
    """L at `size`, white is edited. MagicBrush erases what is to be edited: there a mask is the picture, transparent where to edit, and
    not always of the picture's size (github.com/OSU-NLP-Group/MagicBrush, issue 10).
    """
    from ..images import opened

    image = opened(io.BytesIO(data), "mask")
    if "A" in image.getbands() or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        image = alpha.point(lambda level: 255 - level) if alpha.getextrema()[0] < 255 else image.convert("RGB")
    mask = image.convert("L")
    return mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)


def check_aspects(before: tuple[int, int], after: tuple[int, int]) -> None:
    """Raises EditError when two sizes are not of one picture."""
    (w0, h0), (w1, h1) = before, after
    if abs(math.log(w0 / h0 * h1 / w1)) > ASPECT:
        raise EditError(f"the picture before is {w0}x{h0} but the one after {w1}x{h1}, of another aspect")


def rows_of_split(rows: Iterator[tuple], split: str, name: str) -> range:
    """rows: a key for each row, equal for neighbours of one prompt. The original code's split: 90, 5 and 5 % of the prompts in order."""
    from array import array

    starts, count, last = array("q"), 0, None
    for key in rows:
        if count == 0 or key != last:
            starts.append(count)
            last = key
        count += 1
    which = SAME_SPLIT.get(split.lower(), split.lower())
    if which not in SPLITS:
        raise EditError(f"{name} names no splits, so that it has {', '.join(SPLITS)}, by order; “{split[:80]}” is none of them.")
    prompts = len(starts)
    starts.append(count)
    return range(*(starts[math.floor(share * prompts)] for share in SPLITS[which]))
