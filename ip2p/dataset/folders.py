"""Pair sets in folders: the original layout of InstructPix2Pix, both ways, and before and after pictures with a CSV."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from ..errors import EditError
from ..files import why, written_whole
from ..progress import bar
from .pairs import BROKEN, EXTRA, LAYOUT, PICTURES, PairSet, columns_of, is_number, listed
from .tables import IMAGE, ArrowRows, RowOf, cache_folder

SEEDS, PROMPT, METADATA = "seeds.json", "prompt.json", "metadata.jsonl"
# Of a written layout, by which it is recognised as ours.
LAYOUT_FILES = (SEEDS, f"*/{PROMPT}", f"*/{METADATA}", "*/*_0.jpg", "*/*_1.jpg", "*/*_mask.png")
NAMES = {"original_image": "{}_0.jpg", "edited_image": "{}_1.jpg", "mask": "{}_mask.png"}
TEXTS = ("edit_prompt", "original_prompt", "edited_prompt", "scores", LAYOUT, EXTRA, BROKEN)
INDEX = dict.fromkeys(PICTURES, IMAGE) | dict.fromkeys(TEXTS, pa.string()) | {"edit_prompts": pa.list_(pa.string()), "seed": pa.int64()}
BATCH = 1000


def is_layout(folder: Path) -> bool:
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
        digest.update(f"{name} {seeds} {stats_in(folder / name)}\n".encode())
        shown.update()
    shown.close()
    return indexed(folder, digest.hexdigest()[:32], INDEX, layout_rows(folder))


def stats_in(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change of a folder's files."""
    try:
        with os.scandir(folder) as files:
            return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    except OSError:
        return []


