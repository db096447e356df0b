"""Models that the editor loads, and sentences for those that it can't."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers", reason="tests of the editor need diffusers and transformers (pip install -e '.[edit]')")
pytest.importorskip("transformers", reason="tests of the editor need transformers")

from editor_cases import difference
from ip2p.checkpoints.clip import STANDARD
from ip2p.checkpoints.ldm import standard
from ip2p.checkpoints.recognise import TEXT_1, UNET, VAE
from ip2p.editor import Editor
from ip2p.errors import EditError
from tiny_model import save_folder, tiny_editor

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, with numpy 2
    pytest.mark.usefixtures("one_thread_and_no_hub"),
]

ROOT = Path(__file__).resolve().parents[1]


def test_a_folder_is_loaded_without_a_network(editor, edit, tmp_path):
    save_folder(editor, tmp_path)
    loaded = Editor.load(tmp_path, device="cpu")
    assert (loaded.name, loaded.dtype, loaded.device.type) == (tmp_path.name, torch.float32, "cpu")
    assert difference(loaded.edit(edit)[0], editor.edit(edit)[0]) == 0
    assert Editor.load(str(tmp_path), device="cpu", dtype="bf16").dtype == torch.bfloat16


def test_what_is_no_edit_model_is_a_sentence(tmp_path):
    with pytest.raises(EditError, match="is not an edit model: its network has 4 input channels"):
        tiny_editor(channels=4)
    with pytest.raises(EditError, match="There is no model"):
        Editor.load(tmp_path / "missing.safetensors")
    with pytest.raises(EditError, match="holds no model"):
        Editor.load(tmp_path)
    for name in ("bad.safetensors", "bad.ckpt"):
        (tmp_path / name).write_bytes(b"\x08\0\0\0\0\0\0\0no model")
        with pytest.raises(EditError, match="can't be read"):
            Editor.load(tmp_path / name)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(EditError, match="has no UNet"):
        Editor.load(tmp_path / "other.ckpt")
    torch.save({prefix + "a": torch.zeros(1) for prefix in (UNET, VAE, TEXT_1)}, tmp_path / "odd.ckpt")
    for content in ("a: [", "model: {}"):
        (tmp_path / "odd.yaml").write_text(content)
        with pytest.raises(EditError, match=r"odd\.yaml is no configuration"):
            Editor.load(tmp_path / "odd.ckpt")


def test_a_damaged_folder_is_a_sentence(editor, tmp_path):
    save_folder(editor, tmp_path)
    os.truncate(tmp_path / "text_encoder" / "model.safetensors", 1000)
    with pytest.raises(EditError, match=r"model\.safetensors can't be read"):
        Editor.load(tmp_path)


def test_a_file_without_a_yaml_is_taken_for_instruct_pix2pix():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils as ldm
    from transformers import CLIPTextConfig, CLIPTextModel

    config = {"model": {"params": standard(8)}}
    with torch.device("meta"):
        unet = UNet2DConditionModel(**ldm.create_unet_diffusers_config_from_ldm(config, {}))
        vae = AutoencoderKL(**ldm.create_vae_diffusers_config_from_ldm(config, {}))
        text = CLIPTextModel(CLIPTextConfig(**STANDARD))
    # Stable Diffusion 1.5's, and four more input channels of 320 × 3 × 3.
    assert unet.num_parameters() == 859_520_964 + 4 * 320 * 9
    assert vae.num_parameters() == 83_653_863 and vae.config.scaling_factor == 0.18215
    assert text.num_parameters() == 123_060_480


def test_a_name_on_the_hub_without_a_network_is_a_sentence():
    script = "from ip2p.editor import Editor\ntry:\n    Editor.load('nobody/no-such-model')\nexcept ValueError as e:\n    print(type(e).__name__, e)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True
    )
    assert done.stdout.startswith("EditError The model nobody/no-such-model can't be read on the hub"), done.stderr
