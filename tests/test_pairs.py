"""Pair sets: every format is read as it is and carried over without loss; broken rows are named; memory does not grow with the set."""

import io
import json
import pickle
import random
import shutil
import tracemalloc
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datasets", reason="tests of pair sets need datasets (pip install -e '.[train]')")
import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Image, Value
from PIL import Image as Pictures

from ip2p.dataset import check, parquet_writer, tables
from ip2p.dataset.check import check_pairs
from ip2p.dataset.conversion import convert, whole_rows
from ip2p.dataset.folders import write_layout
from ip2p.dataset.hub import hub_pairs
from ip2p.dataset.listings import csv_columns
from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import BrokenRow, Pair
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.errors import EditError
from pair_sets import SCORES, erased, jpeg, picture, published, same_picture, tree, write_original_layout, write_set
from picture_files import black_png, saved

TEXT = Value("string")


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def a_pair(i: int, **more) -> Pair:
    return Pair(picture(i), picture(100 + i), (f"make it {i}",), **more)


# --- reading


@pytest.mark.parametrize("name", published())
def test_published_sets_read_as_they_are(name, tmp_path):
    columns = published()[name]
    pairs = open_pairs(write_set(tmp_path / "set.parquet", columns))
    assert len(pairs) == 3
    for i, pair in enumerate(pairs):
        assert pair.edit_prompt == f"make it {i}"
        assert same_picture(pair.original_image, jpeg(i)) and same_picture(pair.edited_image, jpeg(100 + i))
        assert pair.original_image.mode == pair.edited_image.mode == "RGB"
        several = "list" in str(columns.keys()) or "edit_prompts" in columns
        assert pair.edit_prompts == (f"make it {i}", f"make it {i}, at length")[: 1 + several]
        assert (pair.mask is not None) == ("mask_img" in columns)
        if "original_prompt" in columns:
            assert (pair.original_prompt, pair.edited_prompt) == (f"caption {i}", f"new caption {i}")
        else:
            assert (pair.original_prompt, pair.edited_prompt) == ("", "")
        told = {
            "img_id": str(1000 + i // 2),
            "turn_index": 1 + i % 2,
            "omni_edit_id": f"task_{i}",
            "task": "removal",
            "width": 48,
            "height": 32,
            "o_score": 9.5,
        }
        assert pair.extra == {column: value for column, value in told.items() if column in columns}


def test_what_magicbrush_erased_is_white_in_the_mask_and_as_large_as_the_picture(tmp_path):
    pair = open_pairs(write_set(tmp_path / "set.parquet", published()["osunlp/MagicBrush"]))[0]
    assert pair.mask.mode == "L" and pair.mask.size == pair.original_image.size == (48, 32)
    assert [pair.mask.getpixel((x, 16)) for x in (0, 23, 24, 47)] == [255, 255, 0, 0]


def test_masks_of_a_set_are_read_by_the_rule_of_all_masks(tmp_path):
    painted = np.zeros((32, 48), np.uint8)
    painted[:, :10] = 255
    layer = np.dstack([painted] * 4)
    files = [Pictures.fromarray(levels) for levels in (layer, painted // 255, painted.astype(np.uint16) * 257)]
    for i, file in enumerate(files):
        columns = published()["osunlp/MagicBrush"] | {"mask_img": ([saved(file, "PNG")] * 3, datasets.Image())}
        pairs = open_pairs(write_set(tmp_path / f"{i}.parquet", columns))
        assert np.array_equal(np.asarray(pairs[0].mask), painted), file.mode
        convert(pairs, tmp_path / f"ours-{i}.parquet")
        mask = pq.read_table(tmp_path / f"ours-{i}.parquet").to_pylist()[0]["mask"]["bytes"]
        assert np.array_equal(np.asarray(Pictures.open(io.BytesIO(mask)).convert("L")), painted), "one that every program reads so"


def test_a_grey_mask_is_taken_as_it_is(tmp_path):
    mask = Pictures.new("L", (48, 32))
    mask.paste(255, (0, 0, 10, 10))
    write_pairs([a_pair(0, mask=mask)], tmp_path / "set.parquet")
    assert open_pairs(tmp_path / "set.parquet")[0].mask.tobytes() == mask.tobytes()


def test_texts_come_without_the_pictures(tmp_path):
    pair = a_pair(5, original_prompt="a", edited_prompt="b", seed=9, scores={"clip_sim_dir": 0.25}, extra={"kind": "sepia", "year": 1999})
    write_pairs([pair], tmp_path / "set.parquet")
    told = {"edit_prompts": ("make it 5",), "original_prompt": "a", "edited_prompt": "b", "seed": 9, "scores": {"clip_sim_dir": 0.25}}
    assert open_pairs(tmp_path / "set.parquet").texts(0) == told | {"kind": "sepia", "year": 1999}


def test_pictures_are_upright_and_in_rgb(tmp_path):
    exif = Pictures.Exif()
    exif[0x0112] = 6
    turned, grey = saved(picture(1), "JPEG", exif=exif), saved(picture(2, (32, 48)).convert("L"), "PNG")
    columns = {"input_image": ([turned], Image()), "edited_image": ([grey], Image()), "edit_prompt": (["turn it"], TEXT)}
    path = write_set(tmp_path / "set.parquet", columns)
    pair = open_pairs(path)[0]
    assert pair.original_image.size == pair.edited_image.size == (32, 48) and pair.edited_image.mode == "RGB"
    assert check_pairs(open_pairs(path)) == [0]


def test_a_folder_of_parquet_is_one_set_and_its_files_name_the_splits(tmp_path):
    columns = published(4)["fusing/instructpix2pix-1000-samples"]
    parts = {"train-00000-of-00002": slice(0, 1), "train-00001-of-00002": slice(1, 3), "dev-00000-of-00001": slice(3, 4)}
    for name, part in parts.items():
        write_set(tmp_path / "data" / f"{name}.parquet", {column: (values[part], feature) for column, (values, feature) in columns.items()})

    def instructions(split):
        return sorted(pair.edit_prompt for pair in open_pairs(tmp_path, split))

    assert instructions("train") == ["make it 0", "make it 1", "make it 2"]
    assert instructions("val") == instructions("validation") == ["make it 3"]
    assert len(instructions(None)) == 4
    with pytest.raises(EditError, match=r"no split test: it has train, val\."):
        open_pairs(tmp_path, "test")


def test_a_column_split_names_the_splits(tmp_path):
    write_pairs((a_pair(i, extra={"split": "train" if i % 2 else "test"}) for i in range(5)), tmp_path / "set.parquet")
    assert [pair.edit_prompt for pair in open_pairs(tmp_path / "set.parquet", "train")] == ["make it 1", "make it 3"]
    with pytest.raises(EditError, match="no split val"):
        open_pairs(tmp_path / "set.parquet", "val")


def test_a_set_without_splits_has_those_of_the_original_code_and_none_shares_a_prompt(tmp_path):
    """20 prompts with one to three seeds: floor(.9 · 20) = 18, then one, then one, whatever the seeds' number (edit_dataset.py)."""

    def rows():
        return (replace(a_pair(i), seed=seed) for i in range(20) for seed in range(1 + i % 3))

    write_pairs(rows(), tmp_path / "set.parquet")
    convert(open_pairs(tmp_path / "set.parquet"), tmp_path / "layout")
    for source in ("set.parquet", "layout"):
        found = {split: {pair.edit_prompt for pair in open_pairs(tmp_path / source, split)} for split in ("train", "val", "test")}
        assert found == {"train": {f"make it {i}" for i in range(18)}, "val": {"make it 18"}, "test": {"make it 19"}}
    with pytest.raises(EditError, match="train, val, test"):
        open_pairs(tmp_path / "layout", "other")


def test_a_set_can_be_sent_to_other_processes_and_read_in_threads(tmp_path):
    write_pairs((a_pair(i) for i in range(40)), tmp_path / "set.parquet")
    pairs = pickle.loads(pickle.dumps(open_pairs(tmp_path / "set.parquet")))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda i: pairs[i % 40].edit_prompt, range(200)))
    assert found == [f"make it {i % 40}" for i in range(200)]


def test_parquet_with_small_row_groups_is_read_where_it_lies(tmp_path):
    write_pairs((a_pair(i) for i in range(5)), tmp_path / "set.parquet")
    assert len(list(open_pairs(tmp_path / "set.parquet"))) == 5
    assert not list(Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))


