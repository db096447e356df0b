"""A pair set: a picture, what to change and the picture changed, row by row, whatever files it lies in."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

from ..errors import EditError
from ..images import read_as_it_is, read_image

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
NEEDED = {
    "pictures before": ["original_image"],
    "pictures after": ["edited_image"],
    "instructions": ["edit_prompt", "edit_prompts"],
}
BEFORE, AFTER = "picture before", "picture after"
LAYOUT = "layout"  # a column: what an original layout has that the others don't tell, in JSON, so that it can be written as it was
EXTRA, BROKEN = "_extra", "_broken"  # columns of our own indexes: extra columns in JSON, and why a row is broken
SPLITS = {"train": (0.0, 0.9), "val": (0.9, 0.95), "test": (0.95, 1.0)}
SAME_SPLIT = {"validation": "val", "valid": "val", "dev": "val", "eval": "val", "training": "train"}
ASPECT = 0.02  # what rounding to multiples of 8 makes of an aspect
# What options say of `open_pairs`' arguments.
SET_HELP = "a parquet file or a folder of them, the original layout, a CSV, or a name on the Hugging Face hub"
SPLIT_HELP = "one of its splits; all of it when left out"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


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
    extra: Mapping[str, str | int | float | list[str]] = field(default_factory=dict)

    @property
    def edit_prompt(self) -> str:
        return self.edit_prompts[0]


class PairSet:
    """Random access to pairs; a row's pictures are read and decoded when it is asked for. Can be sent to other processes.

    source: rows of raw columns, as in `tables.py`: `len()`, `columns`, `row(i, columns)`, `scan(columns)` and `place(i)`.
    fingerprint: changes when the content changes.
    """

    def __init__(self, name: str, source, fingerprint: str, rows: Sequence[int] | None = None):
        self.name, self.source, self.fingerprint = name, source, fingerprint
        self.rows = range(len(source)) if rows is None else rows
        self.found = columns_of(source.columns, name)
        named = {column for columns in self.found.values() for column in columns}
        self.extra = [column for column in source.columns if column not in named]
        texts = [column for ours, columns in self.found.items() if ours not in PICTURES for column in columns]
        self.text_columns = texts + self.extra
        self.all_columns = self.text_columns + [column for ours in PICTURES for column in self.found.get(ours, ())]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Pair:
        """Raises BrokenRow where there is no instruction or a picture can't be used."""
        row = self.raw(i)
        try:
            original = decoded(row["original_image"], BEFORE)
            edited = decoded(row["edited_image"], AFTER)
            check_aspects(original.size, edited.size)
            mask = row["mask"] and mask_of(row["mask"]).resize(original.size, Image.Resampling.NEAREST)
        except EditError as e:
            raise self.broken(i, e) from e
        return Pair(**row | {"original_image": original, "edited_image": edited, "mask": mask})

    def raw(self, i: int) -> dict:
        """The row as `Pair` has it, but its pictures are their files' bytes, not decoded. Raises BrokenRow where something is missing."""
        columns = self.source.row(self.rows[i], self.all_columns)
        row = self._texts(columns)
        try:
            if reason := columns.get(BROKEN):
                raise EditError(reason)
            if not row["edit_prompts"]:
                raise EditError("the instruction is empty")
            for ours, what in zip(PICTURES, (BEFORE, AFTER, "mask")):
                found = self.found.get(ours)
                row[ours] = picture_bytes(columns[found[0]], what) if found else None
                if row[ours] is None and ours != "mask":
                    raise EditError(f"the {what} is missing")
        except EditError as e:
            raise self.broken(i, e) from e
        return row

    def texts(self, i: int) -> dict:
        """The row without its pictures, which is cheap: edit_prompts, original_prompt, edited_prompt, seed, scores and the extra columns."""
        row = self._texts(self.source.row(self.rows[i], self.text_columns))
        return row.pop("extra") | row

    def select(self, rows: Iterable[int]) -> PairSet:
        """These rows of it, in this order."""
        return self._of([self.rows[i] for i in rows])

    def split(self, name: str) -> PairSet:
        """The rows whose column `split` has this name; in a set without that column, the original code's train, val and test: 90, 5 and
        5 % of the prompts in their order (edit_dataset.py). Raises EditError where there is no split of that name.
        """
        wanted = split_name(name)
        if "split" in self.extra:
            of_row = [split_name(str(columns["split"])) for columns in self.source.scan(["split"])]
            if wanted not in of_row:
                raise EditError(f"{self.name} has no split {name}: it has {', '.join(sorted(set(of_row)))}.")
            return self._of([row for row in self.rows if of_row[row] == wanted])
        if wanted not in SPLITS:
            raise EditError(f"{self.name} names no splits, so that it has {', '.join(SPLITS)}, by order, and no “{name[:80]}”.")
        starts, last = [], None
        for row, columns in enumerate(self.source.scan(self.text_columns)):
            texts = self._texts(columns)
            prompt = texts["original_prompt"], texts["edit_prompts"], texts["edited_prompt"]
            if prompt != last:
                starts.append(row)
                last = prompt
        ends = [*starts, len(self.source)]
        return self._of(range(*(ends[math.floor(share * len(starts))] for share in SPLITS[wanted])))

    def _of(self, rows: Sequence[int]) -> PairSet:
        digest = hashlib.sha256(f"{self.fingerprint} {rows}".encode())
        return PairSet(self.name, self.source, digest.hexdigest()[:32], rows)

    def broken(self, i: int, reason: object) -> BrokenRow:
        file, row = self.source.place(self.rows[i])
        reason = str(reason).rstrip(".")
        return BrokenRow(f"{file} row {row}: {reason[0].lower()}{reason[1:]}")

    def _texts(self, columns: Mapping) -> dict:
        def first(ours: str):
            return columns[self.found[ours][0]] if ours in self.found else None

        phrasings = [text for ours in ("edit_prompt", "edit_prompts") for c in self.found.get(ours, ()) for text in listed(columns[c])]
        extra = {c: columns[c] for c in self.extra if c not in (EXTRA, BROKEN) and is_plain(columns[c])}
        return {
            "edit_prompts": tuple(dict.fromkeys(phrasings)),
            "original_prompt": str(first("original_prompt") or ""),
            "edited_prompt": str(first("edited_prompt") or ""),
            "seed": seed_of(first("seed")),
            "scores": scores_of(first("scores")),
            "extra": extra | json.loads(columns.get(EXTRA) or "{}"),
        }


