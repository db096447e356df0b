"""mine + (edit − base): right to the bit where it can be, and never more than a few tensors in memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ip2p.checkpoints.merge import merge
from ip2p.checkpoints.recognise import FIRST_LAYER, is_edit_checkpoint
from ip2p.errors import EditError

ROOT = Path(__file__).resolve().parents[1]
ATTENTION = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
TEXT = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
VAE = "first_stage_model.encoder.conv_in.weight"


def state(seed: int, channels: int = 4, dtype=torch.float32) -> dict:
    draw = torch.Generator().manual_seed(seed)
    made = {FIRST_LAYER: (8, channels, 3, 3), ATTENTION: (8, 768), TEXT: (768,), VAE: (8, 3, 3, 3)}
    return {
        **{name: torch.randn(shape, generator=draw).to(dtype) for name, shape in made.items()},
        POSITIONS: torch.arange(77)[None],
    }


@pytest.fixture
def files(tmp_path):
    """mine, edit and base as states; saved by `write`."""
    states = {"mine": state(1), "edit": state(2, 8), "base": state(3)}

    def write() -> list[Path]:
        for name, tensors in states.items():
            save_file(tensors, tmp_path / f"{name}.safetensors")
        return [tmp_path / f"{name}.safetensors" for name in ("mine", "edit", "base", "out")]

    return states, write


def test_the_difference_is_added(files):
    states, write = files
    mine, edit, base, out = write()
    done = merge(mine, edit, base, out)
    merged = load_file(out)
    for name in (ATTENTION, TEXT, VAE):
        expected = states["mine"][name].double() + states["edit"][name].double() - states["base"][name].double()
        torch.testing.assert_close(merged[name].double(), expected, atol=1e-6, rtol=0)
    assert is_edit_checkpoint(out)
    assert sorted(done.added) == sorted([FIRST_LAYER, ATTENTION, TEXT, VAE]) and done.edit_only == [POSITIONS]
    assert torch.equal(merged[POSITIONS], states["edit"][POSITIONS])


def test_the_first_layers_new_channels_are_the_edit_models(files):
    states, write = files
    mine, edit, base, out = write()
    merge(mine, edit, base, out)
    first = load_file(out)[FIRST_LAYER]
    assert torch.equal(first[:, 4:], states["edit"][FIRST_LAYER][:, 4:])
    expected = states["mine"][FIRST_LAYER] + states["edit"][FIRST_LAYER][:, :4] - states["base"][FIRST_LAYER]
    torch.testing.assert_close(first[:, :4], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_nobody_trained_keeps_its_bits(files, dtype):
    states, write = files
    states |= {"mine": state(1, dtype=dtype), "edit": state(2, 8, dtype), "base": state(3, dtype=dtype)}
    states["mine"][ATTENTION] = states["base"][ATTENTION].clone()
    states["edit"][VAE] = states["base"][VAE].clone()
    mine, edit, base, out = write()
    merge(mine, edit, base, out)
    merged = load_file(out)
    assert torch.equal(merged[ATTENTION], states["edit"][ATTENTION])
    assert torch.equal(merged[VAE], states["mine"][VAE])


def test_precisions_mix_and_the_edit_models_is_stored(files):
    states, write = files
    states |= {"mine": state(1), "edit": state(2, 8, torch.float16), "base": state(3, dtype=torch.bfloat16)}
    mine, edit, base, out = write()
    merge(mine, edit, base, out)
    expected = states["mine"][ATTENTION] + states["edit"][ATTENTION].float() - states["base"][ATTENTION].float()
    torch.testing.assert_close(load_file(out)[ATTENTION], expected.half(), atol=2e-3, rtol=2e-3)
    assert {t.dtype for t in load_file(out).values()} == {torch.float16, torch.int64}


def test_half_stores_fp16(files):
    states, write = files
    mine, edit, base, out = write()
    merge(mine, edit, base, out, half=True)
    assert {t.dtype for t in load_file(out).values()} == {torch.float16, torch.int64}
    states["edit"][VAE] *= 1e6
    mine, edit, base, out = write()
    with pytest.raises(EditError, match="65504"):
        merge(mine, edit, base, out, half=True, force=True)


def test_keys_of_one_side_are_told(files):
    states, write = files
    states["mine"]["model.diffusion_model.extra.weight"] = torch.ones(1)
    states["mine"]["alphas_cumprod"] = torch.ones(1)
    states["edit"]["model.diffusion_model.new.weight"] = torch.ones(1)
    states["edit"]["model_ema.diffusion_modelnewweight"] = torch.ones(1)
    mine, edit, base, out = write()
    done = merge(mine, edit, base, out)
    assert done.mine_only == ["model.diffusion_model.extra.weight"]
    assert done.left_out == ["model_ema.diffusion_modelnewweight"]
    assert "model.diffusion_model.new.weight" in done.edit_only
    assert set(load_file(out)) == {*state(0), "model.diffusion_model.new.weight"}


def test_text_weights_are_found_without_their_prefix(files):
    states, write = files
    states["mine"][TEXT.replace("text_model.", "")] = states["mine"].pop(TEXT)
    mine, edit, base, out = write()
    done = merge(mine, edit, base, out)
    assert TEXT in done.added and not done.mine_only


def test_a_ckpt_can_be_merged(files, tmp_path):
    states, write = files
    mine, edit, base, out = write()
    torch.save({"state_dict": states["mine"]}, tmp_path / "mine.ckpt")
    merge(mine, edit, base, out)
    merge(tmp_path / "mine.ckpt", edit, base, tmp_path / "again.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(load_file(out).values(), load_file(tmp_path / "again.safetensors").values()))


def test_what_does_not_fit_is_refused_in_a_sentence(files, tmp_path):
    states, write = files
    mine, edit, base, out = write()
    with pytest.raises(EditError, match="no edit model: its UNet has 4 input channels"):
        merge(mine, mine, base, out)
    with pytest.raises(EditError, match="There is no file"):
        merge(tmp_path / "none.safetensors", edit, base, out)
    (tmp_path / "bad.safetensors").write_bytes(b"hello")
    with pytest.raises(EditError, match="damaged"):
        merge(tmp_path / "bad.safetensors", edit, base, out)
    states["mine"][ATTENTION] = torch.zeros(8, 1024)
    mine, edit, base, out = write()
    with pytest.raises(EditError, match=r"another family: .* is 8x1024 but in the edit model 8x768"):
        merge(mine, edit, base, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.safetensors",
        "base.safetensors",
        "edit.safetensors",
        "mine.safetensors",
    ]


def test_nothing_is_overwritten_unless_forced(files):
    _, write = files
    mine, edit, base, out = write()
    out.write_text("mine")
    with pytest.raises(EditError, match="--force"):
        merge(mine, edit, base, out)
    assert out.read_text() == "mine"
    merge(mine, edit, base, out, force=True)
    assert is_edit_checkpoint(out)


def test_a_full_disk_leaves_nothing_behind(files, monkeypatch):
    _, write = files
    mine, edit, base, out = write()

    def full(path, *rest):
        Path(path).write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ip2p.checkpoints.merge.write_safetensors", full)
    with pytest.raises(EditError, match="no space left on device"):
        merge(mine, edit, base, out)
    assert len(list(out.parent.iterdir())) == 3


MEASURE = """
import sys, threading
from pathlib import Path
import torch
from ip2p.checkpoints.merge import merge

def memory():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))

def watch():
    while not done.wait(0.001):
        peaks.append(memory())

torch.zeros(1).add_(1)
before, peaks, done = memory(), [0], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
merge(*map(Path, sys.argv[1:]))
done.set()
watcher.join()
print(max(peaks) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read as Linux tells it")
def test_a_few_tensors_are_in_memory_at_a_time(tmp_path):
    """Pages of the files that the system can drop at any time are not counted."""
    for name, channels in (("mine", 4), ("edit", 8), ("base", 4)):
        tensors = {f"model.diffusion_model.{i}.weight": torch.rand(1024, 1024) for i in range(32)}
        save_file({**state(1, channels), **tensors}, tmp_path / f"{name}.safetensors")
    paths = [tmp_path / f"{name}.safetensors" for name in ("mine", "edit", "base", "out")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", MEASURE, *map(str, paths)], env=env, capture_output=True, text=True, check=True)
    size, peak = paths[3].stat().st_size, int(done.stdout)
    print(f"peak {peak / 1e6:.0f} MB above the imports, one file {size / 1e6:.0f} MB")
    assert size > 130e6 and peak < 0.5 * size
    with safe_open(paths[3], "pt") as file:
        assert len(file.keys()) == 37