def entries(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Folder and seeds of every prompt. Raises EditError for a seeds.json that is none."""
    file = folder / SEEDS
    if not file.exists():
        for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()):
            if seeds := [picture.name.partition("_")[0] for picture in sorted((folder / name).glob("*_0.jpg"))]:
                yield name, seeds
        return
    try:
        found = [(str(name), [str(seed) for seed in seeds]) for name, seeds in json.loads(file.read_text(encoding="utf8"))]
    except (OSError, ValueError, TypeError) as e:
        raise EditError(f"{file} can't be read: it is to be [[folder, [seed, …]], …].") from e
    for name, _ in found:
        check_name(name, file)
    yield from found


def check_name(name: str, file: Path | str) -> None:
    """Raises EditError for a name that is not of something beside `file`."""
    if not name or name.startswith(".") or re.search(r"[/\\\0:]", name):
        raise EditError(f"{file} names the folder {name[:80]!r}, which is none beside it.")


def layout_rows(folder: Path) -> Iterator[dict]:
    """The rows of the index."""
    places = Places()
    for name, seeds in entries(folder):
        broken = None
        try:
            prompt = (folder / name / PROMPT).read_text(encoding="utf8")
            texts = texts_of(prompt)
        except (OSError, ValueError) as e:
            prompt, texts, broken = None, {}, f"{name}/{PROMPT} can't be read: {why(e)}"
        lines = metadata_of(folder / name / METADATA)
        for number, seed in enumerate(seeds):
            paths = {picture: folder / name / pattern.format(seed) for picture, pattern in NAMES.items()}
            row = {picture: {"path": str(path)} for picture, path in paths.items() if picture != "mask" or path.exists()}
            if broken or not re.fullmatch(r"-?\d{1,18}", seed):
                yield row | {BROKEN: broken or f"{name}/{seed}_0.jpg is not named by a seed"}
                continue
            at, line = lines.get(int(seed), (number, ""))
            pair = texts | values_of(line, int(seed))
            # What it would be written as; only what is otherwise here is noted.
            made = {
                "folder": places.expected(pair),
                "prompt": prompt_text(pair),
                "metadata": metadata_text(pair, int(seed)),
                "line": number,
            }
            here = {"folder": name, "prompt": prompt, "metadata": line, "line": at}
            noted = {key: here[key] for key in here if here[key] != made[key]}
            places.take(pair, name)
            in_json = {"scores": pair["scores"], EXTRA: pair["extra"], LAYOUT: noted}
            row |= {column: pair[column] for column in ("original_prompt", "edited_prompt", "edit_prompts", "seed")}
            yield row | {column: json.dumps(value) for column, value in in_json.items() if value}


def texts_of(prompt: str) -> dict:
    """Of prompt.json. Raises ValueError."""
    found = json.loads(prompt)
    if not isinstance(found, dict):
        raise ValueError("it holds no names and values")
    texts = {"original_prompt": found.get("caption", found.get("input")), "edited_prompt": found.get("output")}
    texts = {name: text if isinstance(text, str) else "" for name, text in texts.items()}
    return texts | {"edit_prompts": tuple(dict.fromkeys(listed(found.get("edit")) + listed(found.get("edits"))))}


def prompt_text(pair: Mapping) -> str:
    found = {"caption": pair["original_prompt"], "edit": (*pair["edit_prompts"], "")[0], "output": pair["edited_prompt"]}
    return json.dumps(found | ({"edits": list(pair["edit_prompts"])} if len(pair["edit_prompts"]) > 1 else {}))


def metadata_of(file: Path) -> dict[int, tuple[int, str]]:
    """Seed: number of its line, and the line. Of a seed that was made again, the last."""
    found = {}
    try:
        for line in file.read_text(encoding="utf8").splitlines():
            values = parsed(line)
            if isinstance(values.get("seed"), int):
                found[values["seed"]] = len(found), line
    except (OSError, ValueError):
        pass  # a pair without scores is a pair
    return found


def parsed(line: str) -> dict:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def values_of(line: str, number: int) -> dict:
    """Seed, scores and extra columns of a line of metadata.jsonl."""
    values = parsed(line)
    extra = values.get("extra")
    return {
        "seed": None if values.get("numbered") is True else number,
        "scores": {name: value for name, value in values.items() if name != "seed" and is_number(value)},
        "extra": extra if isinstance(extra, dict) else {},
    }


def metadata_text(pair: Mapping, number: int) -> str:
    """A line of metadata.jsonl. numbered: the pair has no seed, its files only a number."""
    extra = {name: value for name, value in pair["extra"].items() if name != LAYOUT}
    values = {"seed": number} | ({"numbered": True} if pair["seed"] is None else {}) | dict(pair["scores"])
    return json.dumps(values | ({"extra": extra} if extra else {}))


class Places:
    """Where pairs go, one after another: those of one prompt into one folder, as long as their seeds differ."""

    def __init__(self):
        self.folder, self.prompt, self.numbers, self.count = None, None, set(), 0

    def expected(self, pair: Mapping) -> str:
        same = self._prompt(pair) == self.prompt and pair["seed"] not in self.numbers
        return self.folder if same else f"{self.count:07d}"

    def take(self, pair: Mapping, folder: str) -> int:
        """The number in the names of its files."""
        if folder != self.folder:
            self.folder, self.prompt, self.numbers = folder, self._prompt(pair), set()
            self.count += 1
        number = pair["seed"] if pair["seed"] is not None else next(n for n in itertools.count(len(self.numbers)) if n not in self.numbers)
        self.numbers.add(number)
        return number

    @staticmethod
    def _prompt(pair: Mapping) -> tuple:
        return pair["original_prompt"], tuple(pair["edit_prompts"]), pair["edited_prompt"]


def write_layout(rows: Iterable[Mapping], folder: Path, force: bool = False, sources: Sequence[Path] = ()) -> int:
    """rows: as `PairSet.raw` gives them. Writes the original layout, beside and renamed; returns the number of pairs.

    Pictures' bytes are carried over, also those that are no JPEG, under the name the original code asks for; it goes by the content.
    Extra columns, several phrasings and masks go where the original code does not look. Raises EditError when `folder` exists and not `force`.
    """
    count = 0
    with written_whole(folder, force, sources=sources, ours=LAYOUT_FILES) as beside:
        beside.mkdir()
        places, prompt = Places(), None
        with open(beside / SEEDS, "w", encoding="utf8") as seeds:
            for pair in rows:
                note = parsed(pair["extra"].get(LAYOUT) or "")
                name = note.get("folder", places.expected(pair))
                check_name(str(name), "The column layout")
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


class Prompt:
    """One folder of the layout while it is written."""

    def __init__(self, folder: Path, pair: Mapping, text: str | None):
        self.folder, self.seeds, self.lines = folder, [], []
        folder.mkdir()
        told = {name: pair[name] for name in ("original_prompt", "edited_prompt", "edit_prompts")}
        try:
            as_it_was = isinstance(text, str) and texts_of(text) == told
        except ValueError:
            as_it_was = False
        (folder / PROMPT).write_text(text if as_it_was else prompt_text(pair), encoding="utf8", newline="")

    def add(self, pair: Mapping, number: int, note: Mapping) -> None:
        for picture, pattern in NAMES.items():
            if pair.get(picture):
                (self.folder / pattern.format(number)).write_bytes(pair[picture])
        line = note.get("metadata")
        told = {"seed": pair["seed"], "scores": dict(pair["scores"])}
        as_it_was = isinstance(line, str) and "\n" not in line and told == {key: values_of(line, number)[key] for key in told}
        line = line if as_it_was else metadata_text(pair, number)
        self.lines.append((note["line"] if isinstance(note.get("line"), int) else len(self.lines), line))
        self.seeds.append(str(number))

    def finish(self, seeds) -> None:
        lines = [line for _, line in sorted(self.lines, key=lambda pair: pair[0]) if line]
        if lines:
            (self.folder / METADATA).write_text("".join(f"{line}\n" for line in lines), encoding="utf8", newline="")
        seeds.write(json.dumps([self.folder.name, self.seeds]))


def csv_pairs(file: Path) -> PairSet:
    """A CSV whose columns name the pictures before and after, beside it or below, and say the instruction; its other columns are kept."""
    file = file.absolute()
    digest = hashlib.sha256()
    pictures, columns = csv_columns(file)
    for row in csv_rows(file):
        files = [row[picture]["path"] for picture in pictures if row[picture]]
        digest.update(f"{row} {[stat_of(file) for file in files]}\n".encode())
    return indexed(file, digest.hexdigest()[:32], {name: IMAGE if name in pictures else pa.string() for name in columns}, csv_rows(file))


def stat_of(file: str) -> tuple[int, int] | None:
    try:
        about = os.stat(file)
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


def csv_columns(file: Path) -> tuple[list[str], list[str]]:
    """Which of its columns name pictures, and all of them. Raises EditError when it has none."""
    with csv_reader(file) as (_, columns):
        found = columns_of(columns, file.name)
    return [found[ours][0] for ours in PICTURES if ours in found], columns


def csv_rows(file: Path) -> Iterator[dict]:
    pictures, _ = csv_columns(file)
    with csv_reader(file) as (rows, columns):
        for values in rows:
            row = dict(itertools.zip_longest(columns, values[: len(columns)], fillvalue=""))
            yield row | {name: {"path": str(file.parent / row[name])} if row[name] else None for name in pictures}


@contextmanager
def csv_reader(file: Path) -> Iterator[tuple[Iterator[list[str]], list[str]]]:
    """Its rows and its columns' names; commas, semicolons or tabs are between them, by its first line. “_file_name” as in Hugging Face's
    folders of pictures is no part of a name. Raises EditError."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            first = text.readline()
            text.seek(0)
            rows = csv.reader(text, delimiter=max(",;\t", key=first.count))
            yield (row for row in rows if row), [re.sub("(_file_name|_path)$", "", name.strip()) for name in next(rows, [])]
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise EditError(f"{file} can't be read: {why(e)}.") from e


def indexed(place: Path, fingerprint: str, columns: Mapping[str, pa.DataType], rows: Iterable[dict]) -> PairSet:
    """The rows as an Arrow file in the cache of `datasets`, written at the first time, so that memory does not grow with the set."""
    from datasets import Dataset

    key = hashlib.sha256(f"{place} {fingerprint}".encode()).hexdigest()[:32]
    file = cache_folder() / "ip2p" / f"{key}.arrow"
    if not file.exists():
        schema = pa.schema(columns)
        with written_whole(file, force=True) as beside, pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            shown = bar(0, "row")
            while batch := list(itertools.islice(rows, BATCH)):
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                shown.update(len(batch))
            shown.close()
    return PairSet(place.name, ArrowRows(Dataset.from_file(str(file)), RowOf(str(place))), fingerprint)
