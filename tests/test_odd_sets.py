"""Pair sets that others made: more layouts are read, each odd row is a broken row, each odd file a sentence, nothing outside is read."""

import json
import os
import re
import struct
import zlib
from pathlib import Path

import pytest

pytest.importorskip("datasets", reason="tests of pair sets need datasets (pip install -e '.[train]')")
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, Features, Image, Value

from ip2p.dataset.check import check_pairs
from ip2p.dataset.conversion import convert
from ip2p.dataset.open import open_pairs
from ip2p.dataset.pairs import BrokenRow
from ip2p.dataset.tables import IMAGE
from ip2p.errors import EditError
from pair_sets import jpeg, same_picture

pytestmark = pytest.mark.usefixtures("own_cache")
unix = pytest.mark.skipif(os.name != "posix", reason="pipes and devices are Unix's")


def pictures_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "1.jpg").write_bytes(jpeg(1))
    (folder / "2.jpg").write_bytes(jpeg(2))
    return folder


def write_lines(folder: Path, *lines: object) -> Path:
    """metadata.jsonl; a str is taken as it is."""
    (folder / "metadata.jsonl").write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return folder


def line_of(**more: object) -> dict:
    return {"original_image": "1.jpg", "edited_image": "2.jpg", "edit_prompt": "make it night", **more}


WHOLE = '{"caption": "a", "edit": "b", "output": "c"}'


def write_layout(folder: Path, *prompts: tuple[str, str]) -> Path:
    """prompts: texts of prompt.json and of metadata.jsonl; a whole one comes before and one after them. Each has a pair."""
    names = []
    for number, (prompt, metadata) in enumerate([(WHOLE, ""), *(prompts or [(WHOLE, "")]), (WHOLE, "")]):
        names.append(f"{number:07d}")
        place = folder / names[-1]
        place.mkdir(parents=True)
        (place / "1_0.jpg").write_bytes(jpeg(1))
        (place / "1_1.jpg").write_bytes(jpeg(2))
        (place / "prompt.json").write_text(prompt)
        if metadata:
            (place / "metadata.jsonl").write_text(metadata)
    (folder / "seeds.json").write_text(json.dumps([[name, ["1"]] for name in names]))
    return folder


def broken_in(source: Path, tmp_path: Path) -> list[str]:
    """What is said of the broken rows. The whole ones can be written both ways and read again."""
    reasons: list[str] = []
    whole = check_pairs(open_pairs(source), 1.0, reasons.append)
    for target in ("as.parquet", "as-layout"):
        assert convert(open_pairs(source), tmp_path / target, True, lambda reason: None) == len(whole)
        assert len(check_pairs(open_pairs(tmp_path / target), 0)) == len(whole)
    return reasons[:-1]


# --- more layouts


@pytest.mark.parametrize(
    "names", [("original_image", "edited_image"), ("original_image_file_name", "edited_image_file_name"), ("before", "after_path")]
)
def test_a_folder_of_pictures_with_json_lines_is_a_set(names, tmp_path):
    folder = pictures_in(tmp_path / "set")
    row = {names[0]: "1.jpg", names[1]: "2.jpg", "edit_prompt": "make it night", "kind": "night", "turn": 3, "seed": 7}
    write_lines(folder, row, row | {"edit_prompt": ["dusk", "make it dusk"], "split": "test"})
    for source in (folder, folder / "metadata.jsonl"):
        first, second = open_pairs(source)
        assert (first.edit_prompts, first.seed, first.extra["kind"], first.extra["turn"]) == (("make it night",), 7, "night", 3)
        assert same_picture(first.original_image, jpeg(1)) and same_picture(first.edited_image, jpeg(2))
        assert second.edit_prompts == ("dusk", "make it dusk")
    assert [pair.edit_prompt for pair in open_pairs(folder, "test")] == ["dusk"]


@pytest.mark.parametrize("splits", [False, True])
def test_a_folder_of_save_to_disk_is_a_set(splits, tmp_path):
    features = Features({"input_image": Image(), "edited_image": Image(), "edit_prompt": Value("string")})

    def part(*seeds: int) -> Dataset:
        before, after = ([{"bytes": jpeg(seed + more), "path": None} for seed in seeds] for more in (0, 100))
        return Dataset.from_dict(
            {"input_image": before, "edited_image": after, "edit_prompt": [f"make it {s}" for s in seeds]}, features=features
        )

    saved = DatasetDict({"train": part(0, 1), "validation": part(2)}) if splits else part(0, 1, 2)
    saved.save_to_disk(tmp_path / "set")
    pairs = open_pairs(tmp_path / "set")
    assert [pair.edit_prompt for pair in pairs] == ["make it 0", "make it 1", "make it 2"]
    assert same_picture(pairs[2].edited_image, jpeg(102)) and open_pairs(tmp_path / "set").fingerprint == pairs.fingerprint
    if splits:
        assert [pair.edit_prompt for pair in open_pairs(tmp_path / "set", "val")] == ["make it 2"]
        with pytest.raises(EditError, match="no split test"):
            open_pairs(tmp_path / "set", "test")