def test_parquet_with_large_row_groups_is_read_in_any_order_from_the_cache_of_datasets_which_is_said(tmp_path, monkeypatch, capsys):
    path = write_set(tmp_path / "a [set].parquet", published(6)["osunlp/MagicBrush"])
    expected = [open_pairs(path).raw(i) for i in range(6)]
    capsys.readouterr()
    monkeypatch.setattr(tables, "LARGE_GROUP", 1000)
    in_order = open_pairs(path, in_order=True)
    assert [in_order.raw(i) for i in range(6)] == expected and not list(Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))
    pairs = open_pairs(path)
    assert "a copy of" in capsys.readouterr().err and list(Path(datasets.config.HF_DATASETS_CACHE).rglob("*.arrow"))
    pairs = pickle.loads(pickle.dumps(pairs))
    assert [pairs.raw(i) for i in range(6)] == expected and pairs.fingerprint == in_order.fingerprint
    open_pairs(path)
    assert "a copy of" not in capsys.readouterr().err, "the second time it is there"


def test_no_copy_is_begun_that_the_disk_has_no_room_for(tmp_path, monkeypatch):
    path = write_set(tmp_path / "set.parquet", published()["osunlp/MagicBrush"])
    monkeypatch.setattr(tables, "LARGE_GROUP", 1000)
    monkeypatch.setattr(tables.shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(EditError, match=r"no room.*HF_DATASETS_CACHE"):
        open_pairs(path)


def test_a_name_of_the_hub_goes_through_datasets(tmp_path):
    columns = published(3)["osunlp/MagicBrush"]
    for split, part in {"train": slice(0, 2), "dev": slice(2, 3)}.items():
        write_set(
            tmp_path / "data" / f"{split}-00000-of-00001.parquet", {c: (values[part], feature) for c, (values, feature) in columns.items()}
        )
    everything, train, dev = (hub_pairs(str(tmp_path), split) for split in (None, "train", "val"))
    assert (len(everything), len(train), len(dev)) == (3, 2, 1)
    assert dev[0].edit_prompt == "make it 2" and same_picture(dev[0].original_image, jpeg(2)) and dev[0].mask.getpixel((0, 0)) == 255
    assert len({everything.fingerprint, train.fingerprint, dev.fingerprint}) == 3
    with pytest.raises(EditError, match="no split test"):
        hub_pairs(str(tmp_path), "test")


def test_a_name_that_is_nowhere_is_refused_in_a_sentence(monkeypatch, tmp_path):
    def unreachable(name):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset_builder", unreachable)
    with pytest.raises(EditError, match=r"no file or folder someone/pairs, and the data set of that name can't be had.*Couldn't reach"):
        open_pairs("someone/pairs")
    for name in ("pairs.parquet", "folder/pairs.parquet", str(tmp_path / "nothing")):
        with pytest.raises(EditError, match="There is no pair set"):
            open_pairs(name)


def test_a_set_without_the_columns_is_refused_with_the_ones_it_has(tmp_path):
    path = write_set(tmp_path / "set.parquet", {"input_image": ([jpeg(0)], Image()), "words": (["x"], TEXT)})
    with pytest.raises(EditError, match="no column of pictures after nor of instructions: its columns are input_image, words"):
        open_pairs(path)
    (tmp_path / "no.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(EditError, match=r"no\.parquet can't be read"):
        open_pairs(tmp_path / "no.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EditError, match="holds no parquet"):
        open_pairs(tmp_path / "empty")


# --- before and after pictures with a CSV


@pytest.mark.parametrize(
    "text",
    [
        'before,after,instruction,who\na/1.jpg,2.jpg,"make it warm, please",me\n',
        "\ufeffBefore;After;Instruction;who\r\na/1.jpg;2.jpg;make it warm, please;me\r\n",
        "input_image\tedited_image\tedit_prompt\twho\na/1.jpg\t2.jpg\tmake it warm, please\tme\n",
        'original_image_file_name,edited_image_file_name,edit_prompt,who\na/1.jpg,2.jpg,"make it warm, please",me\n',
    ],
    ids=["commas", "semicolons and a mark", "tabs", "file names"],
)
def test_a_folder_of_pictures_with_a_csv_is_a_set(text, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jpg").write_bytes(jpeg(1))
    (tmp_path / "2.jpg").write_bytes(jpeg(2))
    (tmp_path / "list.csv").write_text(text, encoding="utf8", newline="")
    for source in (tmp_path, tmp_path / "list.csv"):
        (pair,) = open_pairs(source)
        assert pair.edit_prompts == ("make it warm, please",) and pair.extra == {"who": "me"}
        assert same_picture(pair.original_image, jpeg(1)) and same_picture(pair.edited_image, jpeg(2))


def test_a_csv_s_pictures_have_an_order_so_that_its_fingerprint_is_the_same_in_every_process(tmp_path):
    (tmp_path / "list.csv").write_text("mask,after,instruction,before\n")
    assert csv_columns(tmp_path / "list.csv") == (["before", "after", "mask"], ["mask", "after", "instruction", "before"])


def test_a_csv_names_its_broken_rows(tmp_path):
    (tmp_path / "1.jpg").write_bytes(jpeg(1))
    (tmp_path / "list.csv").write_text(
        "before,after,instruction,mask\n1.jpg,1.jpg,a,\n1.jpg,gone.jpg,b,\n1.jpg,,c,\n1.jpg,1.jpg,,\n1.jpg\n"
    )
    pairs, told = open_pairs(tmp_path), []
    assert check_pairs(pairs, 0.9, told.append) == [0]
    assert [line.partition("list.csv ")[2].partition(":")[0] for line in told[:-1]] == ["row 1", "row 2", "row 3", "row 4"]
    assert "gone.jpg can't be read: no such file" in told[0] and "after is missing" in told[1] and "instruction is empty" in told[2]


def test_the_fingerprint_changes_with_the_content(tmp_path):
    write_original_layout(tmp_path / "layout")
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "1.jpg").write_bytes(jpeg(1))
    (tmp_path / "csv" / "list.csv").write_text("before,after,instruction\n1.jpg,1.jpg,a\n")
    write_pairs([a_pair(1)], tmp_path / "set.parquet")
    for place, change in {
        "layout": lambda: (tmp_path / "layout" / "0000004" / "5_1.jpg").write_bytes(jpeg(55)),
        "csv": lambda: (tmp_path / "csv" / "1.jpg").write_bytes(jpeg(2)),
        "set.parquet": lambda: write_pairs([a_pair(2)], tmp_path / "set.parquet", force=True),
    }.items():
        before = open_pairs(tmp_path / place).fingerprint
        assert open_pairs(tmp_path / place).fingerprint == before
        change()
        assert open_pairs(tmp_path / place).fingerprint != before, place


# --- the original layout


@pytest.mark.parametrize("key", ["caption", "input"])
def test_the_original_layout_is_read_with_its_seeds_and_scores(key, tmp_path):
    pairs = open_pairs(write_original_layout(tmp_path / "layout", key))
    assert [(pair.edit_prompt, pair.seed) for pair in pairs] == [
        ("make it 0", 4100000000), ("make it 0", 77), ("make it 4", 5), ("make it 9", 15), ("make it 9", 31), ("make it 9", 4)
    ]  # fmt: skip
    pair = pairs[2]
    assert (pair.original_prompt, pair.edited_prompt) == ("a caption — 4", "a new caption 4")
    assert tuple(pair.scores) == SCORES and pair.scores["cfg_scale"] == 6 / 7
    assert same_picture(pair.original_image, jpeg(5)) and same_picture(pair.edited_image, jpeg(6))
    (tmp_path / "layout" / "seeds.json").unlink()
    assert [pair.seed for pair in open_pairs(tmp_path / "layout")] == [pair.seed for pair in pairs], (
        "its order is that of prepare_dataset.py"
    )


@pytest.mark.parametrize("key", ["caption", "input"])
def test_layout_to_parquet_to_layout_is_the_same_to_the_byte(key, tmp_path):
    layout = write_original_layout(tmp_path / "layout", key)
    (layout / "0000004" / "metadata.jsonl").unlink()
    assert convert(open_pairs(layout), tmp_path / "set.parquet") == 6
    assert convert(open_pairs(tmp_path / "set.parquet"), tmp_path / "again") == 6
    expected = tree(layout)
    del expected["0000003/prompt.json"]  # no pair of it passed the filter
    assert tree(tmp_path / "again") == expected


def rich_pairs():
    mask = Pictures.new("L", (48, 32), 255)
    for i in range(12):
        scores = {"clip_sim_dir": i / 3, "count": i} if i % 2 else {}
        extra = {"kind": "sepia", "share": 0.1 * i, "turn": i} if i % 3 else {}
        yield a_pair(
            i // 3, seed=i if i % 4 else None, scores=scores, extra=extra, mask=mask if i == 5 else None, original_prompt="é" * (i // 3)
        )
    yield replace(a_pair(3), edit_prompts=("make it 3", "three it", " spaces are kept "), seed=3)


def test_parquet_to_layout_to_parquet_is_the_same_to_the_byte(tmp_path):
    write_pairs(rich_pairs(), tmp_path / "set.parquet")
    convert(open_pairs(tmp_path / "set.parquet"), tmp_path / "layout")
    convert(open_pairs(tmp_path / "layout"), tmp_path / "again.parquet")
    first, again = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("set", "again"))
    assert set(first.column_names) == set(again.column_names)
    assert again.select(first.column_names).to_pylist() == first.to_pylist()
    assert len(list((tmp_path / "layout").iterdir())) == 1 + 5, "pairs of one prompt share a folder"


def test_jpeg_bytes_are_carried_over_unchanged(tmp_path):
    path = write_set(tmp_path / "set.parquet", published()["timbrooks/instructpix2pix-clip-filtered"])
    convert(open_pairs(path), tmp_path / "layout")
    convert(open_pairs(tmp_path / "layout"), tmp_path / "again.parquet")
    for i, row in enumerate(pq.read_table(tmp_path / "again.parquet").to_pylist()):
        assert (row["original_image"]["bytes"], row["edited_image"]["bytes"]) == (jpeg(i), jpeg(100 + i))
    assert (tmp_path / "layout" / "0000001" / "0_1.jpg").read_bytes() == jpeg(101)


def test_the_original_code_can_read_the_layout(tmp_path):
    """What edit_dataset.py's EditDatasetEval and EditDataset open."""
    path = write_set(tmp_path / "set.parquet", published()["timbrooks/instructpix2pix-clip-filtered"])
    convert(open_pairs(path), tmp_path / "layout")
    for i, (name, seeds) in enumerate(json.loads((tmp_path / "layout" / "seeds.json").read_text())):
        prompt = json.loads((tmp_path / "layout" / name / "prompt.json").read_text())
        assert prompt["edit"] == f"make it {i}" and name == f"{i:07d}"
        for half in (0, 1):
            Pictures.open(tmp_path / "layout" / name / f"{seeds[0]}_{half}.jpg").load()


def test_a_converted_mask_is_white_where_it_is_edited(tmp_path):
    path = write_set(tmp_path / "set.parquet", published()["osunlp/MagicBrush"])
    convert(open_pairs(path), tmp_path / "ours.parquet")
    mask = pq.read_table(tmp_path / "ours.parquet").to_pylist()[0]["mask"]["bytes"]
    assert erased((96, 64)) != mask and open_pairs(tmp_path / "ours.parquet")[0].mask.tobytes() == open_pairs(path)[0].mask.tobytes()
    convert(open_pairs(tmp_path / "ours.parquet"), tmp_path / "again.parquet")
    assert pq.read_table(tmp_path / "again.parquet").to_pylist()[0]["mask"]["bytes"] == mask


@pytest.mark.parametrize("name", ["../outside", "/etc", "a/b", "", ".hidden"])
def test_no_folder_outside_is_read_or_written(name, tmp_path):
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout" / "seeds.json").write_text(json.dumps([[name, ["1"]]]))
    with pytest.raises(EditError, match="none beside it"):
        open_pairs(tmp_path / "layout")
    write_pairs([a_pair(1, extra={"layout": json.dumps({"folder": name})})], tmp_path / "set.parquet")
    with pytest.raises(EditError, match="none beside it"):
        convert(open_pairs(tmp_path / "set.parquet"), tmp_path / "written")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layout", "set.parquet"]


def test_seeds_json_that_is_none_is_refused(tmp_path):
    (tmp_path / "seeds.json").write_text('{"a": 1}')
    with pytest.raises(EditError, match=r"seeds\.json can't be read"):
        open_pairs(tmp_path)


# --- writing


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


def test_some_rows_of_a_set_are_a_set(tmp_path):
    write_pairs((a_pair(i) for i in range(6)), tmp_path / "set.parquet")
    pairs = open_pairs(tmp_path / "set.parquet")
    some = pairs.select([4, 1]).select([1, 0])
    assert [pair.edit_prompt for pair in some] == ["make it 1", "make it 4"] and some.fingerprint != pairs.fingerprint
    with pytest.raises(IndexError):
        some[2]


# --- broken rows


def broken_set(path: Path) -> Path:
    """Every odd row is broken, each otherwise."""
    whole, cut, huge = jpeg(1), jpeg(1, (300, 200))[:2000], black_png(8100)
    png_cut = saved(picture(3), "PNG")[:-60]
    rows = [
        (whole, whole, "a"), (cut, whole, "b"),
        (whole, jpeg(2, (96, 64)), "c"), (whole, png_cut, "d"),
        (whole, jpeg(2, (47, 32)), "e"), (whole, jpeg(2, (32, 32)), "f"),
        (whole, whole, "g"), (whole, whole, "  "),
        (whole, whole, "h"), (whole, whole, None),
        (whole, whole, "i"), (b"no picture", whole, "j"),
        (whole, whole, "k"), (None, whole, "l"),
        (whole, whole, "m"), (whole, huge, "n"),
        (whole, whole, "o"), (b"", whole, "p"),
    ]  # fmt: skip
    before, after, texts = zip(*rows)
    return write_set(
        path, {"input_image": (list(before), Image()), "edited_image": (list(after), Image()), "edit_prompt": (list(texts), TEXT)}
    )


REASONS = {
    1: "picture before can't be read: it is damaged", 3: "picture after can't be read: it is damaged",
    5: "picture before is 48x32 but the one after 32x32", 7: "the instruction is empty", 9: "the instruction is empty",
    11: "picture before can't be read", 13: "picture before is missing", 15: "8100x8100: at most 64 megapixels", 17: "picture before is missing",
}  # fmt: skip


def test_broken_rows_are_named_counted_and_skipped(tmp_path):
    pairs, told = open_pairs(broken_set(tmp_path / "set.parquet")), []
    assert check_pairs(pairs, 0.5, told.append) == list(range(0, 18, 2))
    for line, (row, reason) in zip(told, REASONS.items()):
        assert line.startswith(f"{tmp_path / 'set.parquet'} row {row}: ") and reason in line
    assert len(told) == 10 and told[-1] == "set.parquet: 9 of 18 rows are broken and skipped."


def test_a_row_that_was_not_checked_is_refused_all_the_same_when_it_is_read(tmp_path):
    pairs = open_pairs(broken_set(tmp_path / "set.parquet"))
    for i in range(18):
        if i in REASONS:
            with pytest.raises(BrokenRow, match=REASONS[i]):
                pairs[i]
        else:
            assert pairs[i].edit_prompt


def test_broken_rows_are_left_out_of_a_conversion(tmp_path, capsys):
    pairs = open_pairs(broken_set(tmp_path / "set.parquet"))
    assert convert(pairs, tmp_path / "layout") == 9 and convert(open_pairs(tmp_path / "layout"), tmp_path / "new.parquet") == 9
    assert capsys.readouterr().err.count("set.parquet row ") == 9
    assert check_pairs(open_pairs(tmp_path / "new.parquet"), 0) == list(range(9))


def test_broken_rows_of_a_layout_are_named(tmp_path):
    layout = write_original_layout(tmp_path / "layout")
    (layout / "0000004" / "prompt.json").write_text("{")
    (layout / "0000000" / "77_1.jpg").unlink()
    told = []
    assert check_pairs(open_pairs(layout), 0.5, told.append) == [0, 3, 4, 5]
    assert "row 1: the picture after" in told[0] and "77_1.jpg" in told[0] and "row 2: 0000004/prompt.json can't be read" in told[1]


def test_too_many_broken_rows_end_it_as_soon_as_that_is_known(tmp_path, monkeypatch):
    columns = {"input_image": ([b"no"] * 500, Image()), "edited_image": ([jpeg(1)] * 500, Image()), "edit_prompt": (["x"] * 500, TEXT)}
    pairs, told = open_pairs(write_set(tmp_path / "set.parquet", columns)), []
    with pytest.raises(EditError, match=r"at least 6 of 500 rows are broken, and 1\.00% may be"):
        check_pairs(pairs, 0.01, told.append)
    assert len(told) < 10
    with pytest.raises(EditError, match="500 of 500"):
        check_pairs(pairs, 1.0, told.append)


def test_a_second_start_does_not_check_again_but_names_the_broken_rows(tmp_path, monkeypatch):
    path, told = broken_set(tmp_path / "set.parquet"), []
    check_pairs(open_pairs(path), 0.5, told.append)
    monkeypatch.setattr(check, "check_row", lambda row: pytest.fail("decoded again"))
    again = []
    assert check_pairs(open_pairs(path), 0.5, again.append) == list(range(0, 18, 2)) and again == told
    with pytest.raises(EditError, match="rows are broken"):
        check_pairs(open_pairs(path), 0.01, again.append)


def test_a_set_that_changed_is_checked_again(tmp_path):
    path = tmp_path / "set.parquet"
    write_pairs((a_pair(i) for i in range(3)), path)
    assert check_pairs(open_pairs(path)) == [0, 1, 2]
    columns = {"input_image": ([jpeg(1), b"no"], Image()), "edited_image": ([jpeg(1)] * 2, Image()), "edit_prompt": (["x"] * 2, TEXT)}
    write_set(path, columns)
    assert check_pairs(open_pairs(path), 0.5, lambda line: None) == [0]


def test_an_interrupted_check_goes_on_where_it_stopped(tmp_path, monkeypatch):
    write_pairs((a_pair(i) for i in range(60)), tmp_path / "set.parquet")
    pairs, check_row, seen = open_pairs(tmp_path / "set.parquet"), check.check_row, []

    def interrupted(row):
        seen.append(row["edit_prompts"][0])
        if len(seen) == 40:
            raise KeyboardInterrupt
        check_row(row)

    monkeypatch.setattr(check, "check_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_pairs(pairs)
    before = len(seen)
    assert check_pairs(pairs) == list(range(60))
    assert 60 <= len(seen) <= 60 + before - 20 and len(set(seen)) == 60


def test_a_set_without_rows_is_refused(tmp_path):
    path = write_set(tmp_path / "set.parquet", published(0)["fusing/instructpix2pix-1000-samples"])
    with pytest.raises(EditError, match="has no rows"):
        check_pairs(open_pairs(path))


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
        write_layout(measured(whole_rows(pairs)), folder / "layout")
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
