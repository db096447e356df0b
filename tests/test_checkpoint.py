"""Edit checkpoints are recognised from their header, whatever is in the file, and nothing in it is ever run."""

import hashlib
import io
import json
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ip2p.checkpoints.recognise import FIRST_LAYER, describe, first_layer_shape, is_edit_checkpoint, refusal, sha256
from ip2p.checkpoints.tensors import Weights
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
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    (name,) = (name for name in entries if name.endswith("data.pkl"))
    content = entries.pop(name)
    draw = random.Random(0)
    answers = set()
    for i in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice((1, 2, 3))):
            # Bytes of text and small numbers: a length of many terabytes is "huge.ckpt" above.
            damaged[draw.randrange(len(damaged))] = draw.randrange(128)
        path = tmp_path / f"{i}.ckpt"
        with zipfile.ZipFile(path, "w") as archive:
            for other, data in {**entries, name: bytes(damaged)}.items():
                archive.writestr(other, data)
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


def entry(shape=(6, 8, 3, 3), start=0, end=None, dtype="F32") -> dict:
    """A tensor in a header; its data are of that shape unless `end` says something else."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, start + 1728 if end is None else end]}


LYING = {
    "a negative place": {FIRST_LAYER: entry(), "a": entry([1], -4, 0)},
    "a shape of more than there is": {FIRST_LAYER: entry((60, 8, 3, 3))},
    "a shape of less than there is": {FIRST_LAYER: entry((1, 8, 3, 3))},
    "an overlap": {FIRST_LAYER: entry(), "a": entry([432], 0, 1728)},
    "a gap": {FIRST_LAYER: entry(), "a": entry([1], 1732, 1736)},
    "more behind the tensors": {FIRST_LAYER: entry([3, 8, 3, 3], 0, 864)},
    "yes for a size": {FIRST_LAYER: entry((6, 8, 3, 3)), "a": entry([True], 1728, 1732)},
    "a broken number for a size": {FIRST_LAYER: entry((6.0, 8, 3, 3))},
    "a negative size": {FIRST_LAYER: entry((-6, 8, -3, 3))},
    "a size beyond all memory": {FIRST_LAYER: entry((6, 8, 3, 3)), "a": entry([1 << 62, 1 << 62, 0], 1728, 1728)},
    "an unknown dtype": {FIRST_LAYER: entry(), "a": entry([1], 1728, 1732, "X99")},
}


@pytest.mark.parametrize("lie", LYING)
def test_a_header_that_lies_is_refused_by_all_alike(tmp_path, lie):
    path = tmp_path / "model.safetensors"
    ends = [place["data_offsets"][1] for place in LYING[lie].values()]
    path.write_bytes(with_header(LYING[lie], bytes(max(ends) if "behind" not in lie else 1728)))
    assert not is_edit_checkpoint(path)
    with pytest.raises(EditError, match="can't be read"):
        describe(path)
    with pytest.raises(EditError, match="can't be read"), Weights(path):
        pass


OTHERS = {
    "CosXL-Edit": {"edm_vpred.sigma_max": torch.zeros(1), "conditioner.embedders.0.transformer.x": torch.zeros(1)},
    "Stable Zero123": {"cc_projection.weight": torch.zeros(1), "cond_stage_model.model.visual.proj": torch.zeros(1)},
    "Stable Video Diffusion": {"model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight": torch.zeros(1)},
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_models_that_only_look_like_edit_models_are_refused_by_name(tmp_path, name, suffix):
    path = tmp_path / f"model.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)({**state_dict(8), **OTHERS[name]}, path)
    assert not is_edit_checkpoint(path) and refusal(path).startswith(name)
    about = describe(path)
    assert about["edit"] is False and about["refusal"].startswith(name) and about["input_channels"] == 8


def test_a_plain_model_of_that_family_is_not_refused_as_an_edit_model(tmp_path):
    save_file({**state_dict(4), **OTHERS["CosXL-Edit"]}, tmp_path / "cosxl.safetensors")
    assert refusal(tmp_path / "cosxl.safetensors") is None and "refusal" not in describe(tmp_path / "cosxl.safetensors")


CKPT = {
    "of today": torch.save,
    "of torch before 1.6": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("release", CKPT)
@pytest.mark.parametrize("more", [{}, {"lr": np.float64(1e-4), "steps": np.arange(3)}, {"callback": Callback()}], ids=str)
def test_a_ckpt_has_one_answer_from_recognising_and_reading(tmp_path, release, more):
    """Whatever the release of torch and whatever else is in it: numbers of numpy, classes of a trainer."""
    path, half = tmp_path / "model.ckpt", state_dict(8)[FIRST_LAYER].half()
    weights = {
        FIRST_LAYER: half.copy_(torch.arange(half.numel()).reshape(half.shape)),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "part": torch.arange(10)[3:7],
        "expanded": torch.ones(()).expand(5, 5),
        "empty": torch.zeros(0, 3, dtype=torch.bfloat16),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "fp8": torch.ones(4).to(torch.float8_e4m3fn),
        "yes": torch.tensor([True, False]),
    }
    CKPT[release]({"state_dict": weights, **more}, path)
    assert is_edit_checkpoint(path) and describe(path)["edit"] and describe(path)["tensors"] == len(weights)
    with Weights(path) as read:
        for name, value in weights.items():
            again = read.read(name)
            assert again.dtype == value.dtype and torch.equal(again.float(), value.float()), name
    path.write_bytes(path.read_bytes()[:-40])
    assert not is_edit_checkpoint(path)
    for look in (describe, Weights):
        with pytest.raises(EditError, match="damaged, cut short or no checkpoint"):
            look(path)


def test_a_pickle_changes_no_class_of_ours(tmp_path):
    """It sets an attribute of what an OrderedDict is read as, and of a storage's class."""
    good, bad = tmp_path / "good.ckpt", tmp_path / "bad.ckpt"
    torch.save(OrderedDict(state_dict(8)), good)
    state = b"N}X\x03\x00\x00\x00getNsX\x06\x00\x00\x00updateNsX\x05\x00\x00\x00dtypeNs\x86b0"
    bad.write_bytes(zipped("archive/data.pkl", b"\x80\x02ccollections\nOrderedDict\n" + state + b"ctorch\nFloatStorage\n" + state + b"}."))
    assert not is_edit_checkpoint(bad)
    assert is_edit_checkpoint(good) and describe(good)["precision"] == "fp32"


