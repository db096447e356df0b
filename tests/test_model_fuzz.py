"""Damaged models through every verb that takes one, the same ones every time. `IP2P_FUZZ=300 pytest -s tests/test_model_fuzz.py` tries as many
and prints what came back."""

import json
import os
import random
import shutil
import struct
import zipfile
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="the models of these tests need diffusers (pip install -e '.[edit]')")
import torch
from PIL import Image
from safetensors.torch import load_file

from ip2p.__main__ import main

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]
FUZZ = int(os.environ.get("IP2P_FUZZ", "24"))  # 300 are the promise
ODD = (True, None, -1, 0, 1.5, 1e300, 2**40, 2**70, "", "x" * 300, "\ud800", [], {}, [-1], [[1]], "fp8", "../../x", "F8_E4M3")


def damaged_header(file: Path, draw: random.Random) -> None:
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    name = draw.choice([name for name in header if name != "__metadata__"])
    what = draw.choice(("dtype", "shape", "side", "data_offsets", "place", "all", "lost", "renamed", "metadata"))
    if what == "lost":
        del header[name]
    elif what == "renamed":
        header[draw.choice(("module.", "", "a" * 1000, "model.diffusion_model.")) + name[draw.randrange(6) :]] = header.pop(name)
    elif what == "all":
        header[name] = draw.choice(ODD)
    elif what == "metadata":
        header["__metadata__"] = draw.choice(ODD)
    elif what == "side" and header[name]["shape"]:
        header[name]["shape"][draw.randrange(len(header[name]["shape"]))] = draw.choice(ODD)
    elif what == "place":
        header[name]["data_offsets"][draw.randrange(2)] = draw.choice(ODD)
    else:
        header[name][what if what in header[name] else "shape"] = draw.choice(ODD)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


def damaged_bytes(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if draw.random() < 0.3:
        content = content[: draw.randrange(len(content))]
    else:
        for _ in range(draw.choice((1, 3, 30))):
            content[draw.randrange(min(len(content), 3000))] = draw.randrange(256)
    file.write_bytes(content)


def damaged_json(file: Path, draw: random.Random) -> None:
    content = json.loads(file.read_text(encoding="utf8"))
    key = draw.choice(list(content))
    if draw.random() < 0.3:
        del content[key]
    else:
        content[key] = draw.choice(ODD)
    file.write_text(json.dumps(content), encoding="utf8")


def damaged_pickle(file: Path, draw: random.Random) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    (name,) = (name for name in entries if name.endswith("data.pkl"))
    content = bytearray(entries[name])
    for _ in range(draw.choice((1, 2, 5))):
        content[draw.randrange(len(content))] = draw.randrange(256)
    with zipfile.ZipFile(file, "w") as archive:
        for other, data in {**entries, name: bytes(content)}.items():
            archive.writestr(other, data)


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory):
    """One model as a diffusers folder, as a file with what belongs to it, and as a .ckpt."""
    from ip2p.checkpoints.convert import convert

    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(made, folder / "folder")
    convert(made, folder / "file" / "model.safetensors")
    (folder / "ckpt").mkdir()
    torch.save({"state_dict": load_file(folder / "file" / "model.safetensors"), "epoch": 3}, folder / "ckpt" / "model.ckpt")
    for suffix in (".yaml", ".clip"):
        source = (folder / "file" / "model").with_suffix(suffix)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / "ckpt" / source.name)
    Image.new("RGB", (64, 64), "grey").save(folder / "photo.png")
    return folder


def damage(folder: Path, draw: random.Random) -> tuple[Path, str]:
    """Spoils something of the model in `folder` → what to name the model by, and what was done."""
    kind = draw.choice(("file", "file", "ckpt", "folder"))
    files = [path for path in sorted((folder / kind).rglob("*")) if path.is_file()]
    weights = [path for path in files if path.suffix == ".safetensors"]
    configs = [path for path in files if path.suffix == ".json" and isinstance(json.loads(path.read_text(encoding="utf8")), dict)]
    ways = [(damaged_json, configs), (damaged_bytes, files)]
    if weights:
        ways.append((damaged_header, weights))
    if kind == "ckpt":
        ways.append((damaged_pickle, [folder / kind / "model.ckpt"]))
    way, among = draw.choice([(way, among) for way, among in ways if among])
    file = draw.choice(among)
    way(file, draw)
    model = folder / kind / {"file": "model.safetensors", "ckpt": "model.ckpt", "folder": ""}[kind]
    return model, f"{way.__name__} of {file.relative_to(folder)}"


def test_a_damaged_model_is_used_or_refused_in_a_sentence(whole, tmp_path, capsys):
    draw, statuses = random.Random(0), Counter()
    for number in range(FUZZ):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        model, done = damage(folder, draw)
        sound = str(whole / "file" / "model.safetensors")
        verb, argv = draw.choice(
            (
                ("info", ["model", "info", str(model)]),
                ("convert", ["model", "convert", str(model), str(folder / "out.safetensors"), *draw.choice(([], ["--half"]))]),
                ("convert", ["model", "convert", str(model), str(folder / "out")]),
                ("merge", ["model", "merge", str(model), sound, sound, str(folder / "merged.safetensors")]),
                ("edit", ["edit", str(folder / "photo.png"), "make it winter", "--output", str(folder / "o.png"), "--model", str(model),
                          "--steps", "1", "--size", "64"]),
            )
        )  # fmt: skip
        try:
            status = main(argv)
        except SystemExit as e:
            status = e.code
        except BaseException as e:
            raise AssertionError(f"{number}: {done}: {' '.join(argv)}") from e
        said = capsys.readouterr().err
        assert status in (0, 2), f"{number}: {done}: {' '.join(argv)}: {status}"
        assert "Traceback" not in said, f"{number}: {done}: {said}"
        if status:
            assert len(said.strip().splitlines()) == 1, f"{number}: {done}: {said}"
            assert not (folder / "out.safetensors").exists() and not (folder / "out").exists() and not (folder / "o.png").exists(), done
        statuses[verb, status] += 1
        shutil.rmtree(folder)
    print(dict(sorted(statuses.items())))
    assert {status for _, status in statuses} == {0, 2}
