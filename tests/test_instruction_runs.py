"""Runs of `dataset instructions` with a tiny language model: rows, going on, parts, what is told, and what bad input gets."""

import json
import re
import shutil
import sys

import pytest

pytest.importorskip("rapidfuzz", reason="instructions need rapidfuzz (pip install -e '.[data]')")
import pyarrow.parquet as pq
import torch

from instruction_cases import CAPTIONS, save_tiny, write_captions
from ip2p.dataset.instructions.local_writer import LocalWriter, Options, likeliest
from ip2p.dataset.instructions.paper_format import parsed
from ip2p.dataset.instructions.run_folder import RunFolder
from ip2p.dataset.instructions.triplets import Caption, asks_of
from test_cli_dataset import ran

pytestmark = pytest.mark.usefixtures("one_thread_and_no_hub")
SMALL = ("--batch", 4, "--max-tokens", 40, "--runner", "here")


@pytest.fixture
def captions(tmp_path):
    return write_captions(tmp_path / "captions.txt")


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf8").splitlines()]


def content(folder):
    return {name: (folder / name).read_bytes() for name in ("answers.jsonl", "rows.jsonl", "rows.parquet", "rejected.jsonl")}


def test_every_caption_ends_as_a_row_or_is_set_aside_with_its_reason(tuned, captions, tmp_path, capsys):
    status, out, err = ran(capsys, "instructions", captions, "--output", tmp_path / "run", "--model", tuned, "--temperature", 0, *SMALL)
    assert status == 0 and err == ["16 of 16 rows are to be written."]
    rows, rejected = lines(tmp_path / "run" / "rows.jsonl"), lines(tmp_path / "run" / "rejected.jsonl")
    assert len(rows) >= 6 and sorted(row["input"] for row in rows + rejected) == sorted(CAPTIONS)
    assert all(row["reason"] and row["text"] for row in rejected)
    assert pq.read_table(tmp_path / "run" / "rows.parquet").to_pylist() == rows
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert {row["model"] for row in rows} == {"tuned"} and all(row["version"] and row["prompt"] for row in rows)
    assert f"{len(rows)} rows" in out


def test_the_same_command_goes_on_and_ends_byte_for_byte_where_an_undisturbed_run_does(tuned, captions, tmp_path, capsys):
    options = ("--model", tuned, "--temperature", 0.7, "--candidates", 2, *SMALL)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert ran(capsys, "instructions", captions, "--output", whole, *options)[0] == 0
    shutil.copytree(whole, broken)
    answers = (whole / "answers.jsonl").read_bytes()
    for at in (len(answers) // 3, len(answers) - 1):
        (broken / "answers.jsonl").write_bytes(answers[:at])
        finished = answers[:at].count(b"\n")
        status, _, err = ran(capsys, "instructions", captions, "--output", broken, *options)
        assert status == 0 and err == [f"{16 - finished} of 16 rows are to be written."]
        assert content(broken) == content(whole)


def test_a_sampled_row_depends_on_its_own_seed_and_not_on_its_neighbours(tuned):
    asks = [ask for caption in CAPTIONS[:6] for ask in asks_of(Caption(caption), 2, 0)]
    answers = {}
    for batch in (1, 5, 12):
        writer = LocalWriter(str(tuned), Options(temperature=0.9, batch=batch, max_tokens=40))
        answers[batch] = [answer.text for _, answer in writer.write(asks, ())]
    equal = [len({answers[batch][i] for batch in answers}) == 1 for i in range(len(asks))]
    assert sum(equal) >= len(asks) - 1, "a rounding may turn one"
    assert len(set(answers[1])) > len(asks) / 2, "two of a caption differ"


def test_of_several_candidates_the_one_that_the_model_finds_likeliest_is_taken(tuned):
    asks = [asks_of(Caption(caption), 1, 0)[0] for caption in CAPTIONS]
    one, four = (LocalWriter(str(tuned), Options(1.0, 8, 40, candidates=count)) for count in (1, 4))
    texts = {"one": [answer.text for _, answer in one.write(asks, ())], "four": [answer.text for _, answer in four.write(asks, ())]}
    edits = {name: sum(parsed(text) is not None for text in some) for name, some in texts.items()}
    assert edits["four"] > edits["one"], "one of four is more often an edit"
    assert likeliest(asks[0], [("no edit", 0.0), ("b\n%%\nc\nEND", -2.0), ("d\n%%\ne\nEND", -1.0)]) == "d\n%%\ne\nEND"


def test_sampling_follows_the_softmax_at_the_temperature():
    from ip2p.dataset.instructions.local_writer import Draw

    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).repeat(4000, 1)
    asks = [asks_of(Caption(f"caption {i}"), 1, 0)[0] for i in range(4000)]
    drawn = Draw([ask.seed for ask in asks], 0.7)(torch.zeros(4000, 1), logits).argmax(-1).bincount(minlength=4) / 4000
    assert torch.allclose(drawn, (logits[0] / 0.7).softmax(-1), atol=0.03)


