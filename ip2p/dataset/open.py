"""Opening a pair set, whatever it lies in."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import EditError
from .folders import SEEDS, is_layout, layout_pairs
from .hub import hub_pairs, is_saved, saved_pairs
from .listings import csv_pairs, jsonl_pairs
from .pairs import PairSet
from .tables import files_of_split, parquet_pairs

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
SUFFIXES = (".parquet", ".csv", ".jsonl")
SCORES = ".scores"  # what the name of a folder of scores beside a set ends in


def open_pairs(source: str | Path, split: str | None = None, in_order: bool = False) -> PairSet:
    """A pair set from a parquet file, a folder of them, the original folder layout, a CSV or JSON that names pictures before and
    after, the folder one of them is in, a folder of `save_to_disk`, or a data set's name on the Hugging Face hub. Every row is one pair,
    also of edits that follow one another.

    split: one that the set's files or its column `split` name, else by order (`PairSet.split`); None is all of it.
    in_order: rows will be asked for one after another, which spares a copy of parquet with large row groups (`tables.parquet_pairs`).
    Raises EditError when there is nothing of that name, or it has no pictures before, after or instructions.
    """
    path = Path(source)
    if path.name == SEEDS:
        path = path.parent
    if path.is_file():
        pairs = file_pairs(path, in_order)
    elif path.is_dir() and is_saved(path):
        return saved_pairs(path, split)
    elif path.is_dir():
        pairs, split = folder_pairs(path, split, in_order)
    elif HUB_NAME.fullmatch(str(source)) and path.suffix.lower() not in (*SUFFIXES, ".json"):
        return hub_pairs(str(source), split)
    else:
        raise EditError(f"There is no pair set {source}.")
    return pairs.split(split) if split else pairs


def is_scores(file: Path) -> bool:
    return any(parent.name.endswith(SCORES) for parent in file.parents)


def file_pairs(path: Path, in_order: bool) -> PairSet:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return parquet_pairs([path], path.name, in_order)
    if suffix == ".csv":
        return csv_pairs(path)
    if suffix in (".jsonl", ".json"):
        return jsonl_pairs(path)
    raise EditError(f"{path} is neither parquet nor CSV nor JSON: give a pair set's file or folder.")


def folder_pairs(folder: Path, split: str | None, in_order: bool) -> tuple[PairSet, str | None]:
    """And the split that is still to be made of it."""
    if is_layout(folder):
        return layout_pairs(folder), split
    if files := sorted(file for file in folder.rglob("*.parquet") if file.is_file() and not is_scores(file.relative_to(folder))):
        files, split = files_of_split(folder, files, split)
        return parquet_pairs(files, folder.name, in_order, folder), split
    lists = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".csv", ".jsonl") and file.is_file())
    if len(lists) == 1:
        return file_pairs(lists[0], in_order), split
    what = "several CSV or JSON lines files: name one" if lists else f"no parquet files, no {SEEDS}, no CSV and no JSON lines"
    raise EditError(f"{folder} holds {what}.")
