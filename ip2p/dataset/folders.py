"""The original layout of InstructPix2Pix, both ways: a folder for every prompt, pictures named by their seeds."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from ..errors import EditError
from ..files import why, written_whole
from ..progress import bar
from .checked_files import parse_json, parse_object, read_text
from .pairs import BROKEN, EXTRA, LAYOUT, NO_TEXT, PICTURES, PairSet, is_number, is_plain, listed
from .tables import IMAGE, indexed

SEEDS, PROMPT, METADATA = "seeds.json", "prompt.json", "metadata.jsonl"
# Of a written layout, by which it is recognised as ours.
LAYOUT_FILES = (SEEDS, f"*/{PROMPT}", f"*/{METADATA}", "*/*_0.jpg", "*/*_1.jpg", "*/*_mask.png")
NAMES = {"original_image": "{}_0.jpg", "edited_image": "{}_1.jpg", "mask": "{}_mask.png"}
TEXTS = ("edit_prompt", "original_prompt", "edited_prompt", "scores", LAYOUT, EXTRA, BROKEN)
INDEX = {
    **dict.fromkeys(PICTURES, IMAGE),
    **dict.fromkeys(TEXTS, pa.string()),
    "edit_prompts": pa.list_(pa.string()),
    "seed": pa.int64(),
}


def is_layout(folder: Path) -> bool:
    """Whether a folder has a seeds.json, or a prompt.json in one of its folders."""
    return (folder / SEEDS).is_file() or next(folder.glob(f"*/{PROMPT}"), None) is not None


def layout_pairs(folder: Path) -> PairSet:
    """The original code's layout (generate_img_dataset.py, prepare_dataset.py): {i:07d}/prompt.json, {seed}_0.jpg, {seed}_1.jpg and
    metadata.jsonl. The root's seeds.json says what there is, in which order; where there is none, the folders' names do.

    The pictures stay where they are; an index of texts and paths is kept in the cache of `datasets`. Raises EditError for a wrong
    seeds.json.
    """
    folder = folder.absolute()
    digest = hashlib.sha256()
    shown = bar(0, "folder")
    for name, seeds in entries(folder):
        digest.update(f"{name} {seeds} {stats_in(folder / name)}\n".encode(errors="backslashreplace"))
        shown.update()
    shown.close()
    return indexed(folder, digest.hexdigest()[:32], INDEX, layout_rows(folder), folder)


def stats_in(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change of a folder's files."""
    try:
        with os.scandir(folder) as files:
            return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    except (OSError, ValueError):  # a name with NUL in it is a ValueError
        return []


