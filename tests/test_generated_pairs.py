"""Runs of `dataset pairs` with a tiny text-to-image model: what is drawn, going on, rows set aside, and what bad input gets."""

import io
import json
import re

import pytest

pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from ip2p.dataset.generated.draws import draw
from ip2p.dataset.generated.make_pairs import jpeg
from ip2p.dataset.generated.text_to_image import Sampling, TextToImage
from ip2p.dataset.open import open_pairs
from ip2p.files import take_lock
from pair_runs import FAST, ROWS, save_model, write_rows_file
from pair_sets import tree
from test_cli_dataset import ran
from tiny_model import tiny_networks

pytestmark = pytest.mark.usefixtures("one_thread_and_no_hub", "own_cache")


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("painter") / "tiny")


@pytest.fixture(scope="module")
def loaded(painter):
    return TextToImage.load(painter)


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch, painter, loaded):
    """The model is the same every time."""
    load = TextToImage.load
    monkeypatch.setattr(TextToImage, "load", lambda model, *more: loaded if model == str(painter) else load(model, *more))


@pytest.fixture
def rows(tmp_path):
    return write_rows_file(tmp_path / "rows.jsonl")


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf8").splitlines()]


def drawn(capsys, painter, rows, output, *more):
    return ran(capsys, "pairs", rows, "--model", painter, "--output", output, *FAST, *more)


def test_every_row_becomes_its_pairs_in_our_columns_with_what_made_them(painter, loaded, rows, tmp_path, capsys):
    status, out, err = drawn(capsys, painter, rows, tmp_path / "set", "--samples", 3)
    assert (status, err) == (0, []) and out == f"Wrote {tmp_path / 'set'}: 15 pairs.\n"
    assert sorted(path.name for path in (tmp_path / "set" / "shards").iterdir()) == ["00000.parquet", "00001.parquet", "00002.parquet"]
    pairs = open_pairs(tmp_path / "set")
    assert [(pair.extra["id"], pair.extra["sample"]) for pair in pairs] == [(row["id"], k) for row in ROWS for k in range(3)]
    for i, row in enumerate(ROWS):
        draws = [draw(0, row["id"], k) for k in range(3)]
        pictures = loaded.draw_pairs((row["input"], row["output"]), draws[:2], Sampling(64, 2))
        pair = pairs[3 * i + 1]
        assert (pair.original_prompt, pair.edit_prompt, pair.edited_prompt) == (row["input"], row["edit"], row["output"])
        assert pair.seed == draws[1].seed and pair.scores == {"p2p_threshold": draws[1].p, "cfg_scale": draws[1].guidance}
        raw = pairs.raw(3 * i + 1)
        assert (raw["original_image"], raw["edited_image"]) == tuple(map(jpeg, pictures[1]))
        assert pair.extra["url"] == row["url"] and pair.extra["split"] in ("train", "held_out")


def test_a_caption_is_in_one_split_and_a_rows_own_split_is_kept(painter, tmp_path, capsys):
    named = [row | {"split": "held_out" if i == 3 else "train"} for i, row in enumerate(ROWS)]
    assert drawn(capsys, painter, write_rows_file(tmp_path / "a.jsonl", named), tmp_path / "a", "--samples", 1)[0] == 0
    assert {pair.extra["id"] for pair in open_pairs(tmp_path / "a", "held_out")} == {"row3"}
    twice = [row | {"id": f"{row['id']} {i}", "output": f"{row['output']} {i}"} for row in ROWS[:4] for i in range(2)]
    assert drawn(capsys, painter, write_rows_file(tmp_path / "b.jsonl", twice), tmp_path / "b", "--held-out", 0.5, "--samples", 1)[0] == 0
    splits = {}
    for pair in open_pairs(tmp_path / "b"):
        splits.setdefault(pair.original_prompt, set()).add(pair.extra["split"])
    assert all(len(some) == 1 for some in splits.values()) and len({*map(frozenset, splits.values())}) == 2