def test_parts_of_a_run_merged_are_the_run(tuned, captions, tmp_path, capsys):
    options = ("--model", tuned, "--temperature", 0, "--batch", 1, "--max-tokens", 40, "--runner", "here")
    assert ran(capsys, "instructions", captions, "--output", tmp_path / "whole", *options)[0] == 0
    for i in (1, 2, 3):
        assert ran(capsys, "instructions", captions, "--output", tmp_path / f"part{i}", "--part", f"{i}/3", *options)[0] == 0
    parts = [tmp_path / f"part{i}" for i in (3, 1, 2, 1)]
    assert ran(capsys, "instructions", "--output", tmp_path / "merged", "--merge", *parts)[0] == 0
    for name in ("rows.jsonl", "rejected.jsonl"):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert ran(capsys, "instructions", captions, "--output", tmp_path / "other", "--seed", 1, *options)[0] == 0
    status, _, (said,) = ran(capsys, "instructions", "--output", tmp_path / "mixed", "--merge", tmp_path / "whole", tmp_path / "other")
    assert status == 2 and "do not belong together: their seed is 1 and 0" in said


def test_status_reads_a_run_that_is_not_finished(tuned, captions, tmp_path, capsys):
    run = tmp_path / "run"
    assert ran(capsys, "instructions", captions, "--output", run, "--model", tuned, "--temperature", 0, *SMALL)[0] == 0
    answers = (run / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (run / "answers.jsonl").write_bytes(b"".join(answers[:5]) + answers[5][:20])
    (run / "rows.jsonl").unlink()
    status, out, err = ran(capsys, "status", run)
    assert (status, err) == (0, [])
    told = dict(line.split(maxsplit=1) for line in out.splitlines()[:4])
    assert (told["wanted"], told["asked"]) == ("16", "5") and told["kept"].split()[0] in out
    page = (run / "report.html").read_text(encoding="utf8")
    assert "<svg" in page and "Rows drawn by chance" in page and "http" not in page.replace("http-equiv", "")
    status, _, (said,) = ran(capsys, "status", tmp_path / "none")
    assert status == 2 and "is no run of instructions" in said


def test_other_filters_sift_the_same_answers_again(tuned, captions, tmp_path, capsys):
    command = ("instructions", captions, "--output", tmp_path / "run", "--model", tuned, "--temperature", 0, *SMALL)
    assert ran(capsys, *command)[0] == 0
    winters = [row for row in lines(tmp_path / "run" / "rows.jsonl") if "winter" in row["edit"] + row["output"]]
    (tmp_path / "words.txt").write_text("Winter\n")
    answers = (tmp_path / "run" / "answers.jsonl").read_bytes()
    status, *_ = ran(capsys, *command, "--words", tmp_path / "words.txt")
    assert winters and status == 0 and (tmp_path / "run" / "answers.jsonl").read_bytes() == answers
    assert not any("winter" in row["edit"] + row["output"] for row in lines(tmp_path / "run" / "rows.jsonl"))
    assert sum(row["reason"] == "word" for row in lines(tmp_path / "run" / "rejected.jsonl")) == len(winters)
    assert "a word of the list" in ran(capsys, "status", tmp_path / "run")[1]


def test_a_model_that_was_not_fine_tuned_is_shown_rows_that_people_wrote(tmp_path, captions, capsys):
    model = save_tiny(tmp_path / "tiny")
    writer = LocalWriter(str(model), Options(examples=3, max_tokens=4))
    text = writer.text_of(asks_of(Caption("a dog"), 1, 0)[0])
    assert text.count("\nEND") == 3 and text.endswith("\n\na dog\n##\n") and not writer.tuned
    assert ran(capsys, "instructions", captions, "--output", tmp_path / "run", "--model", model, "--examples", 2, *SMALL)[0] == 0
    assert {row["reason"] for row in lines(tmp_path / "run" / "rejected.jsonl")} == {"parts"}
    status, _, err = ran(
        capsys, "instructions", captions, "--output", tmp_path / "long", "--model", model, "--examples", 60, "--runner", "here"
    )
    assert status == 2 and "reads 2048 tokens" in err[-1]


def test_a_dry_run_writes_nothing_and_tells_what_it_would_take(tuned, captions, tmp_path, capsys):
    status, out, _ = ran(
        capsys, "instructions", captions, "--output", tmp_path / "run", "--model", tuned, "--per-caption", 3, "--dry-run", *SMALL
    )
    assert status == 0 and not (tmp_path / "run").exists()
    assert all(word in out for word in ("rows     48", "tokens", "hours", "disk", "measured on 4 rows"))
    endpoint = ("--writer", "endpoint", "--url", "http://127.0.0.1:9/v1", "--price", "1,2")
    status, out, _ = ran(capsys, "instructions", captions, "--output", tmp_path / "run", "--model", "m", "--dry-run", *endpoint)
    assert status == 0 and "calls    16" in out and "cost" in out


def test_bad_captions_are_set_aside_counted_and_named_at_the_end(tuned, tmp_path, capsys):
    (tmp_path / "captions.txt").write_bytes(b"a dog at noon\n\ncaf\xe9\n" + b"x" * 10_000 + b"\na cat at noon\na dog at noon\n")
    status, _, err = ran(capsys, "instructions", tmp_path / "captions.txt", "--output", tmp_path / "run", "--model", tuned, *SMALL)
    assert status == 0 and err[0] == "2 of 2 rows are to be written."
    assert err[1].startswith("3 captions of") and all(
        place in err[1] for place in ("line 2 is empty", "line 3 is not UTF-8", "line 4 has 10,000")
    )
    assert [row["place"] for row in lines(tmp_path / "run" / "rejected.jsonl") if row["reason"] == "caption"] == [
        "line 2",
        "line 3",
        "line 4",
    ]


def broken(kind, tmp_path, tuned):
    run, captions = ["--output", tmp_path / "run"], [write_captions(tmp_path / "captions.txt", CAPTIONS[:2])]
    ready = ["--model", tuned]
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    (tmp_path / "torn.gguf").write_bytes(b"GGUF")
    (tmp_path / "rows.jsonl").write_text('{"input": "a dog"}\n')
    return {
        "no captions": [*run, *ready],
        "no model": [*captions, *run],
        "both": [*captions, *run, *ready, "--finetune", "seeds"],
        "no file": [tmp_path / "none.txt", *run, *ready],
        "no folder": [*captions, *run, "--model", tmp_path / "config" / "none"],
        "no weights": [*captions, *run, "--model", tmp_path / "full"],
        "no causal model": [*captions, *run, "--model", tmp_path / "config"],
        "a torn GGUF": [*captions, *run, "--model", tmp_path / "torn.gguf"],
        "a text as model": [*captions, *run, "--model", tmp_path / "rows.jsonl"],
        "a folder of somebody's": [*captions, "--output", tmp_path / "full", *ready],
        "part": [*captions, *run, *ready, "--part", "3/2"],
        "temperature": [*captions, *run, *ready, "--temperature", "-1"],
        "price": [*captions, *run, *ready, "--price", "cheap"],
        "cost": [*captions, *run, *ready, "--max-cost", "1"],
        "batch": [*captions, *run, *ready, "--batch", "0"],
        "words": [*captions, *run, *ready, "--words", tmp_path / "none"],
        "rows": ["--finetune", tmp_path / "rows.jsonl", *run, *ready],
        "no rows": ["--finetune", tmp_path / "none", *run, *ready],
        "merged of nothing": ["--merge", tmp_path / "full", *run],
    }[kind]


@pytest.mark.parametrize(
    "kind, why",
    [
        ("no captions", "Name captions, --merge or --finetune"),
        ("no model", "by --model"),
        ("both", "not CAPTIONS and --finetune"),
        ("no file", "no file of captions"),
        ("no folder", "causal language model"),
        ("no weights", "no config.json"),
        ("no causal model", "causal language model"),
        ("a torn GGUF", "causal language model"),
        ("a text as model", "no GGUF file"),
        ("a folder of somebody's", "is no run of instructions"),
        ("part", "--part is as 1/4"),
        ("temperature", "--temperature is from 0 to 2"),
        ("price", "--price is as"),
        ("cost", "--max-cost needs --price"),
        ("batch", "--batch is at least 1"),
        ("words", "none can't be read"),
        ("rows", "Line 1 of .* is no object with texts input, edit and output"),
        ("no rows", "none can't be read"),
        ("merged of nothing", "has no run.json"),
    ],
)
def test_what_can_not_be_used_is_one_sentence(kind, why, tuned, tmp_path, capsys):
    arguments = broken(kind, tmp_path, tuned)
    before = sorted(path for path in tmp_path.rglob("*"))
    status, out, err = ran(capsys, "instructions", *arguments)
    assert status == 2 and len(err) == 1 and not out
    assert re.search(why, err[0]), err[0]
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "package, arguments",
    [
        (
            "openai",
            lambda folder, tuned: [folder / "captions.txt", "--writer", "endpoint", "--model", "m", "--url", "http://127.0.0.1:9/v1"],
        ),
        ("peft", lambda folder, tuned: ["--finetune", "seeds", "--model", tuned]),
    ],
)
def test_an_absent_package_is_named_with_the_extra_that_brings_it(package, arguments, tuned, captions, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    status, _, (said,) = ran(capsys, "instructions", *arguments(tmp_path, tuned), "--output", tmp_path / "run")
    assert status == 2 and package in said and "'sd-webui-instruct-edit[data]'" in said


def test_the_folder_of_another_run_and_one_in_use_are_refused(tuned, captions, tmp_path, capsys):
    command = ("instructions", captions, "--output", tmp_path / "run", "--model", tuned, "--temperature", 0, *SMALL)
    assert ran(capsys, *command)[0] == 0
    for change, why in (
        (("--seed", 1), "its seed is 0, not 1"),
        (("--temperature", 0.5), "its temperature is 0.0, not 0.5"),
        (("--batch", 3), "batch"),
    ):
        status, _, (said,) = ran(capsys, *command, *change)
        assert status == 2 and why in said and "Choose another --output" in said
    with RunFolder(tmp_path / "run", {}):
        status, _, (said,) = ran(capsys, *command)
    assert status == 2 and "Another process is writing" in said


def test_a_damaged_line_in_the_middle_is_named(tuned, captions, tmp_path, capsys):
    command = ("instructions", captions, "--output", tmp_path / "run", "--model", tuned, "--temperature", 0, *SMALL)
    assert ran(capsys, *command)[0] == 0
    whole = content(tmp_path / "run")
    answers = (tmp_path / "run" / "answers.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "run" / "answers.jsonl").write_bytes(b"".join([*answers[:3], answers[3][:30] + b"\n", *answers[4:]]))
    status, _, (said,) = ran(capsys, *command)
    assert status == 2 and "Line 4 of" in said and "delete it" in said
    (tmp_path / "run" / "answers.jsonl").write_bytes(b"".join([*answers[:3], *answers[4:]]))
    assert ran(capsys, *command)[0] == 0
    assert {name: data for name, data in content(tmp_path / "run").items() if name != "answers.jsonl"} == {
        name: data for name, data in whole.items() if name != "answers.jsonl"
    }
