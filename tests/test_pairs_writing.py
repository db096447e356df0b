"""Pair sets that are written open in datasets, nothing half is left, and memory does not grow with the set."""

import random
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("datasets", reason="tests of pair sets need datasets (pip install -e '.[train]')")
import datasets
import pyarrow as pa

from ip2p.dataset import parquet_writer
from ip2p.dataset.conversion import whole_rows
from ip2p.dataset.folders import write_layout
from ip2p.dataset.open import open_pairs
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.errors import EditError
from pair_sets import a_pair, jpeg, published, rich_pairs, write_set

pytestmark = pytest.mark.usefixtures("own_cache")


def test_what_is_written_opens_in_datasets(tmp_path):
    write_pairs(rich_pairs(), tmp_path / "set.parquet")
    found = datasets.Dataset.from_parquet(str(tmp_path / "set.parquet"))
    assert list(found.features)[:5] == ["original_image", "edit_prompt", "edited_image", "original_prompt", "edited_prompt"]
    assert found[5]["original_image"].size == (48, 32) and found[5]["mask"].mode == "L" and found[5]["scores"]["clip_sim_dir"] == 5 / 3


def test_columns_that_come_late_are_in_all_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_writer, "GROUP_ROWS", 2)
    pairs = [
        a_pair(0),
        a_pair(1),
        a_pair(2, extra={"n": 1}),
        a_pair(3),
        a_pair(4, scores={"s": 1.0}, extra={"n": 0.5}, seed=8),
        a_pair(5, scores={"t": 2.0}),
    ]
    assert write_pairs(iter(pairs), tmp_path / "set.parquet") == 6
    found = open_pairs(tmp_path / "set.parquet")
    assert [found.texts(i)["edit_prompts"][0] for i in range(6)] == [f"make it {i}" for i in range(6)]
    assert [pair.extra for pair in found] == [{}, {}, {"n": 1}, {}, {"n": 0.5}, {}]
    assert [pair.scores for pair in found] == [{}, {}, {}, {}, {"s": 1.0}, {"t": 2.0}] and found[4].seed == 8
    assert [path.name for path in tmp_path.iterdir()] == ["set.parquet"]


def test_a_column_of_texts_and_numbers_is_refused_and_nothing_is_left(tmp_path):
    with pytest.raises(EditError, match="values of different kinds"):
        write_pairs([a_pair(0, extra={"n": 1}), a_pair(1, extra={"n": "one"})], tmp_path / "set.parquet")
    assert not list(tmp_path.iterdir())


def test_a_picture_that_was_read_keeps_its_files_bytes_until_it_is_changed(tmp_path):
    source = open_pairs(write_set(tmp_path / "set.parquet", published()["fusing/instructpix2pix-1000-samples"]))

    def reworded():
        for i, pair in enumerate(source):
            if i == 1:
                pair.edited_image.paste("red", (0, 0, 48, 32))
            yield replace(
                pair, edit_prompts=(f"reworded {i}",), original_image=pair.original_image.rotate(180) if i == 2 else pair.original_image
            )

    write_pairs(reworded(), tmp_path / "new.parquet")
    new = open_pairs(tmp_path / "new.parquet")
    assert new.raw(0)["original_image"] == jpeg(0) and new.raw(0)["edited_image"] == jpeg(100) and new[0].edit_prompt == "reworded 0"
    assert new[1].edited_image.getpixel((5, 5)) == (255, 0, 0) and new.raw(1)["original_image"] == jpeg(1)
    assert new[2].original_image.tobytes() == source[2].original_image.rotate(180).tobytes()


def test_nothing_is_overwritten_unasked_and_nothing_half_is_left(tmp_path):
    path = tmp_path / "set.parquet"
    write_pairs([a_pair(0)], path)
    with pytest.raises(EditError, match="exists already"):
        write_pairs([a_pair(1)], path)

    def failing():
        yield a_pair(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pairs(failing(), path, force=True)
    with pytest.raises(EditError, match="no pairs to write"):
        write_layout(iter([]), tmp_path / "layout")
    assert open_pairs(path)[0].edit_prompt == "make it 0" and [file.name for file in tmp_path.iterdir()] == ["set.parquet"]


# --- memory


def rows_of_240_kb(count: int) -> Iterator[dict]:
    noise, start = random.Random(0), jpeg(1)
    texts = {"edit_prompts": ("make it night",), "original_prompt": "", "edited_prompt": "", "scores": {}, "extra": {}}
    for i in range(count):
        pictures = {name: start + noise.randbytes(120_000) for name in ("original_image", "edited_image")}
        yield pictures | texts | {"mask": None, "seed": i}


def peaks(count: int, folder: Path) -> tuple[int, int, int]:
    """The most bytes that Python and Arrow hold while a set of `count` rows is written, read in any order, checked and converted, and the
    set's size. What an allocator keeps for later is not counted: it differs from run to run."""
    arrow = 0

    def measured(rows: Iterable[dict]) -> Iterator[dict]:
        nonlocal arrow
        for row in rows:
            arrow = max(arrow, pa.total_allocated_bytes())
            yield row

    folder.mkdir()
    tracemalloc.start()
    try:
        parquet_writer.write_rows(measured(rows_of_240_kb(count)), folder / "set.parquet")
        pairs = open_pairs(folder / "set.parquet")
        for _ in measured(pairs.raw(i) for i in random.Random(1).sample(range(count), 30)):
            pass
        write_layout(measured(row for _, row in whole_rows(pairs)), folder / "layout")
        layout = open_pairs(folder / "layout")
        for _ in measured(layout.raw(i) for i in range(0, count, 8)):
            pass
        return tracemalloc.get_traced_memory()[1], arrow, (folder / "set.parquet").stat().st_size
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_set(tmp_path):
    small, large = peaks(100, tmp_path / "small"), peaks(250, tmp_path / "large")  # both larger than what is held at once
    grown = large[2] - small[2]
    assert grown > 35e6
    assert large[0] - small[0] < 0.05 * grown, "Python's"
    assert large[1] - small[1] < 0.05 * grown, "Arrow's"