LONG_TEXT = b"\x80\x02X" + (300_000_000).to_bytes(4, "little") + bytes(300_000_000) + b"0}."
BOMBS = {
    "a place in the memo": lambda: zipped("archive/data.pkl", b"\x80\x02Nr\xff\xff\xff\x03."),
    "bytes that are not there": lambda: zipped("archive/data.pkl", b"\x80\x05\x96" + (1 << 30).to_bytes(8, "little") + b"."),
    "kilobytes that unpack to a long text": lambda: zipped("archive/data.pkl", LONG_TEXT, compression=zipfile.ZIP_DEFLATED),
    "objects without end": lambda: zipped("archive/data.pkl", b"\x80\x02" + b"}" * 3_000_000 + b"."),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_little_memory(tmp_path, name):
    path = tmp_path / "model.ckpt"
    path.write_bytes(BOMBS[name]())
    tracemalloc.start()
    try:
        assert not is_edit_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 120_000_000
    finally:
        tracemalloc.stop()


def test_keys_that_take_for_ever_to_hash_and_dictionaries_that_hold_themselves_end(tmp_path):
    deep = b"\x80\x02}N" + b"2\x86" * 100 + b"Ns."  # ((…, …), (…, …)): 2 to the 100 steps for its hash
    (tmp_path / "deep.ckpt").write_bytes(zipped("archive/data.pkl", deep))
    assert not is_edit_checkpoint(tmp_path / "deep.ckpt")
    own: dict = {}
    own["state_dict"] = own
    torch.save(own, tmp_path / "own.ckpt")
    assert not is_edit_checkpoint(tmp_path / "own.ckpt") and describe(tmp_path / "own.ckpt")["tensors"] == 0
    with Weights(tmp_path / "own.ckpt") as weights:
        assert weights.tensors == {}


def test_a_suffix_in_capitals_is_read(tmp_path):
    path = tmp_path / "MODEL.SAFETENSORS"
    save_file(state_dict(8), path)
    assert is_edit_checkpoint(path) and describe(path)["format"] == "safetensors"
    with Weights(path) as weights:
        assert torch.equal(weights.read(FIRST_LAYER), state_dict(8)[FIRST_LAYER])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_what_is_no_regular_file_is_a_sentence_and_no_wait(tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    os.mkfifo(path)
    assert not is_edit_checkpoint(path)
    for look in (describe, Weights):
        with pytest.raises(EditError, match="not a regular file"):
            look(path)