def test_rows_are_read_from_parquet_from_a_folder_of_instructions_and_without_ids(painter, rows, tmp_path, capsys):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    (tmp_path / "run").mkdir()
    write_rows_file(tmp_path / "run" / "rows.jsonl")
    for name, source in (("a", rows), ("b", tmp_path / "rows.parquet"), ("c", tmp_path / "run")):
        assert drawn(capsys, painter, source, tmp_path / name, "--samples", 1)[0] == 0
    a, b, c = (tree(tmp_path / name / "shards") for name in "abc")
    assert a == b == c
    without = write_rows_file(tmp_path / "without.jsonl", [{name: row[name] for name in ("input", "edit", "output")} for row in ROWS])
    assert drawn(capsys, painter, without, tmp_path / "d", "--samples", 1)[0] == 0
    assert len({pair.extra["id"] for pair in open_pairs(tmp_path / "d")}) == len(ROWS)


def test_the_same_command_goes_on_with_the_shards_that_are_not_finished(painter, rows, tmp_path, capsys, monkeypatch):
    assert drawn(capsys, painter, rows, tmp_path / "whole")[0] == 0
    whole, broken = tree(tmp_path / "whole"), tmp_path / "broken"
    calls = []
    draw_pairs = TextToImage.draw_pairs

    def stop_at_fourth(self, *args):
        calls.append(args[0])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return draw_pairs(self, *args)

    monkeypatch.setattr(TextToImage, "draw_pairs", stop_at_fourth)
    status, _, (said,) = drawn(capsys, painter, rows, broken)
    assert status == 130 and "goes on from here" in said
    assert [path.name for path in (broken / "shards").glob("*.parquet")] == ["00000.parquet"], "what is there is whole"
    status, out, _ = ran(capsys, "status", broken)
    assert status == 0 and "2 rows (40.0%), 1 of 3 shards" in out and "pairs       4, " in out
    assert drawn(capsys, painter, rows, broken)[0] == 0
    assert len(calls) == 4 + 3 and calls[4][0] == ROWS[2]["input"], "what was finished is not drawn again"
    assert tree(broken) == whole


def test_a_shard_that_another_process_draws_is_left_to_it(painter, rows, tmp_path, capsys):
    assert drawn(capsys, painter, rows, tmp_path / "set")[0] == 0
    whole = tree(tmp_path / "set")
    (tmp_path / "set" / "finished" / "00001.json").unlink()
    with open(tmp_path / "set" / "finished" / ".ip2p-00001.lock", "ab") as lock:
        take_lock(lock)
        status, out, _ = drawn(capsys, painter, rows, tmp_path / "set")
    assert status == 0 and "drawn by other processes" in out
    assert drawn(capsys, painter, rows, tmp_path / "set")[0] == 0 and tree(tmp_path / "set") == whole


def test_a_poisoned_row_is_set_aside_with_its_reason_and_ends_nothing(tmp_path, capsys, monkeypatch):
    networks = tiny_networks(channels=4)
    model = TextToImage(**networks, name="tiny")
    token = (set(model.tokens("qqq")[0]) - set(model.tokens("a dog")[0])).pop()
    with torch.no_grad():
        networks["text_encoder"].get_input_embeddings().weight[token] = float("nan")
    tokens = model.tokens
    monkeypatch.setattr(model, "tokens", lambda text: 1 / 0 if "raises" in text else tokens(text))
    monkeypatch.setattr(TextToImage, "load", lambda *_: model)
    poisoned = [
        ROWS[0],
        {"id": "nan", "input": "a dog", "edit": "x", "output": "qqq"},
        {"id": "error", "input": "it raises", "edit": "x", "output": "a dog"},
        {"id": "same", "input": "a dog", "edit": "x", "output": "a   DOG"},
        ROWS[1],
        {"id": "alike", "input": "a dog", "edit": "x", "output": "a dog \u200b"},
    ]
    file = write_rows_file(tmp_path / "rows.jsonl", poisoned)
    status, out, err = drawn(capsys, save_model(tmp_path / "tiny"), file, tmp_path / "set")
    assert status == 0 and "4 pairs; " in out and "line 4 has an edited caption that is the caption" in err[0]
    assert [pair.extra["id"] for pair in open_pairs(tmp_path / "set")] == ["row0"] * 2 + ["row1"] * 2
    aside = lines(tmp_path / "set" / "set_aside.jsonl")
    reasons = {row.get("id", row.get("place")): row["reason"] for row in aside}
    assert "same to the model" in reasons["alike"], reasons
    out = ran(capsys, "status", tmp_path / "set")[1]
    assert "10 pairs of 5 rows" in out and "3 rows" in out and "1  division by zero" in out
    assert "not-a-number" in reasons["nan"] and "division by zero" in reasons["error"] and "caption" in reasons["line 4"]


