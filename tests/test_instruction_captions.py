"""Captions read from files as people have them, and what bad ones get."""

import csv
import json

import pytest

pytest.importorskip("pyarrow", reason="captions in parquet need pyarrow (pip install -e '.[data]')")
import pyarrow as pa
import pyarrow.parquet as pq

from ip2p.dataset.instructions.captions import LONGEST, read_captions
from ip2p.dataset.instructions.triplets import Caption
from ip2p.errors import EditError

ROWS = [("a dog", "http://pictures/1", "CC0"), ("Eiffel Tower, at “night”", "", "CC-BY"), ("red panda", "http://pictures/3", "")]


def write(path, rows):
    if path.suffix == ".txt":
        path.write_text("".join(f"{caption}\n" for caption, *_ in rows), encoding="utf8")
    elif path.suffix in (".csv", ".tsv"):
        with open(path, "w", encoding="utf8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([("URL", "Caption", "license"), *((url, caption, licence) for caption, url, licence in rows)])
    elif path.suffix == ".jsonl":
        lines = [json.dumps({"url": url, "text": caption, "licence": licence}) for caption, url, licence in rows]
        path.write_text("\n".join(lines), encoding="utf8")
    else:
        columns = dict(zip(("caption", "url", "licence"), map(list, zip(*rows))))
        pq.write_table(pa.table(columns), path)
    return path


def read(path, **options):
    return list(read_captions(path, **options))


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".jsonl", ".parquet"])
def test_captions_with_their_address_and_licence_are_read_from_every_format(tmp_path, suffix):
    found = read(write(tmp_path / f"captions{suffix}", ROWS))
    wanted = [(caption, "", "") for caption, *_ in ROWS] if suffix == ".txt" else ROWS
    assert [(caption.text, caption.url, caption.licence) for caption in found] == wanted


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_without_a_column_of_captions_those_there_are_listed(tmp_path, suffix):
    path = write(tmp_path / f"captions{suffix}", ROWS)
    column = {".csv": "Caption", ".jsonl": "text", ".parquet": "caption"}[suffix]
    with pytest.raises(EditError, match=rf"has no column words: it has .*{column}.*--column"):
        read(path, column="words")
    url = {".csv": "URL"}.get(suffix, "url")
    assert read(path, column=url)[0].text == "http://pictures/1"


def test_a_table_without_a_column_for_captions_is_refused(tmp_path):
    path = tmp_path / "captions.csv"
    path.write_text("width,height\n3,4\n")
    with pytest.raises(EditError, match="has no column of captions: it has width, height"):
        read(path)


@pytest.mark.parametrize(
    "line, why",
    [
        (b"", "is empty"),
        (b"  \t ", "is empty"),
        (b"caf\xe9", "is not UTF-8"),
        (b"x" * 10_000, "10,000 characters"),
        (b"a ## b", "separate"),
    ],
)
def test_a_bad_caption_in_the_middle_is_set_aside_with_its_line(tmp_path, line, why):
    path = tmp_path / "captions.txt"
    path.write_bytes(b"a dog\n" + line + b"\na cat\n")
    first, (place, reason), last = read(path)
    assert (first.text, last.text, place) == ("a dog", "a cat", "line 2") and why in reason


def test_a_bad_line_of_json_and_a_bad_cell_of_csv_are_set_aside(tmp_path):
    (tmp_path / "captions.jsonl").write_bytes(
        b'{"caption": "a dog"}\n{"caption": \n[1]\n{"caption": 7}\n{"caption": "a \xff"}\n{"caption": "a cat"}'
    )
    found = read(tmp_path / "captions.jsonl")
    assert [item.text if isinstance(item, Caption) else item[0] for item in found] == [
        "a dog",
        "line 2",
        "line 3",
        "line 4",
        "line 5",
        "a cat",
    ]
    (tmp_path / "captions.csv").write_bytes(b"caption,url\na dog,1\n\xe9,2\na cat,3\n")
    assert [isinstance(item, Caption) for item in read(tmp_path / "captions.csv")] == [True, False, True]


def test_a_caption_is_one_line_and_has_a_length(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text("\n".join(json.dumps({"caption": text}) for text in ("a dog\n on  a\tsofa", "x" * LONGEST)))
    assert [caption.text for caption in read(path)] == ["a dog on a sofa", "x" * LONGEST]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\n\x80\n", b"x" * 10_000])
def test_a_file_without_a_single_caption_is_a_sentence(tmp_path, content):
    path = tmp_path / "captions.txt"
    path.write_bytes(content)
    with pytest.raises(EditError, match="has no caption that can be used"):
        read(path)


@pytest.mark.parametrize(
    "name, why", [("none.txt", "no file of captions"), ("captions.docx", "none of these"), ("captions.parquet", "can't be read")]
)
def test_what_is_no_file_of_captions_is_a_sentence(tmp_path, name, why):
    if name != "none.txt":
        (tmp_path / name).write_bytes(b"no such format")
    with pytest.raises(EditError, match=why):
        read(tmp_path / name)
