"""Nothing in a checkpoint is run, and one that is damaged, lies or is made to harm is a sentence in little memory and time."""

import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from checkpoint_files import state_dict, with_header, zipped
from ip2p.checkpoints.recognise import FIRST_LAYER, describe, is_edit_checkpoint
from ip2p.checkpoints.tensors import Weights
from ip2p.errors import EditError


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


def test_describing_runs_nothing_and_loads_nothing(tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    path = tmp_path / "model.ckpt"
    torch.save({"callbacks": Malicious(trap), "state_dict": {k: v.half() for k, v in state_dict(8).items()}}, path)
    monkeypatch.setattr(torch, "load", None)
    assert describe(path)["precision"] == "fp16"
    assert not trap.exists()


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


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_described_in_a_sentence(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(GARBAGE[name])
    try:
        assert not describe(path)["edit"]
    except EditError as e:
        assert str(e).endswith("no checkpoint.")


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_what_is_no_regular_file_is_a_sentence_and_no_wait(tmp_path, suffix):
    path = tmp_path / f"model.{suffix}"
    os.mkfifo(path)
    assert not is_edit_checkpoint(path)
    for look in (describe, Weights):
        with pytest.raises(EditError, match="not a regular file"):
            look(path)