def test_where_no_pair_can_be_drawn_it_is_said_why(painter, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(TextToImage, "decode", lambda *_: 1 / 0)
    status, _, (said,) = drawn(capsys, painter, rows, tmp_path / "set")
    assert status == 2 and said == "No pair could be drawn: division by zero."


def test_bad_rows_are_set_aside_counted_and_named_at_the_end(painter, tmp_path, capsys):
    bad = [ROWS[0], "[1]", "{", {"input": "a", "edit": "b"}, ROWS[0], {"input": "a" * 2000, "edit": "b", "output": "c"}, ROWS[1]]
    status, out, (said,) = drawn(capsys, painter, write_rows_file(tmp_path / "rows.jsonl", bad), tmp_path / "set")
    assert status == 0 and "4 pairs; 5 rows were set aside" in out and said.startswith("5 rows of")
    for part in (
        "line 2 is not an object",
        "line 3 is not",
        "line 4 has no text output",
        "line 5 has the id",
        "line 6 has 2,000 characters",
    ):
        assert part in said
    assert [row["place"] for row in lines(tmp_path / "set" / "set_aside.jsonl")] == [f"line {i}" for i in (2, 3, 4, 5, 6)]


def test_the_set_says_what_made_it(painter, rows, tmp_path, capsys):
    assert drawn(capsys, painter, rows, tmp_path / "set", "--licence", "CreativeML OpenRAIL-M", "--p", "0.7", "--samples", 1)[0] == 0
    settings = json.loads((tmp_path / "set" / "run.json").read_text(encoding="utf8"))
    assert settings["model"] == "tiny" and re.fullmatch("[0-9a-f]{16}", settings["model_fingerprint"]) and settings["p"] == [0.7, 0.7]
    card = (tmp_path / "set" / "README.md").read_text(encoding="utf8")
    for part in (
        "5 pairs of 5 rows",
        "CreativeML OpenRAIL-M",
        settings["model_fingerprint"],
        "0.7 to 0.7",
        "rows.jsonl",
        'data_files: "shards/*.parquet"',
    ):
        assert part in card
    assert str(tmp_path) not in card
    assert {pair.scores["p2p_threshold"] for pair in open_pairs(tmp_path / "set")} == {0.7}


def test_the_set_can_be_written_in_the_original_layout(painter, rows, tmp_path, capsys):
    assert drawn(capsys, painter, rows, tmp_path / "set")[0] == 0
    assert ran(capsys, "convert", tmp_path / "set", tmp_path / "layout")[0] == 0
    prompt = json.loads((tmp_path / "layout" / "0000002" / "prompt.json").read_text())
    assert prompt == {"caption": ROWS[2]["input"], "edit": ROWS[2]["edit"], "output": ROWS[2]["output"]}
    first, *_ = lines(tmp_path / "layout" / "0000002" / "metadata.jsonl")
    one = draw(0, "row2", 0)
    assert (first["seed"], first["p2p_threshold"], first["cfg_scale"]) == (one.seed, one.p, one.guidance)
    data = (tmp_path / "layout" / "0000002" / f"{one.seed}_1.jpg").read_bytes()
    assert Image.open(io.BytesIO(data)).format == "JPEG" and Image.open(io.BytesIO(data)).size == (64, 64)


def test_a_dry_run_writes_nothing_and_tells_what_it_would_take(painter, rows, tmp_path, capsys):
    status, out, _ = drawn(capsys, painter, rows, tmp_path / "set", "--dry-run", "--samples", 100, "--steps", 50)
    assert status == 0 and not (tmp_path / "set").exists()
    told = dict(line.split(maxsplit=1) for line in out.replace("UNet rows", "rows_of_unet").splitlines())
    assert told["rows"] == "5" and told["pairs"].startswith("500,") and told["rows_of_unet"].startswith("100,000, 200 of each pair")
    assert float(re.search(r"measured at ([\d.e-]+) s", told["hours"])[1]) > 0 and "about 2 MB" in told["disk"]


def test_the_folder_of_another_run_is_refused(painter, rows, tmp_path, capsys):
    assert drawn(capsys, painter, rows, tmp_path / "set", "--samples", 1)[0] == 0
    for change, why in (
        (("--seed", 1), "its seed is 0, not 1"),
        (("--p", "0.5"), "its p is [0.1, 0.9], not [0.5, 0.5]"),
        (("--batch", 1), "batch"),
    ):
        status, _, (said,) = drawn(capsys, painter, rows, tmp_path / "set", "--samples", 1, *change)
        assert status == 2 and why in said and "Choose another --output" in said
    for others, why in ((ROWS[:3], "row_count is 5, not 3"), ([*ROWS[:4], ROWS[4] | {"edit": "make it day"}], "rows_digest")):
        write_rows_file(rows, others)
        status, _, (said,) = drawn(capsys, painter, rows, tmp_path / "set", "--samples", 1)
        assert status == 2 and why in said


@pytest.mark.parametrize(
    "change, why",
    [
        ({"rows": "none.jsonl"}, "There is no file of rows"),
        ({"rows": "rows.txt"}, r"Rows are read from \.jsonl"),
        ({"rows": "empty.jsonl"}, "has no row that can be used"),
        ({"rows": "odd.jsonl"}, "has no row that can be used: line 1 has no text edit"),
        ({"rows": "torn.parquet"}, "can't be read"),
        ({"model": "none"}, "There is no model"),
        ({"model": "small"}, "is not a text-to-image model"),
        ({"output": "letters"}, "is no run of pairs"),
        ({"--p": "0.9,0.1"}, "--p is from 0 to 1"),
        ({"--p": "much"}, "--p is a number, or two"),
        ({"--guidance": "1,2,3"}, "--guidance is a number, or two"),
        ({"--guidance": "-1"}, "--guidance is from 0 to 100"),
        ({"--steps": "0"}, "--steps is from 1 to 200"),
        ({"--size": "100"}, "--size is a multiple of 8"),
        ({"--sampler": "Heun"}, "There is no sampler “Heun”"),
        ({"--samples": "0"}, "--samples is at least 1"),
        ({"--batch": "0"}, "--batch is at least 1"),
        ({"--held-out": "1"}, "--held-out is a share"),
    ],
)
def test_what_can_not_be_used_is_one_sentence(change, why, painter, rows, tmp_path, capsys):
    (tmp_path / "rows.txt").write_text("a")
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "odd.jsonl").write_text('{"input": "a"}\n')
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("dear")
    before = sorted(tmp_path.rglob("*"))
    model = {"none": tmp_path / "none", "small": "small"}.get(change.get("model"), painter)
    options = [part for name, value in change.items() if name[:2] == "--" for part in (f"{name}={value}",)]
    status, out, err = drawn(capsys, model, tmp_path / change.get("rows", "rows.jsonl"), tmp_path / change.get("output", "set"), *options)
    assert status == 2 and len(err) == 1 and not out
    assert re.search(why, err[0]), err[0]
    assert sorted(tmp_path.rglob("*")) == before
