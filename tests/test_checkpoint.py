"""Edit checkpoints are recognised from their header, whatever is in the file, and nothing in it is ever run."""

import hashlib
import io
import json
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ip2p.checkpoints.recognise import FIRST_LAYER, describe, first_layer_shape, is_edit_checkpoint, sha256
from ip2p.errors import EditError


def state_dict(channels: int) -> dict:
    return {FIRST_LAYER: torch.zeros(6, channels, 3, 3), "model.diffusion_model.out.2.bias": torch.zeros(4)}


def with_header(header, data: bytes = b"") -> bytes:
    """A safetensors file with this header: bytes as they are, anything else as JSON."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def zipped(name: str, content: bytes, **options) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("channels, edits", [(8, True), (4, False), (9, False)])
def test_a_safetensors_file_is_recognised_by_its_first_layer(tmp_path, channels, edits):
    path = tmp_path / "model.safetensors"
    save_file(state_dict(channels), path, metadata={"modelspec.title": "a model"})
    assert first_layer_shape(path) == (6, channels, 3, 3)
    assert is_edit_checkpoint(path) is edits
    assert is_edit_checkpoint(str(path)) is edits


class Callback:
    """A class of the training code, which a reader has no reason to have."""

    def __init__(self):
        self.best = {"loss": 0.1}


@pytest.mark.parametrize("channels, edits", [(8, True), (4, False)])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer_states": [{"lr": 1e-4}]},
        lambda state: {"callbacks": {Callback: Callback()}, "state_dict": state},
        lambda state: {"hyper": [Callback(), {1, 2}, Path("x"), torch.float16, torch.Size([1])], "state_dict": state},
        lambda state: {"state_dict": {k: torch.nn.Parameter(v.half()) for k, v in state.items()}},
    ],
    ids=["bare", "nested", "foreign class", "odd things", "parameters"],
)
def test_a_ckpt_is_recognised_by_its_first_layer(tmp_path, channels, edits, wrap):
    path = tmp_path / "model.ckpt"
    torch.save(wrap(state_dict(channels)), path)
    assert first_layer_shape(path) == (6, channels, 3, 3)
    assert is_edit_checkpoint(path) is edits


def test_a_state_dict_with_metadata_is_recognised(tmp_path):
    """As `Module.state_dict()` gives it: an OrderedDict with an attribute of its own."""
    state = OrderedDict(state_dict(8))
    state._metadata = OrderedDict({"": {"version": 1}})
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    assert is_edit_checkpoint(tmp_path / "model.ckpt")


def test_another_kind_of_model_is_no_edit_checkpoint(tmp_path):
    save_file({"lora_down.weight": torch.zeros(4, 8, 3, 3)}, tmp_path / "lora.safetensors")
    torch.save({"string_to_param": {"*": torch.zeros(2, 768)}}, tmp_path / "embedding.pt")
    torch.save([torch.zeros(1)], tmp_path / "list.ckpt")
    assert not any(is_edit_checkpoint(path) for path in tmp_path.iterdir())


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_pickle_is_run(tmp_path):
    trap = tmp_path / "trap"
    path = tmp_path / "model.ckpt"
    torch.save({"callbacks": Malicious(trap), "state_dict": state_dict(8)}, path)
    assert is_edit_checkpoint(path), "its weights are an edit model's all the same"
    assert not trap.exists()
    torch.load(path, weights_only=False)
    assert trap.exists(), "the trap would have worked"


@pytest.mark.parametrize("part", [0, 4, 8, 20, -1])
def test_a_truncated_safetensors_file_is_no_checkpoint(tmp_path, part):
    """A download that broke off, in the header or in the data after it."""
    whole = tmp_path / "whole.safetensors"
    save_file(state_dict(8), whole)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(whole.read_bytes()[:part])
    assert not is_edit_checkpoint(broken)


@pytest.mark.parametrize("part", [0, 10, 500, -1])
def test_a_truncated_ckpt_is_no_checkpoint(tmp_path, part):
    whole = tmp_path / "whole.ckpt"
    torch.save(state_dict(8), whole)
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(whole.read_bytes()[:part])
    assert not is_edit_checkpoint(broken)


def encrypted(archive: bytes) -> bytes:
    """The archive with its one entry marked as encrypted."""
    marked = bytearray(archive)
    marked[6] |= 1
    marked[archive.rfind(b"PK\x01\x02") + 8] |= 1
    return bytes(marked)


GARBAGE = {
    "length.safetensors": b"\xff" * 100,
    "longer_than_the_file.safetensors": struct.pack("<Q", 99_999_999) + b"{}",
    "not_json.safetensors": with_header(b"hello world"),
    "not_text.safetensors": with_header(b"\xff\xfe\xfd"),
    "deep.safetensors": with_header(b"[" * 200_000),
    "list.safetensors": with_header([1, 2]),
    "number.safetensors": with_header({FIRST_LAYER: 5}),
    "no_shape.safetensors": with_header({FIRST_LAYER: {"dtype": "F32"}}),
    "flat_shape.safetensors": with_header({FIRST_LAYER: {"dtype": "F32", "shape": 8, "data_offsets": [0, 0]}}),
    "short_shape.safetensors": with_header({FIRST_LAYER: {"dtype": "F32", "shape": [6, 8], "data_offsets": [0, 192]}}, bytes(192)),
    "page.ckpt": b"<!DOCTYPE html><html>404</html>",
    "legacy.ckpt": pickle.dumps(119547037146038801333356),
    "nothing_in_it.ckpt": zipped("readme.txt", b"hello"),
    "not_a_pickle.ckpt": zipped("archive/data.pkl", b"hello"),
    "number.ckpt": zipped("archive/data.pkl", pickle.dumps(5)),
    "deep.ckpt": zipped("archive/data.pkl", b"\x80\x02" + b"(" * 100_000 + b"l" * 100_000 + b"."),
    "huge.ckpt": zipped("archive/data.pkl", b"\x80\x05\x96" + b"\xff" * 8 + b"."),
    "encrypted.ckpt": encrypted(zipped("archive/data.pkl", pickle.dumps({}))),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_no_checkpoint_and_no_crash(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(GARBAGE[name])
    assert is_edit_checkpoint(path) is False


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_pickle_is_no_crash(tmp_path):
    whole = tmp_path / "whole.ckpt"
    torch.save({"state_dict": state_dict(8), "epoch": 3}, whole)
    with zipfile.ZipFile(whole) as archive:
        content = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    draw = random.Random(0)
    answers = set()
    for i in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 2, 3))):
            # Bytes of text and small numbers: a length of many terabytes is "huge.ckpt" above.
            damaged[draw.randrange(len(damaged))] = draw.randrange(128)
        path = tmp_path / f"{i}.ckpt"
        path.write_bytes(zipped("archive/data.pkl", bytes(damaged)))
        answers.add(is_edit_checkpoint(path))
    assert answers == {True, False}


def test_a_missing_file_or_a_folder_is_no_checkpoint(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    assert is_edit_checkpoint(tmp_path / "none.safetensors") is False
    assert is_edit_checkpoint(tmp_path / "folder.safetensors") is False


def test_a_replaced_file_is_looked_at_again(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(state_dict(4), path)
    assert not is_edit_checkpoint(path)
    save_file(state_dict(8), path)
    assert is_edit_checkpoint(path)


ATTENTION = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
FAMILIES = {
    "SD 1.x": ("cond_stage_model.transformer.text_model.final_layer_norm.weight", 768),
    "SD 2.x": ("cond_stage_model.model.ln_final.weight", 1024),
    "SDXL": ("conditioner.embedders.0.transformer.text_model.final_layer_norm.weight", 2048),
}


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
@pytest.mark.parametrize("dtype, precision", [(torch.float32, "fp32"), (torch.float16, "fp16"), (torch.bfloat16, "bf16")])
@pytest.mark.parametrize("with_text", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.filterwarnings("ignore:.*TypedStorage")
def test_a_checkpoint_is_described(tmp_path, family, with_text, dtype, precision, suffix):
    text, width = FAMILIES[family]
    state = {**state_dict(8), ATTENTION: torch.zeros(8, width), **({text: torch.zeros(width)} if with_text else {})}
    state = {name: tensor.to(dtype) for name, tensor in state.items()}
    state["model_ema.diffusion_modelout2bias"] = torch.zeros(100_000)
    state["positions"] = torch.arange(100_000)
    path = tmp_path / f"model.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    assert describe(path) == {
        "file": path.name,
        "bytes": path.stat().st_size,
        "format": "safetensors" if suffix == "safetensors" else "pickle",
        "family": family,
        "edit": True,
        "input_channels": 8,
        "precision": precision,
        "ema": True,
        "tensors": len(state),
    }


def test_a_mixed_precision_and_no_ema_are_told(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({**state_dict(4), ATTENTION: torch.zeros(1, 768, dtype=torch.float16)}, path)
    found = describe(path)
    assert (found["precision"], found["ema"], found["edit"], found["family"]) == ("mixed", False, False, "SD 1.x")


def test_the_hash_is_the_files_and_the_webuis_is_its_beginning(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(state_dict(8), path)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    found = describe(path, with_hash=True)
    assert found["sha256"] == sha256(path) == expected and found["short_hash"] == expected[:10]


def test_describing_runs_nothing_and_loads_nothing(tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    path = tmp_path / "model.ckpt"
    torch.save({"callbacks": Malicious(trap), "state_dict": {k: v.half() for k, v in state_dict(8).items()}}, path)
    monkeypatch.setattr(torch, "load", None)
    assert describe(path)["precision"] == "fp16"
    assert not trap.exists()


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_described_in_a_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(GARBAGE[name])
    try:
        assert not describe(path)["edit"]
    except EditError as e:
        assert str(e).endswith("no checkpoint.")