def is_plain(value: object) -> bool:
    """A word, a number or a list of words."""
    return isinstance(value, (str, int, float)) or (isinstance(value, list) and all(isinstance(word, str) for word in value))


def open_pairs(source: str | Path, split: str | None = None, in_order: bool = False) -> PairSet:
    """A pair set from a parquet file, a folder of them, the original folder layout, a CSV with before and after pictures or the
    folder it is in, or a data set's name on the Hugging Face hub. Every row is one pair, also of edits that follow one another.

    split: one that the set's files or its column `split` name, else by order (`PairSet.split`); None is all of it.
    in_order: rows will be asked for one after another, which spares a copy of parquet with large row groups (`tables.parquet_pairs`).
    Raises EditError when there is nothing of that name, or it has no pictures before, after or instructions.
    """
    from . import folders, tables

    path = Path(source)
    if path.name == folders.SEEDS:
        path = path.parent
    if path.is_file():
        readers = {".parquet": lambda: tables.parquet_pairs([path], path.name, in_order), ".csv": lambda: folders.csv_pairs(path)}
        if path.suffix.lower() not in readers:
            raise EditError(f"{path} is neither parquet nor CSV: give a pair set's file or folder.")
        pairs = readers[path.suffix.lower()]()
    elif path.is_dir():
        if folders.is_layout(path):
            pairs = folders.layout_pairs(path)
        elif files := sorted(path.rglob("*.parquet")):
            named, split = tables.files_of_split(path, files, split)
            pairs = tables.parquet_pairs(named, path.name, in_order)
        elif len(files := sorted(path.glob("*.csv"))) == 1:
            pairs = folders.csv_pairs(files[0])
        else:
            what = "several CSV files: name one" if files else f"no parquet files, no {folders.SEEDS} and no CSV"
            raise EditError(f"{path} holds {what}.")
    elif HUB_NAME.fullmatch(str(source)) and path.suffix.lower() not in (".parquet", ".csv", ".json"):
        return tables.hub_pairs(str(source), split)
    else:
        raise EditError(f"There is no pair set {source}.")
    return pairs.split(split) if split else pairs


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
    found = {ours: theirs if ours.startswith("edit_prompt") else theirs[:1] for ours, theirs in found.items() if theirs}  # all phrasings
    missing = [what for what, names in NEEDED.items() if not any(ours in found for ours in names)]
    if missing:
        raise EditError(
            f"{name} has no column of {' nor of '.join(missing)}: its columns are {', '.join(columns) or 'none'}; "
            "call them original_image, edited_image and edit_prompt."
        )
    return found


def listed(value) -> list[str]:
    """One instruction or several, without empty ones."""
    values = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    return [text for text in values if isinstance(text, str) and text.strip()]


def seed_of(value) -> int | None:
    try:
        return None if value is None else int(value)
    except ValueError:
        return None


def scores_of(value) -> dict[str, float]:
    """Of a struct, or of JSON; what is no number is left out."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return {name: score for name, score in value.items() if is_number(score)} if isinstance(value, Mapping) else {}


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def split_name(name: str) -> str:
    return SAME_SPLIT.get(name.strip().lower(), name.strip().lower())


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


def mask_of(data: bytes) -> Image.Image:
    """L at the file's size, white is edited. MagicBrush erases what is to be edited: there a mask is the picture, transparent where to
    edit, and not always of the picture's size (github.com/OSU-NLP-Group/MagicBrush, issue 10).
    """
    image = read_as_it_is(io.BytesIO(data), "mask")
    if has_alpha(image):
        return ImageOps.invert(image.convert("RGBA").getchannel("A"))
    return image.convert("L")


def has_alpha(image: Image.Image) -> bool:
    """Whether some of it is transparent."""
    can = "A" in image.getbands() or "transparency" in image.info
    return can and image.convert("RGBA").getchannel("A").getextrema()[0] < 255


def white_is_edited(data: bytes) -> bytes:
    """A mask's file as it is, or where it erases what is to be edited, one of ours. Raises EditError where it can't be read."""
    return encoded(mask_of(data)) if has_alpha(read_as_it_is(io.BytesIO(data), "mask")) else data


def check_aspects(before: tuple[int, int], after: tuple[int, int]) -> None:
    """Raises EditError when two sizes are not of one picture: their aspects differ by more than a pixel and more than ASPECT."""
    (w0, h0), (w1, h1) = before, after
    if abs(w0 * h1 - w1 * h0) > max(ASPECT * w0 * h1, *before, *after):
        raise EditError(f"the picture before is {w0}x{h0} but the one after {w1}x{h1}, of another aspect")
