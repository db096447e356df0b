"""A pair set: a picture, what to change and the picture changed, row by row, whatever files it lies in. `open.py` opens one."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from ..errors import EditError
from ..images import read_as_it_is, read_image, read_mask
from .both_ways import BothWays, inverse_column
from .checked_files import parse_object, read_inside

PICTURES = ("original_image", "edited_image", "mask")
# Ours first, then what published sets call it: InstructPix2Pix, MagicBrush, OmniEdit, SuperEdit, the 1000 samples, AnyEdit, HumanEdit,
# Pico-Banana; then plain words. AnyEdit and HQ-Edit call their captions input and output, as others call their pictures.
ALIASES = {
    "original_image": (
        "original_image", "input_image", "source_img", "src_img", "source_image", "image_file", "input_img", "local_input_image",
        "before", "original", "input", "source",
    ),
    "edited_image": (
        "edited_image", "target_img", "edited_img", "target_image", "output_image", "edited_file", "output_img",
        "after", "edited", "output", "target",
    ),
    "mask": ("mask_img", "mask_image", "mask"),
    "edit_prompt": ("edit_prompt", "instruction", "edit", "edit_instruction", "editing_instruction", "prompt"),
    "edit_prompts": ("edit_prompts", "edited_prompt_list", "instructions", "instruction_list", "augmented_instructions"),
    "original_prompt": (
        "original_prompt", "input_prompt", "source_prompt", "original_caption", "source_caption", "input_caption_by_llama", "caption", "input",
    ),
    "edited_prompt": (
        "edited_prompt", "output_prompt", "target_prompt", "edited_caption", "target_caption", "output_caption_by_llama", "output",
    ),
    "seed": ("seed",),
    "scores": ("scores",),
}  # fmt: skip
PLAIN_INSTRUCTIONS = ("text", "summarized_text")  # taken where no other column holds instructions: Pico-Banana's
# Numbers that sets have in columns of their own: UltraEdit's, OmniEdit's, and of the original code's metadata.
SCORE = re.compile(r"clip_sim_\w+|dinov2_sim|ssim|sc_score_\d|pq_score|o_score")
NEEDED = {
    "pictures before": ["original_image"],
    "pictures after": ["edited_image"],
    "instructions": ["edit_prompt", "edit_prompts"],
}
BEFORE, AFTER = "picture before", "picture after"
LAYOUT = "layout"  # a column: what an original layout has that the others don't tell, in JSON, so that it can be written as it was
EXTRA, BROKEN = "_extra", "_broken"  # columns of our own indexes: extra columns in JSON, and why a row is broken
SPLITS = {"train": (0.0, 0.9), "val": (0.9, 0.95), "test": (0.95, 1.0)}
NOT_EXTRA = {EXTRA, BROKEN, *ALIASES, *ALIASES["edit_prompt"], *ALIASES["edit_prompts"]}  # names that would be taken for something else
SAME_SPLIT = {"validation": "val", "valid": "val", "dev": "val", "eval": "val", "training": "train"}
ASPECT = 0.02  # what rounding to multiples of 8 makes of an aspect
NO_TEXT = re.compile("[\0\ud800-\udfff]")  # NUL and halves of surrogate pairs, which JSON can hold and a file's text can't
UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")


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


class Source(Protocol):
    """Rows of raw columns, as they lie in files. roots: the folders that a row's `path` of a picture may lead into, the set's own first."""

    columns: Sequence[str]
    roots: Sequence[str | Path]

    def __len__(self) -> int: ...

    def row(self, i: int, columns: Sequence[str]) -> dict[str, Any]:
        """Row i. A value that can't be read is None, and the column BROKEN says why."""
        ...

    def scan(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows in their order."""
        ...

    def place(self, i: int) -> tuple[str, int]:
        """The file or the set that row i is in, and its number there."""
        ...


class PairSet:
    """Random access to pairs; a row's pictures are read and decoded when it is asked for. Can be sent to other processes.

    fingerprint: changes when the content changes. rows: of the source, in which order; all of them when left out.
    Raises EditError when the source has no pictures before or after, or no instructions.
    """

    def __init__(self, name: str, source: Source, fingerprint: str, rows: Sequence[int] | None = None):
        self.theirs = columns_of(source.columns, name)  # our column: the set's columns that hold it
        if inverse := inverse_column(source.columns):
            source, fingerprint = BothWays(source, inverse, self.theirs), f"{fingerprint} both ways"
        self.name, self.source, self.fingerprint = name, source, fingerprint
        self.rows: Sequence[int] = range(len(source)) if rows is None else rows
        named = {column for columns in self.theirs.values() for column in columns}
        self.extra = [column for column in source.columns if column not in named]
        texts = [column for ours, columns in self.theirs.items() if ours not in PICTURES for column in columns]
        self.text_columns = texts + self.extra
        self.all_columns = self.text_columns + [column for ours in PICTURES for column in self.theirs.get(ours, ())]

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

    def raw(self, i: int) -> dict[str, Any]:
        """The row as `Pair` has it, but its pictures are their files' bytes, not decoded. Raises BrokenRow where something is missing."""
        columns = self.source.row(self.rows[i], self.all_columns)
        row = self._texts(columns)
        try:
            if reason := columns.get(BROKEN):
                raise EditError(str(reason))
            if not row["edit_prompts"]:
                raise EditError("the instruction is empty")
            check_values(row)
            for ours, what in zip(PICTURES, (BEFORE, AFTER, "mask")):
                theirs = self.theirs.get(ours)
                row[ours] = picture_bytes(columns[theirs[0]], what, self.source.roots) if theirs else None
                if row[ours] is None and ours != "mask":
                    raise EditError(f"the {what} is missing")
        except EditError as e:
            raise self.broken(i, e) from e
        return row

    def texts(self, i: int) -> dict[str, Any]:
        """The row without its pictures, which is quick: edit_prompts, original_prompt, edited_prompt, seed, scores and the extra columns."""
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
            splits = [split_name(str(columns["split"])) for columns in self.source.scan(["split"])]
            if wanted not in splits:
                raise EditError(f"{self.name} has no split {name}: it has {', '.join(sorted(set(splits)))[:300]}.")
            return self._of([row for row in self.rows if splits[row] == wanted])
        if wanted not in SPLITS:
            raise EditError(f"{self.name} names no splits, so that it has {', '.join(SPLITS)}, by order, and no “{name[:80]}”.")
        starts: list[int] = []
        last = None
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
        sentence = str(reason).rstrip(".")[:500]
        return BrokenRow(UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", f"{file} row {row}: {sentence[:1].lower()}{sentence[1:]}"))

    def _texts(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        def first(ours: str) -> Any:
            return columns[self.theirs[ours][0]] if ours in self.theirs else None

        def text(ours: str) -> str:
            value = first(ours)
            return "" if value is None or isinstance(value, (Mapping, bytes, list)) else str(value)

        phrasings = [said for ours in ("edit_prompt", "edit_prompts") for c in self.theirs.get(ours, ()) for said in listed(columns[c])]
        more = {c: columns[c] for c in self.extra} | parse_object(columns.get(EXTRA))
        extra = {name: value for name, value in more.items() if name.lower() not in NOT_EXTRA}
        scores = {name: extra.pop(name) for name, value in more.items() if SCORE.fullmatch(name) and is_number(value)}
        return {
            "edit_prompts": tuple(dict.fromkeys(phrasings)),
            "original_prompt": text("original_prompt"),
            "edited_prompt": text("edited_prompt"),
            "seed": seed_of(first("seed")),
            "scores": scores | scores_of(first("scores")),
            "extra": {name: value for name, value in extra.items() if is_plain(value)},
        }


def check_values(row: Mapping[str, Any]) -> None:
    """Raises EditError for a text or a number that not every format can hold."""

    def check(value: object, what: str) -> None:
        if isinstance(value, str) and NO_TEXT.search(value):
            raise EditError(f"the {what} holds NUL or half a surrogate pair")
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
            raise EditError(f"the {what} is a number of more than 64 bits")
        for part in value if isinstance(value, (list, tuple)) else ():
            check(part, what)

    check(row["edit_prompts"], "instruction")
    check((row["original_prompt"], row["edited_prompt"]), "caption")
    for name, value in (*row["scores"].items(), *row["extra"].items()):
        check(name, "name of a column")
        check(value, f"column {name[:80]}")


def is_plain(value: object) -> bool:
    """A text, a number or a list of texts."""
    return isinstance(value, (str, int, float)) or (isinstance(value, list) and all(isinstance(word, str) for word in value))


def row_of(pair: Pair) -> dict:
    """The pair with its pictures' bytes in place of the pictures: what `PairSet.raw` gives."""
    row = {name: getattr(pair, name) for name in Pair.__dataclass_fields__}
    return row | {name: None if row[name] is None else encoded(row[name]) for name in PICTURES}


def columns_of(columns: Sequence[str], name: str) -> dict[str, list[str]]:
    """Our column: the set's columns that hold it. Raises EditError when there are no pictures before or after, or no instructions."""
    lower = {column.lower(): column for column in reversed(columns)}
    theirs: dict[str, list[str]] = {}
    for ours, aliases in ALIASES.items():
        taken = {column for columns in theirs.values() for column in columns}
        found = [lower[alias] for alias in aliases if alias in lower and lower[alias] not in taken]
        if found:
            theirs[ours] = found if ours.startswith("edit_prompt") else found[:1]
    plain = [lower[name] for name in PLAIN_INSTRUCTIONS if name in lower]
    if plain and not theirs.keys() & {"edit_prompt", "edit_prompts"}:
        theirs["edit_prompt"] = plain
    missing = [what for what, names in NEEDED.items() if not any(ours in theirs for ours in names)]
    if missing:
        raise EditError(
            f"{name} has no column of {' nor of '.join(missing)}: its columns are {', '.join(columns)[:500] or 'none'}; "
            "call them original_image, edited_image and edit_prompt."
        )
    return theirs


def listed(value: object) -> list[str]:
    """One instruction or several, without empty ones."""
    values = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    return [text for text in values if isinstance(text, str) and text.strip()]


def seed_of(value: Any) -> int | None:
    """A whole number of 64 bits; None for anything else."""
    try:
        seed = None if value is None else int(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return seed if seed is not None and -(1 << 63) <= seed < 1 << 63 else None


def scores_of(value: object) -> dict[str, float]:
    """Of a struct, or of JSON; what is not a number is left out."""
    if isinstance(value, str):
        value = parse_object(value)
    return {str(name): score for name, score in value.items() if is_number(score)} if isinstance(value, Mapping) else {}


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def split_name(name: str) -> str:
    return SAME_SPLIT.get(name.strip().lower(), name.strip().lower())


def picture_bytes(value: object, what: str, roots: Sequence[str | Path]) -> bytes | None:
    """Of Hugging Face's Image feature, {bytes, path}, or of plain bytes. Raises EditError for a path that is not of a file below `roots`."""
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if isinstance(data, bytes) and data:
            return data
        if not (isinstance(path, str) and path):
            return None
        try:
            return read_inside(path, roots)
        except EditError as e:
            raise EditError(f"the {what} {path[:200]} {e}") from e
    return value if isinstance(value, bytes) else None


def decoded(data: bytes, what: str) -> Image.Image:
    """Upright, in RGB; remembers its file's bytes for `encoded`."""
    image = read_image(io.BytesIO(data), what)
    image.encoded = data  # type: ignore[attr-defined]
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
    """L at the file's size, white is edited, by the rule of `images.read_mask`. MagicBrush erases what is to be edited: there a mask is the
    picture, transparent where to edit, and not always of the picture's size (github.com/OSU-NLP-Group/MagicBrush, issue 10).
    """
    return read_mask(io.BytesIO(data))


def white_is_edited(data: bytes) -> bytes:
    """A mask's file as it is if its grey levels are the mask, else one of ours. Raises EditError where it can't be read."""
    mask, picture = mask_of(data), read_as_it_is(io.BytesIO(data), "mask")
    plain = picture.mode in ("1", "L", "RGB") and "transparency" not in picture.info
    return data if plain and picture.convert("L").tobytes() == mask.tobytes() else encoded(mask)


def check_aspects(before: tuple[int, int], after: tuple[int, int]) -> None:
    """Raises EditError when two sizes are not of one picture: their aspects differ by more than a pixel and more than ASPECT."""
    (w0, h0), (w1, h1) = before, after
    if abs(w0 * h1 - w1 * h0) > max(ASPECT * w0 * h1, *before, *after):
        raise EditError(f"the picture before is {w0}x{h0} but the one after {w1}x{h1}, of another aspect")