@pytest.mark.parametrize("state", ["{", "[]", '{"_data_files": [{"filename": "../private.arrow"}]}', '{"_data_files": 1}'])
def test_a_wrong_folder_of_save_to_disk_is_refused_in_a_sentence(state, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "state.json").write_text(state)
    (tmp_path / "set" / "dataset_info.json").write_text("{}")
    with pytest.raises(EditError, match=r"can't be read|can’t be read|outside"):
        open_pairs(tmp_path / "set")


# --- odd rows

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
ODD_VALUES = {
    "null": "null", "a list": "[1]", "a number": "1.5", "infinite": "1e999", "79 bits": "9" * 24, "5000 digits": "9" * 5000,
    "deep": DEEP, "half a pair": '"\\ud83d"', "NUL": '"\\u0000"', "nested": '{"a": {"b": [null]}}', "a key": '{"\\ud800": 1}',
    "our columns": '{"edited_image": "x", "_broken": 1, "seed": [], "instruction": "y"}', "large in it": f'{{"n": {"9" * 30}}}',
}  # fmt: skip


PROMPTS = {"edit": '{{"caption": "a", "edit": {}, "output": "c"}}', "caption": '{{"caption": {}, "edit": "b"}}'}
LINES = {
    "seed": '{{"seed": {}}}', "score": '{{"seed": 1, "clip_sim_0": {}}}', "extra": '{{"seed": 1, "extra": {}}}',
    "in extra": '{{"seed": 1, "extra": {{"n": {}}}}}',
}  # fmt: skip


def rows_of(reasons: list[str]) -> list[int]:
    return [int(re.search(r" row (\d+): ", reason)[1]) for reason in reasons]


@pytest.mark.parametrize("place", [*PROMPTS, *LINES])
def test_an_odd_value_in_a_layout_costs_its_row_at_most(place, tmp_path):
    prompts = [
        (PROMPTS[place].format(value), "") if place in PROMPTS else (WHOLE, LINES[place].format(value)) for value in ODD_VALUES.values()
    ]
    rows = rows_of(broken_in(write_layout(tmp_path / "set", *prompts), tmp_path))
    assert set(rows) <= set(range(1, len(ODD_VALUES) + 1))
    must = {"edit": {"half a pair", "NUL", "deep", "null"}, "caption": {"half a pair", "NUL"}, "score": {"79 bits"}, "in extra": {"NUL"}}
    assert {list(ODD_VALUES).index(name) + 1 for name in must.get(place, ())} <= set(rows)


def test_an_odd_note_of_a_layout_is_left(tmp_path):
    notes = [
        f'{{"folder": {value}, "line": {value}, "prompt": {value}}}'
        for name, value in ODD_VALUES.items()
        if name not in ("half a pair", "NUL")
    ]
    layout = write_layout(tmp_path / "set", *((WHOLE, json.dumps({"seed": 1, "extra": {"layout": note}})) for note in notes))
    assert broken_in(layout, tmp_path) == []


@pytest.mark.parametrize("name", ["original_image", "edit_prompt", "edited_prompt", "seed", "scores", "_extra", "_broken", "n", "\\ud800"])
def test_an_odd_value_in_json_lines_costs_its_row_at_most(name, tmp_path):
    folder = pictures_in(tmp_path / "set")
    rest = json.dumps({key: text for key, text in line_of().items() if key != name})[:-1]
    write_lines(folder, line_of(), *(f'{rest}, "{name}": {value}}}' for value in ODD_VALUES.values()), line_of(), *ODD_VALUES.values())
    rows = rows_of(broken_in(folder, tmp_path))
    assert 0 not in rows and len(ODD_VALUES) + 1 not in rows and {*range(len(ODD_VALUES) + 2, 2 * len(ODD_VALUES) + 2)} <= set(rows)


def test_half_a_surrogate_pair_in_prompt_json_is_said(tmp_path):
    (reason,) = broken_in(write_layout(tmp_path / "set", (r'{"caption": "a", "edit": "night \ud83d", "output": "c"}', "")), tmp_path)
    assert reason.endswith("row 1: 0000001/prompt.json can't be read: it holds NUL or half a surrogate pair")


def parquet_of(path: Path, **columns: pa.Array) -> Path:
    picture = pa.array([{"bytes": jpeg(1), "path": None}] * 3, IMAGE)
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"original_image": picture, "edited_image": picture, "edit_prompt": pa.array(["a", "b", "c"])} | columns), path)
    return path


def not_utf8() -> pa.Array:
    return pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(struct.pack("<4i", 0, 1, 3, 4)), pa.py_buffer(b"x\xff\xfez")])


@pytest.mark.parametrize("name", ["edit_prompt", "original_prompt", "kind", "split"])
def test_a_text_of_parquet_that_is_not_utf_8_costs_its_row(name, tmp_path):
    (reason,) = broken_in(parquet_of(tmp_path / "in" / "set.parquet", **{name: not_utf8()}), tmp_path)
    assert f"row 1: the column {name} can't be read" in reason