def entries(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Folder and seeds of every prompt. Raises EditError for a wrong seeds.json."""
    file = folder / SEEDS
    if not os.path.lexists(file):
        for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
            if seeds := [picture.name.partition("_")[0] for picture in sorted((folder / name).glob("*_0.jpg"))]:
                yield name, seeds
        return
    try:
        listing = [(str(name), [str(seed) for seed in seeds]) for name, seeds in parse_json(read_text(file))]
    except (EditError, ValueError, TypeError) as e:
        raise EditError(f"{file} can't be read: it has to be [[folder, [seed, …]], …].") from e
    for name, _ in listing:
        check_name(name, file)
    yield from listing


def check_name(name: str, file: Path | str) -> None:
    """Raises EditError for a name that is not of something beside `file`."""
    if not name or name.startswith(".") or re.search(r"[/\\\0:]", name) or NO_TEXT.search(name):
        raise EditError(f"{file} names the folder {name[:80]!r}, which is none beside it.")


def layout_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of the index."""
    places = Places()
    for name, seeds in entries(folder):
        broken = None
        prompt: str | None = None
        texts: dict[str, Any] = {}
        try:
            prompt = read_text(folder / name / PROMPT)
            texts = texts_of(prompt)
        except EditError as e:
            broken = f"{name}/{PROMPT} {e}"
        except ValueError as e:
            broken = f"{name}/{PROMPT} can't be read: {why(e)}"
        lines = metadata_of(folder / name / METADATA)
        for number, seed in enumerate(seeds):
            if broken or not re.fullmatch(r"-?[0-9]{1,18}", seed):
                yield {BROKEN: broken or f"{name}/{seed[:80]}_0.jpg is not named by a seed"}
                continue
            paths = {picture: folder / name / pattern.format(seed) for picture, pattern in NAMES.items()}
            row: dict[str, Any] = {picture: {"path": str(path)} for picture, path in paths.items() if picture != "mask" or path.exists()}
            at, line = lines.get(int(seed), (number, ""))
            pair = texts | values_of(line, int(seed))
            # Only what would be written in another way than it is here is noted.
            written = {
                "folder": places.expected(pair),
                "prompt": prompt_text(pair),
                "metadata": metadata_text(pair, int(seed)),
                "line": number,
            }
            here = {"folder": name, "prompt": prompt, "metadata": line, "line": at}
            noted = {key: here[key] for key in here if here[key] != written[key]}
            places.take(pair, name)
            in_json = {"scores": pair["scores"], EXTRA: pair["extra"], LAYOUT: noted}
            row |= {column: pair[column] for column in ("original_prompt", "edited_prompt", "edit_prompts", "seed")}
            yield row | {column: json.dumps(value) for column, value in in_json.items() if value}


def texts_of(prompt: str) -> dict[str, Any]:
    """Of prompt.json. Raises ValueError."""
    values = parse_json(prompt)
    if not isinstance(values, dict):
        raise ValueError("it holds no names and values")
    captions = {"original_prompt": values.get("caption", values.get("input")), "edited_prompt": values.get("output")}
    texts: dict[str, Any] = {name: text if isinstance(text, str) else "" for name, text in captions.items()}
    texts["edit_prompts"] = tuple(dict.fromkeys(listed(values.get("edit")) + listed(values.get("edits"))))
    if any(NO_TEXT.search(text) for text in (*captions.values(), *texts["edit_prompts"]) if isinstance(text, str)):
        raise ValueError("it holds NUL or half a surrogate pair")
    return texts


def prompt_text(pair: Mapping[str, Any]) -> str:
    """What prompt.json holds."""
    values = {"caption": pair["original_prompt"], "edit": (*pair["edit_prompts"], "")[0], "output": pair["edited_prompt"]}
    return json.dumps(values | ({"edits": list(pair["edit_prompts"])} if len(pair["edit_prompts"]) > 1 else {}))


def metadata_of(file: Path) -> dict[int, tuple[int, str]]:
    """Seed: number of its line, and the line. Of a seed that was made again, the last."""
    lines: dict[int, tuple[int, str]] = {}
    if not file.exists():
        return lines
    try:
        for line in read_text(file).splitlines():
            seed = parse_object(line).get("seed")
            if isinstance(seed, int) and not isinstance(seed, bool):
                lines[seed] = len(lines), line
    except EditError:
        pass  # a pair without scores is a pair
    return lines


def values_of(line: str, number: int) -> dict[str, Any]:
    """Seed, scores and extra columns of a line of metadata.jsonl."""
    values = parse_object(line)
    extra = values.get("extra")
    return {
        "seed": None if values.get("numbered") is True else number,
        "scores": {name: value for name, value in values.items() if name != "seed" and is_number(value)},
        "extra": {name: value for name, value in extra.items() if is_plain(value)} if isinstance(extra, dict) else {},
    }


def metadata_text(pair: Mapping[str, Any], number: int) -> str:
    """A line of metadata.jsonl. numbered: the pair has no seed, its files only a number."""
    extra = {name: value for name, value in pair["extra"].items() if name != LAYOUT}
    values = {"seed": number} | ({"numbered": True} if pair["seed"] is None else {}) | dict(pair["scores"])
    return json.dumps(values | ({"extra": extra} if extra else {}))


class Places:
    """Where pairs go, one after another: those of one prompt into one folder, as long as their seeds differ."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.prompt: tuple[str, tuple[str, ...], str] | None = None
        self.numbers: set[int] = set()
        self.count = 0

    def expected(self, pair: Mapping[str, Any]) -> str:
        """The name of the folder that the pair goes into."""
        same = self._prompt(pair) == self.prompt and pair["seed"] not in self.numbers
        return self.folder if same and self.folder is not None else f"{self.count:07d}"

    def take(self, pair: Mapping[str, Any], folder: str) -> int:
        """Puts the pair there. Returns the number in the names of its files."""
        if folder != self.folder:
            self.folder, self.prompt, self.numbers = folder, self._prompt(pair), set()
            self.count += 1
        number = pair["seed"] if pair["seed"] is not None else next(n for n in itertools.count(len(self.numbers)) if n not in self.numbers)
        self.numbers.add(number)
        return number

    @staticmethod
    def _prompt(pair: Mapping[str, Any]) -> tuple[str, tuple[str, ...], str]:
        return pair["original_prompt"], tuple(pair["edit_prompts"]), pair["edited_prompt"]


def write_layout(rows: Iterable[Mapping[str, Any]], folder: Path, force: bool = False, sources: Sequence[Path] = ()) -> int:
    """rows: as `PairSet.raw` gives them. Writes the original layout, beside and renamed; returns the number of pairs.

    Pictures' bytes are carried over, also those that are no JPEG, under the name the original code asks for; it goes by the content.
    Extra columns, several phrasings and masks go where the original code does not look. Raises EditError when `folder` exists and not `force`.
    """
    count = 0
    with written_whole(folder, force, sources=sources, ours=LAYOUT_FILES) as beside:
        beside.mkdir()
        places = Places()
        prompt: Prompt | None = None
        with open(beside / SEEDS, "w", encoding="utf8") as seeds:
            for pair in rows:
                note = note_of(pair)
                name = note.get("folder", places.expected(pair))
                check_name(name, "The column layout")
                if prompt is None or name != places.folder or pair["seed"] in places.numbers:
                    if prompt:
                        prompt.finish(seeds)
                    while (beside / name).exists():
                        places.count += 1
                        name = f"{places.count:07d}"
                    seeds.write("[" if prompt is None else ", ")
                    prompt = Prompt(beside / name, pair, note.get("prompt"))
                prompt.add(pair, places.take(pair, name), note)
                count += 1
            if not prompt:
                raise EditError(f"There are no pairs to write to {folder}.")
            prompt.finish(seeds)
            seeds.write("]")
    return count


def note_of(pair: Mapping[str, Any]) -> dict[str, Any]:
    """What the column layout says of the layout that the pair was in: folder, prompt, metadata and line, those that are what they should be."""
    types = {"folder": str, "prompt": str, "metadata": str, "line": int}
    note = parse_object(pair["extra"].get(LAYOUT))
    return {name: note[name] for name, kind in types.items() if type(note.get(name)) is kind}


class Prompt:
    """One folder of the layout while it is written."""

    def __init__(self, folder: Path, pair: Mapping[str, Any], noted: str | None):
        """noted: the text of prompt.json as it was; it is taken over where it still holds."""
        self.folder = folder
        self.seeds: list[str] = []
        self.lines: list[tuple[int, str]] = []
        folder.mkdir()
        texts = {name: pair[name] for name in ("original_prompt", "edited_prompt", "edit_prompts")}
        try:
            holds = noted is not None and not NO_TEXT.search(noted) and texts_of(noted) == texts
        except ValueError:
            holds = False
        (folder / PROMPT).write_text(noted if holds and noted else prompt_text(pair), encoding="utf8", newline="")

    def add(self, pair: Mapping[str, Any], number: int, note: Mapping[str, Any]) -> None:
        for picture, pattern in NAMES.items():
            if pair.get(picture):
                (self.folder / pattern.format(number)).write_bytes(pair[picture])
        line = note.get("metadata")
        values = {"seed": pair["seed"], "scores": dict(pair["scores"])}
        holds = (
            line is not None
            and not re.search(f"\n|{NO_TEXT.pattern}", line)
            and values == {key: values_of(line, number)[key] for key in values}
        )
        self.lines.append((note.get("line", len(self.lines)), line if holds and line is not None else metadata_text(pair, number)))
        self.seeds.append(str(number))

    def finish(self, seeds: IO[str]) -> None:
        """Writes metadata.jsonl, and the folder's entry into seeds.json."""
        lines = [line for _, line in sorted(self.lines, key=lambda pair: pair[0]) if line]
        if lines:
            (self.folder / METADATA).write_text("".join(f"{line}\n" for line in lines), encoding="utf8", newline="")
        seeds.write(json.dumps([self.folder.name, self.seeds]))
