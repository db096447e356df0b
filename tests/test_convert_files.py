"""What a conversion leaves on the disk: what comes along, what is left out, and nothing half when it fails or is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file

from convert_cases import listing, same_bits
from ip2p.__main__ import main
from ip2p.checkpoints.convert import convert
from ip2p.checkpoints.keys import POSITIONS, ema_name
from ip2p.checkpoints.merge import merge
from ip2p.checkpoints.packaged import SMALL
from ip2p.checkpoints.recognise import UNET, describe, is_edit_checkpoint
from ip2p.checkpoints.tensors import Weights
from ip2p.edit import Edit
from ip2p.editor import Editor
from ip2p.errors import EditError


def with_extras(path: Path) -> dict:
    """EMA weights, another number each, schedule and training state put into a file; gives the state."""
    state = load_file(path)
    state |= {ema_name(name): tensor + 1 for name, tensor in state.items() if name.startswith(UNET)}
    state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(3, dtype=torch.int32)}
    state |= {"alphas_cumprod": torch.rand(1000), "betas": torch.rand(1000)}
    save_file(state, path)
    return state


def test_ema_weights_are_taken_when_asked_for_and_listed_when_not(ldm_file, tmp_path):
    state = with_extras(ldm_file)
    networks = {name for name in load_file(ldm_file) if name.startswith((UNET, "first_stage_model.", "cond_stage_model."))}
    plain, averaged = convert(ldm_file, tmp_path / "plain"), convert(ldm_file, tmp_path / "averaged", ema=True)
    assert set(plain.left_out) == set(state) - networks | {POSITIONS}
    assert {"alphas_cumprod", "model_ema.decay", UNET + "out.2.weight"} < set(averaged.left_out)
    convert(tmp_path / "averaged", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert same_bits(
        {name: state[ema_name(name)] for name in networks if name.startswith(UNET)}, {n: t for n, t in back.items() if UNET in n}
    )
    assert same_bits({name: state[name] for name in networks if UNET not in name}, {n: t for n, t in back.items() if UNET not in n})


def test_a_file_is_made_smaller(ldm_file, tmp_path):
    state = with_extras(ldm_file)
    done = convert(ldm_file, tmp_path / "small.safetensors", ema=True, half=True)
    small = load_file(tmp_path / "small.safetensors")
    assert torch.equal(small[UNET + "out.2.weight"], state["model_ema.diffusion_modelout2weight"].half())
    assert describe(tmp_path / "small.safetensors")["precision"] == "fp16" and not describe(tmp_path / "small.safetensors")["ema"]
    assert len(small) == done.kept + 1
    before, after = (OmegaConf.load(tmp_path / f"{name}.yaml").model.params for name in ("ldm", "small"))
    for params, name in ((before, "ldm"), (after, "small")):
        assert params.cond_stage_config.params.pop("version") == str(tmp_path / f"{name}.clip")
    assert before == after
    assert (tmp_path / "small.safetensors").stat().st_size < 0.35 * ldm_file.stat().st_size


def test_convert_and_merge_from_the_command_line(ldm_file, tmp_path, capsys):
    with_extras(ldm_file)
    assert main(["model", "convert", str(ldm_file), str(tmp_path / "folder"), "--ema"]) == 0
    told = capsys.readouterr().out
    assert "betas" in told and "Left out" in told
    assert main(["model", "merge", *[str(ldm_file)] * 3, str(tmp_path / "merged.safetensors")]) == 0
    assert "the difference was added to" in capsys.readouterr().out
    with Weights(ldm_file) as one, Weights(tmp_path / "merged.safetensors") as other:
        assert torch.equal(one.read(UNET + "out.2.weight"), other.read(UNET + "out.2.weight"))


def test_the_yaml_and_the_text_encoder_come_along_and_are_found_after_a_move(tmp_path):
    half, merged = tmp_path / "one" / "half.safetensors", tmp_path / "one" / "merged.safetensors"
    convert(SMALL.file, half, half=True)
    merge(*[SMALL.file] * 3, merged)
    expected = pixels(Editor.load("small", device="cpu"))
    for path in (half, merged):
        assert {f"{path.stem}.{suffix}" for suffix in ("clip", "yaml", "safetensors")} <= {other.name for other in path.parent.iterdir()}
        assert np.abs(pixels(Editor.load(path, device="cpu")) - expected).max() <= 2
    moved = half.parent.rename(tmp_path / "two")
    assert np.abs(pixels(Editor.load(moved / half.name, device="cpu")) - expected).max() <= 2


def pixels(editor: Editor) -> np.ndarray:
    edit = Edit(
        image=Image.radial_gradient("L").resize((64, 64)).convert("RGB"), instruction="make it winter", seed=3, steps=2, width=64, height=64
    )
    return np.asarray(editor.edit(edit)[0].image, dtype=np.int16)


def test_a_ckpt_becomes_a_safetensors_file_of_the_same_name(ldm_file, tmp_path):
    state = load_file(ldm_file)
    torch.save({"state_dict": state}, tmp_path / "ldm.ckpt")
    ldm_file.unlink()
    before = listing(tmp_path)
    convert(tmp_path / "ldm.ckpt", ldm_file)
    assert same_bits(load_file(ldm_file), state) and listing(tmp_path).items() >= before.items()


def test_nothing_is_overwritten_unless_forced(made, ldm_file, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "mine.jpg").write_text("mine")
    for force in (False, True):
        with pytest.raises(EditError, match=r"--force|not overwritten"):
            convert(ldm_file, folder, force=force)
    assert (folder / "mine.jpg").read_text() == "mine"
    convert(ldm_file, tmp_path / "model")
    with pytest.raises(EditError, match="--force"):
        convert(ldm_file, tmp_path / "model")
    convert(ldm_file, tmp_path / "model", force=True)
    with pytest.raises(EditError, match="--force"):
        convert(made, ldm_file)
    convert(made, ldm_file, force=True)
    assert is_edit_checkpoint(ldm_file)


def test_a_full_disk_leaves_nothing_behind(ldm_file, tmp_path, monkeypatch):
    def full(path, *rest):
        Path(path).write_bytes(b"some")
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr("ip2p.checkpoints.convert.write_safetensors", full)
    with pytest.raises(EditError, match="no space left"):
        convert(ldm_file, tmp_path / "folder")
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def model(ldm_file, made, tmp_path):
    """A file and a folder to convert, in a place of their own."""
    folder = tmp_path / "model"
    folder.mkdir()
    for suffix in ("safetensors", "yaml", "clip"):
        (tmp_path / f"ldm.{suffix}").rename(folder / f"ldm.{suffix}")
    return {"file": folder / "ldm.safetensors", "folder": made}


@pytest.mark.parametrize("source", ["file", "folder"])
def test_a_failure_leaves_nothing_and_the_next_run_is_not_refused(model, source, tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()

    def full(path, *rest):
        Path(path).write_bytes(b"some")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ip2p.checkpoints.convert.write_safetensors", full)
        with pytest.raises(EditError, match="no space left"):
            convert(model[source], out / "model.safetensors")
    assert list(out.iterdir()) == []
    convert(model[source], out / "model.safetensors")
    assert {path.name for path in out.iterdir()} == {"model.clip", "model.yaml", "model.safetensors"}
    before = listing(out)
    with monkeypatch.context() as patched:
        patched.setattr("ip2p.checkpoints.convert.write_safetensors", full)
        with pytest.raises(EditError, match="no space left"):
            convert(model[source], out / "model.safetensors", half=True, force=True)
    assert listing(out) == before, "what was to be replaced is as it was"


KILLED = """
import os, signal, sys
from pathlib import Path
from ip2p.checkpoints import convert as module

source, output, moment = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
replace, write, count = os.replace, module.write_safetensors, 0

def replaced(*places):
    global count
    count += 1
    if count == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*places)

def written(*rest):
    if moment == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*rest)

os.replace, module.write_safetensors = replaced, written
module.convert(source, output, force="--force" in sys.argv)
"""


@pytest.mark.skipif(os.name != "posix", reason="this system has no SIGKILL")
def test_a_killed_run_is_cleared_by_the_next(model, tmp_path):
    """Killed when the text encoder's folder is in its place and the weights are not."""
    out = tmp_path / "out"
    argv = [sys.executable, "-c", KILLED, str(model["file"]), str(out / "model.safetensors"), "2"]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}, capture_output=True)
    assert done.returncode == -9, done.stderr
    assert (out / "model.clip").exists() and not (out / "model.safetensors").exists()
    convert(model["file"], out / "model.safetensors")
    assert {path.name for path in out.iterdir()} == {f"model.{suffix}" for suffix in ("clip", "yaml", "safetensors")}
    assert same_bits(load_file(out / "model.safetensors"), load_file(model["file"]))