@pytest.mark.parametrize(
    "odd",
    [
        pa.array([[1], [], None]), pa.array([float("nan"), float("inf"), 1e300]), pa.array([b"\xff", b"", None]), pa.array([DEEP, "[", "\0"]),
        pa.array([2**64 - 1, 0, 1], pa.uint64()), pa.array([-(2**62), 0, 2**62], pa.timestamp("us")), pa.array([{"bytes": "a", "path": "b"}] * 3),
        pa.array([{"bytes": None, "path": 5}] * 3), pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda odd: str(odd.type),
)  # fmt: skip
def test_a_column_of_another_type_costs_its_rows_at_most(odd, tmp_path):
    for name in ("seed", "scores", "layout", "_extra", "_broken", "mask", "kind", "edit_prompts"):
        pairs = open_pairs(parquet_of(tmp_path / "set.parquet", **{name: odd}))
        for i in range(3):
            try:
                assert pairs.raw(i)["edit_prompts"]
            except BrokenRow as e:
                assert f"row {i}: " in str(e)


# --- odd files


@unix
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a loop"])
@pytest.mark.parametrize("name", ["prompt.json", "metadata.jsonl", "1_0.jpg", "1_mask.png"])
def test_a_file_that_never_ends_costs_its_row_at_most(name, kind, tmp_path):
    layout = write_layout(tmp_path / "set")
    file = layout / "0000001" / name
    file.unlink(missing_ok=True)
    if kind == "a pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero" if kind == "a device" else file)
    reasons = broken_in(layout, tmp_path)
    assert len(reasons) == (name != "metadata.jsonl" and (name, kind) != ("1_mask.png", "a loop")) and all(
        "row 1: " in reason for reason in reasons
    )


@unix
def test_a_seeds_json_that_never_ends_is_refused(tmp_path):
    layout = write_layout(tmp_path / "set")
    (layout / "seeds.json").unlink()
    (layout / "seeds.json").symlink_to("/dev/zero")
    with pytest.raises(EditError, match=r"seeds\.json can't be read"):
        open_pairs(layout)


@pytest.mark.parametrize(
    "text", [DEEP, "[" * 100_000, "[[1]]", "[1]", '{"a": 1}', "\udcff"], ids=["deep", "open", "one", "number", "object", "bytes"]
)
def test_a_wrong_seeds_json_is_refused(text, tmp_path):
    layout = write_layout(tmp_path / "set")
    (layout / "seeds.json").write_text(text, errors="surrogateescape")
    with pytest.raises(EditError, match=r"seeds\.json can't be read"):
        open_pairs(layout)


def test_a_picture_that_says_it_has_68_billion_pixels_is_a_broken_row(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1 << 18, 1 << 18, 8, 2, 0, 0, 0)
    layout = write_layout(tmp_path / "set")
    (layout / "0000001" / "1_1.jpg").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    )
    (reason,) = broken_in(layout, tmp_path)
    assert "row 1: " in reason and "64 megapixels" in reason


def test_parquet_that_says_it_has_more_rows_than_bytes_is_refused(tmp_path):
    rows = pa.array([None] * 2_000_000, IMAGE)
    pq.write_table(
        pa.table({"original_image": rows, "edited_image": rows, "edit_prompt": pa.array([None] * 2_000_000, pa.string())}),
        tmp_path / "set.parquet",
    )
    with pytest.raises(EditError, match="more rows than bytes"):
        open_pairs(tmp_path / "set.parquet")


# --- only what lies in the set's folder


@pytest.fixture
def private(tmp_path) -> Path:
    (tmp_path / "private.jpg").write_bytes(jpeg(9))
    return tmp_path / "private.jpg"


@pytest.mark.parametrize("name", ["{private}", "../private.jpg", "link.jpg", "a/../../private.jpg"])
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "layout"])
def test_no_picture_outside_the_set_s_folder_is_read(kind, name, private, tmp_path, monkeypatch):
    folder = tmp_path / "set"
    name = name.format(private=private)
    if kind == "layout":
        write_layout(folder)
        (folder / "0000001" / "1_1.jpg").unlink()
        (folder / "0000001" / "1_1.jpg").symlink_to(private)
    else:
        pictures_in(folder)
        (folder / "a").mkdir()
        (folder / "link.jpg").symlink_to(private)
    if kind == "parquet":
        paths = [{"bytes": None, "path": path} for path in ("1.jpg", name, "a/../2.jpg")]
        parquet_of(folder / "set.parquet", edited_image=pa.array(paths, IMAGE))
    if kind == "csv":
        (folder / "set.csv").write_text(f"before,after,instruction\n1.jpg,1.jpg,a\n1.jpg,{name},b\n1.jpg,a/../2.jpg,c\n")
    if kind == "jsonl":
        write_lines(folder, line_of(), line_of(edited_image=name), line_of(edited_image="a/../2.jpg"))
    monkeypatch.chdir(tmp_path)
    (reason,) = broken_in(Path("set"), tmp_path)
    assert "row 1: the picture after" in reason and "outside the set's folder" in reason
