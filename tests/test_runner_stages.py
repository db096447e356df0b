"""Pairs, instructions and edits of many pictures in two processes: the same files byte for byte, and rows set aside taken up again. For
pairs on Ray see test_kills_runners.py."""

import json
import multiprocessing
import multiprocessing.forkserver
import os
from dataclasses import fields

import pytest

pytest.importorskip("datasets", reason="pair sets need datasets (pip install -e '.[train]')")
import torch

from instruction_cases import write_captions
from ip2p.__main__ import main
from ip2p.cli import dataset_pairs
from ip2p.dataset.generated.text_to_image import TextToImage
from ip2p.dataset.open import open_pairs
from pair_runs import FAST, ROWS, DeadlyPairs, save_model, write_rows_file
from pair_sets import picture, tree
from test_cli_dataset import ran
from tiny_model import save_folder, tiny_editor

pytestmark = [
    pytest.mark.usefixtures("one_thread_and_no_hub", "own_cache"),
    pytest.mark.skipif(os.name != "posix", reason="it sends signals"),
]
TWO = ("--runner", "local", "--device", "cpu,cpu")
LOADED = (  # once, in the process that those of the devices are forked from
    "ip2p.dataset.generated.pair_stage",
    "ip2p.dataset.instructions.spread_writer",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.schedulers.scheduling_euler_ancestral_discrete",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
)


@pytest.fixture(scope="module", autouse=True)
def server():
    """Of processes; another one may be there from the tests before."""
    multiprocessing.set_forkserver_preload(list(LOADED))
    multiprocessing.forkserver.ensure_running()


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("painter") / "tiny")


@pytest.fixture
def rows(tmp_path):
    return write_rows_file(tmp_path / "rows.jsonl")


def drawn(capsys, painter, rows, output, *more):
    return ran(capsys, "pairs", rows, "--model", painter, "--output", output, *FAST, *more)


def test_pairs_are_the_same_in_one_process_and_in_two(painter, rows, tmp_path, capsys):
    assert drawn(capsys, painter, rows, tmp_path / "here")[0] == 0
    status, out, err = drawn(capsys, painter, rows, tmp_path / "two", *TWO)
    assert (status, err) == (0, []) and "10 pairs" in out
    assert tree(tmp_path / "two") == tree(tmp_path / "here")


def test_instructions_are_the_same_in_one_process_and_in_two(tuned, tmp_path, capsys):
    captions = write_captions(tmp_path / "captions.txt")
    options = ("--model", tuned, "--temperature", 0.7, "--batch", 3, "--max-tokens", 40)
    for name, runner in (("here", ("--runner", "here")), ("two", TWO)):
        (tmp_path / name).mkdir()
        assert ran(capsys, "instructions", captions, "--output", tmp_path / name / "run", *options, *runner)[0] == 0
    here = tree(tmp_path / "here")
    assert tree(tmp_path / "two") == here and any("answers" in name for name in map(str, here))


def test_a_folder_of_pictures_is_edited_the_same_in_two_processes(tmp_path, capsys):
    save_folder(tiny_editor(), tmp_path / "model")
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        picture(i, (64, 64)).save(tmp_path / "pictures" / f"{i}.png")
    (tmp_path / "pictures" / "bad.png").write_bytes(b"no picture")
    for name, runner in (("here", ()), ("two", TWO)):
        argv = ["edit", tmp_path / "pictures", "make it winter", "--output", tmp_path / name, "--model", tmp_path / "model"]
        assert main([str(part) for part in (*argv, "--steps", 2, "--seed", 1, "--size", 64, *runner)]) == 1
        out, err = capsys.readouterr()
        assert out == "3 edited, 0 there already, 1 failed.\n" and "bad.png: " in err
    assert tree(tmp_path / "two") == tree(tmp_path / "here")


def test_a_row_that_takes_its_process_with_it_is_set_aside_and_taken_up_again(painter, rows, tmp_path, capsys, monkeypatch):
    """The caption is deadly in the first run alone."""
    write_rows_file(rows, [row | {"output": f"a deadly {row['output']}"} if i == 2 else row for i, row in enumerate(ROWS)])
    assert drawn(capsys, painter, rows, tmp_path / "whole")[0] == 0
    stage_of = dataset_pairs.stage_of
    with monkeypatch.context() as patch:
        patch.setattr(dataset_pairs, "stage_of", lambda *given: as_deadly(stage_of(*given)))
        status, out, _ = drawn(capsys, painter, rows, tmp_path / "set", *TWO)
    assert status == 0 and "8 pairs; 1 rows were set aside" in out
    (aside,) = map(json.loads, (tmp_path / "set" / "set_aside.jsonl").read_text().splitlines())
    assert aside["id"] == "row2" and aside["reason"] == "it took its process with it 3 times"
    assert {pair.extra["id"] for pair in open_pairs(tmp_path / "set")} == {"row0", "row1", "row3", "row4"}
    before = tree(tmp_path / "set")
    assert drawn(capsys, painter, rows, tmp_path / "set")[0] == 0 and tree(tmp_path / "set") == before, "by itself it stays aside"
    captions = []
    draw_pairs = TextToImage.draw_pairs
    monkeypatch.setattr(TextToImage, "draw_pairs", lambda self, *given: captions.append(given[0][0]) or draw_pairs(self, *given))
    status, out, _ = drawn(capsys, painter, rows, tmp_path / "set", "--retry")
    assert status == 0 and "10 pairs.\n" in out and captions == [ROWS[2]["input"]], "no other row is drawn again"
    assert tree(tmp_path / "set") == tree(tmp_path / "whole")


def as_deadly(stage):
    return DeadlyPairs(**{field.name: getattr(stage, field.name) for field in fields(stage)})


def test_what_would_end_every_row_ends_the_run_and_sets_none_aside(painter, rows, tmp_path, capsys, monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(TextToImage, "latents", no_memory)
    status, _, (said,) = drawn(capsys, painter, rows, tmp_path / "set")
    assert status == 2 and "choose a smaller --size or --batch" in said
    assert not list((tmp_path / "set" / "finished").glob("*.json"))


@pytest.mark.parametrize(
    "options, why",
    [
        (("--workers", "2"), "--workers is of --runner ray"),
        (("--runner", "ray", "--device", "cpu"), "--device is of the other runners"),
        (("--runner", "here", "--device", "cpu,cpu"), "--runner here has one device"),
        (("--device", "cpu,cuda:0"), "devices of one kind"),
        (("--device", "toaster"), "--device is cuda, cuda:1 or cpu"),
        (("--runner", "ray", "--workers", "3,1"), "the lower number first"),
        (("--runner", "ray", "--workers", "all"), "--workers is a number"),
        (("--runner", "ray", "--gpus-per-worker", "-1"), "--gpus-per-worker is at least 0"),
    ],
)
def test_options_that_do_not_fit_the_runner_are_refused_in_a_sentence(options, why, painter, rows, tmp_path, capsys):
    command = ("pairs", rows, "--model", painter, "--output", tmp_path / "set")
    status, _, (said,) = ran(capsys, *command, *options)
    assert status == 2 and why in said and not (tmp_path / "set").exists()
