"""Pair sets in parquet, in splits and on the hub are read as they are."""

import io
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datasets", reason="tests of pair sets need datasets (pip install -e '.[train]')")
import datasets
import pyarrow.parquet as pq
from datasets import Image, Value
from PIL import Image as Pictures

from ip2p.dataset import tables
from ip2p.dataset.check import check_pairs
from ip2p.dataset.conversion import convert
from ip2p.dataset.hub import hub_pairs
from ip2p.dataset.open import open_pairs
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.errors import EditError
from pair_sets import a_pair, jpeg, picture, published, same_picture, write_original_layout, write_set
from picture_files import saved

pytestmark = pytest.mark.usefixtures("own_cache")
TEXT = Value("string")


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
        }
        assert pair.scores == ({"o_score": 9.5, "sc_score_1": 9.0} if "o_score" in columns else {})
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


def test_some_rows_of_a_set_are_a_set(tmp_path):
    write_pairs((a_pair(i) for i in range(6)), tmp_path / "set.parquet")
    pairs = open_pairs(tmp_path / "set.parquet")
    some = pairs.select([4, 1]).select([1, 0])
    assert [pair.edit_prompt for pair in some] == ["make it 1", "make it 4"] and some.fingerprint != pairs.fingerprint
    with pytest.raises(IndexError):
        some[2]


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
