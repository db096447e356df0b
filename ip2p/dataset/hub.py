"""Data sets as Hugging Face's `datasets` has them: by a name on the hub, or as `save_to_disk` leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EditError
from .checked_files import parse_object, read_text
from .pairs import PairSet, split_name
from .tables import ArrowRows, RowOf, cache_folder, failures, stamp

if TYPE_CHECKING:
    from datasets import Dataset

STATE, SPLITS = "state.json", "dataset_dict.json"  # what save_to_disk leaves: of a data set, of several splits


def hub_pairs(name: str, split: str | None) -> PairSet:
    """A data set's name on the hub, or a folder as the hub has them; its code is not run. Raises EditError where it can't be had."""
    from datasets import config, load_dataset_builder

    with failures(name, f"There is no file or folder {name}, and the data set of that name can't be had from the Hugging Face hub"):
        builder = load_dataset_builder(name)
        builder.download_and_prepare()
        parts = {part: builder.as_dataset(split=part) for part in builder.info.splits}
    return pairs_of_parts(name, parts, split, [*([name] if Path(name).is_dir() else ()), cache_folder(), config.HF_CACHE_HOME])


def is_saved(folder: Path) -> bool:
    return (folder / STATE).is_file() or (folder / SPLITS).is_file()


def saved_pairs(folder: Path, split: str | None) -> PairSet:
    """A folder that `datasets` saved with save_to_disk, with or without splits. Raises EditError where it can't be read."""
    from datasets import load_from_disk

    for state in sorted(folder.glob(STATE)) + sorted(folder.glob(f"*/{STATE}")):
        check_state(state, folder)
    with failures(str(folder)):
        try:
            saved = load_from_disk(str(folder))
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as e:  # what a wrong state.json makes of it
            raise EditError(f"{folder} can't be read: it is not as save_to_disk leaves a data set.") from e
    parts = {"train": saved} if hasattr(saved, "column_names") and isinstance(saved.column_names, list) else dict(saved)
    pairs = pairs_of_parts(folder.name, parts, split, [folder])
    pairs.fingerprint = stamp(sorted(path for path in folder.rglob("*") if path.suffix in (".arrow", ".json") and path.is_file()))
    return pairs


def check_state(state: Path, folder: Path) -> None:
    """Raises EditError where it names a file elsewhere."""
    try:
        files = parse_object(read_text(state)).get("_data_files")
    except EditError as e:
        raise EditError(f"{state} {e}.") from e
    names = [entry.get("filename") for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []
    for name in names:
        if not isinstance(name, str) or "\0" in name or not (state.parent / name).resolve().is_relative_to(folder.resolve()):
            raise EditError(f"{state} names the file {str(name)[:80]!r}, which is outside {folder}.")


def pairs_of_parts(name: str, parts: Mapping[str, Dataset], split: str | None, roots: Sequence[str | Path]) -> PairSet:
    """parts: data sets by the name of their split. Raises EditError where there is no split of that name."""
    from datasets import concatenate_datasets

    named = {split_name(part): part for part in parts}
    by_order = None
    if split and split_name(split) in named:
        parts = {split: parts[named[split_name(split)]]}
    elif split and set(named) != {"train"}:
        raise EditError(f"{name} has no split {split}: it has {', '.join(parts)}.")
    else:
        by_order = split
    with failures(name):
        dataset = concatenate_datasets(list(parts.values()))
    pairs = PairSet(name, ArrowRows(dataset, RowOf(name), roots), dataset._fingerprint)
    return pairs.split(by_order) if by_order else pairs
