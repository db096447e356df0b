"""diffusers folders as others save them: loaded whatever their weights' files are called, or refused in a sentence that says why."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

import torch
from safetensors.torch import load_file, save_file

from ip2p.checkpoints.convert import convert
from ip2p.checkpoints.load import load_networks
from ip2p.checkpoints.merge import merge
from ip2p.checkpoints.recognise import FIRST_LAYER, TEXT_1, VAE
from ip2p.errors import EditError
from tiny_model import save_folder, tiny_editor

UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain") / "model"
    save_folder(tiny_editor(), folder)
    return folder


@pytest.fixture
def folder(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "model")


def as_variant(folder: Path) -> None:
    for part in ("unet", "vae", "text_encoder"):
        (file,) = (folder / part).glob("*.safetensors")
        file.rename(file.with_suffix(".fp16.safetensors"))


def as_bin(folder: Path) -> None:
    for part, name in (("unet", "diffusion_pytorch_model"), ("vae", "diffusion_pytorch_model"), ("text_encoder", "pytorch_model")):
        (file,) = (folder / part).glob("*.safetensors")
        torch.save(load_file(file), folder / part / f"{name}.bin")
        file.unlink()


def as_shards(folder: Path) -> None:
    state, places = load_file(folder / UNET_FILE), {}
    for i, names in enumerate((list(state)[::2], list(state)[1::2])):
        file = f"diffusion_pytorch_model-0000{i + 1}-of-00002.safetensors"
        save_file({name: state[name] for name in names}, folder / "unet" / file)
        places |= dict.fromkeys(names, file)
    (folder / f"{UNET_FILE}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / UNET_FILE).unlink()


def as_other_name(folder: Path) -> None:
    (folder / UNET_FILE).rename(folder / "unet" / "model.safetensors")


def with_prefix(prefix: str):
    def change(folder: Path) -> None:
        save_file({prefix + name: tensor for name, tensor in load_file(folder / UNET_FILE).items()}, folder / UNET_FILE)

    return change


@pytest.mark.parametrize(
    "change",
    [as_variant, as_bin, as_shards, as_other_name, with_prefix("_orig_mod."), with_prefix("module."), with_prefix("module._orig_mod.")],
    ids=["variant", "bin", "shards", "other name", "_orig_mod", "module", "both prefixes"],
)
def test_a_folder_loads_whatever_its_weights_are_called(plain, folder, change):
    expected = load_networks(str(plain))
    change(folder)
    networks = load_networks(str(folder))
    for part in ("unet", "vae", "text_encoder"):
        one, other = expected[part].state_dict(), networks[part].state_dict()
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one), part


def test_a_missing_shard_is_named(folder):
    as_shards(folder)
    (folder / "unet" / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()
    with pytest.raises(EditError, match=r"has no diffusion_pytorch_model-00002-of-00002\.safetensors, one of the 2 files"):
        load_networks(str(folder))


def test_a_missing_tensor_and_missing_weights_are_named(folder):
    state = load_file(folder / UNET_FILE)
    state.pop("conv_in.weight")
    save_file(state, folder / UNET_FILE)
    with pytest.raises(EditError, match=r"lacks conv_in\.weight"):
        load_networks(str(folder))
    (folder / UNET_FILE).unlink()
    with pytest.raises(EditError, match=r"has no unet/diffusion_pytorch_model\.safetensors"):
        load_networks(str(folder))


def test_a_trainer_s_checkpoint_says_what_is_missing_and_where_it_is(folder):
    for part in ("vae", "text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
    with pytest.raises(EditError, match=r"no folder “vae” and “text_encoder” and “tokenizer”.*model that the training started from"):
        load_networks(str(folder))


@pytest.mark.parametrize(
    "place, change, said",
    [
        ("model_index.json", {"_class_name": "StableDiffusionXLInstructPix2PixPipeline"}, "SDXL"),
        ("unet/config.json", {"addition_embed_type": "text_time"}, "SDXL"),
        ("model_index.json", {"_class_name": "StableVideoDiffusionPipeline"}, "no edit model"),
        ("model_index.json", {"_class_name": "MarigoldDepthPipeline"}, "no edit model"),
        ("unet/config.json", {"layers_per_block": 10**9}, "layers_per_block"),
        ("unet/config.json", {"block_out_channels": [8] * 1000}, "list"),
        ("unet/config.json", {"block_out_channels": "wide"}, "unet"),
        ("text_encoder/config.json", {"num_hidden_layers": 10**9}, "num_hidden_layers"),
    ],
)
def test_another_kind_of_folder_is_a_sentence(folder, place, change, said):
    file = folder / place
    file.write_text(json.dumps({**(json.loads(file.read_text()) if file.exists() else {}), **change}))
    with pytest.raises(EditError, match=said):
        load_networks(str(folder))
    with pytest.raises(EditError):
        convert(folder, folder.with_name("out.safetensors"))


def test_cosxl_is_refused_by_name_by_every_reader(tmp_path):
    path = tmp_path / "cosxl-edit.safetensors"
    state = {FIRST_LAYER: torch.zeros(6, 8, 3, 3), VAE + "a": torch.zeros(1), TEXT_1 + "a": torch.zeros(1)}
    save_file({**state, "edm_vpred.sigma_max": torch.zeros(1)}, path)
    for read in (
        lambda: load_networks(str(path)),
        lambda: convert(path, tmp_path / "out"),
        lambda: convert(path, tmp_path / "out.safetensors"),
        lambda: merge(path, path, path, tmp_path / "out.safetensors"),
    ):
        with pytest.raises(EditError, match="CosXL-Edit"):
            read()
    assert list(tmp_path.iterdir()) == [path]
