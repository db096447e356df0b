"""Pair sets in folders, with a CSV or in the original layout, are read, converted to parquet and back without loss."""

import json

import pytest

pytest.importorskip("datasets", reason="tests of pair sets need datasets (pip install -e '.[train]')")
import pyarrow.parquet as pq
from PIL import Image as Pictures

from ip2p.dataset.check import check_pairs
from ip2p.dataset.conversion import convert
from ip2p.dataset.listings import csv_columns
from ip2p.dataset.open import open_pairs
from ip2p.dataset.parquet_writer import write_pairs
from ip2p.errors import EditError
from pair_sets import SCORES, a_pair, erased, jpeg, published, rich_pairs, same_picture, tree, write_original_layout, write_set

pytestmark = pytest.mark.usefixtures("own_cache")


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
