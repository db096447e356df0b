"""Where the editor's networks come from: a diffusers folder, a single LDM file, or the Hugging Face hub."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..errors import EditError
from . import small
from .clip import clip_folder, text_config, tokenizer
from .ldm import norm_groups, read_yaml, standard
from .recognise import EDIT_CHANNELS, FIRST_LAYER, TEXT_1, UNET, VAE


def load_networks(model: str) -> dict:
    """model: a folder, a file, a name on the hub, `small` or `official` → the arguments of `Editor`, on the CPU. Raises EditError.

    A name on the hub, which `official` stands for, asks the network, and so does a file when no CLIP vocabulary is on this machine.
    """
    if model == small.NAME:
        return {**read_file(small.FILE), "name": small.IN_WEBUI}  # an infotext names it as the WebUI does
    if model == small.OFFICIAL:
        model = small.HUB
    path = Path(model).expanduser()
    if path.is_file():
        return read_file(path)
    if path.is_dir():
        if not (path / "unet").is_dir():
            raise EditError(f"The folder {path} holds no model: it has no “unet” folder.")
        return read_folder(str(path), path.resolve().name, local_files_only=True)
    if path.suffix in (".safetensors", ".ckpt") or not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise EditError(f"There is no model {model}: give a diffusers folder, a .safetensors or .ckpt file, or a name on the hub.")
    return read_folder(model, model)


def read_folder(source: str, name: str, **options) -> dict:
    """A diffusers folder, here or on the hub."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    try:
        networks = {
            "unet": UNet2DConditionModel.from_pretrained(source, subfolder="unet", **options),
            "vae": AutoencoderKL.from_pretrained(source, subfolder="vae", **options),
            "text_encoder": CLIPTextModel.from_pretrained(source, subfolder="text_encoder", **options),
            "tokenizer": CLIPTokenizer.from_pretrained(source, subfolder="tokenizer", **options),
        }
        scheduler = DDIMScheduler.load_config(source, subfolder="scheduler", **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
        where = "in this folder" if options else "on the hub or in its cache; without a network give a folder or a file"
        raise EditError(f"The model {source} can't be read {where}: {first_line(e)}") from e
    return {**networks, "name": name, "prediction_type": scheduler.get("prediction_type", "epsilon")}


def read_file(path: Path) -> dict:
    """A single LDM file of SD 1.x's kind, its configuration from the yaml of the same name, else that of SD 1.x or instruct-pix2pix."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils as ldm
    from transformers import CLIPTextConfig, CLIPTextModel

    state = read_state(path)
    yaml = path.with_suffix(".yaml")
    for part, prefix in (("UNet", UNET), ("VAE", VAE), ("CLIP text encoder", TEXT_1)):
        if not any(key.startswith(prefix) for key in state):
            raise EditError(f"{path.name} has no {part} of SD 1.x's kind: convert the model to a diffusers folder.")
    channels = state[FIRST_LAYER].shape[1] if FIRST_LAYER in state else EDIT_CHANNELS
    params = read_yaml(yaml) if yaml.is_file() else standard(channels)
    try:
        config = {"model": {"params": params}}
        unet = ldm.create_unet_diffusers_config_from_ldm(config, state)
        vae = {**ldm.create_vae_diffusers_config_from_ldm(config, state), "norm_num_groups": norm_groups(params)}
        with torch.device("meta"):  # no memory and no time for weights that are replaced
            networks = {"unet": UNet2DConditionModel(**unet), "vae": AutoencoderKL(**vae)}
        filled(networks["unet"], ldm.convert_ldm_unet_checkpoint(state, unet))
        filled(networks["vae"], ldm.convert_ldm_vae_checkpoint(state, vae))
        folder = clip_folder(path, params)
        text = {
            key.removeprefix(TEXT_1): value for key, value in state.items() if key.startswith(TEXT_1) and not key.endswith("position_ids")
        }
        config = text_config(folder, {key: tuple(value.shape) for key, value in text.items()})
        networks["text_encoder"] = filled(CLIPTextModel(CLIPTextConfig.from_dict(config)), text)
    except (KeyError, RuntimeError, ValueError, AssertionError, TypeError) as e:
        hint = (
            f"{yaml.name} does not describe it"
            if yaml.is_file()
            else f"it is no SD 1.x or instruct-pix2pix model and has no {yaml.name} beside it"
        )
        raise EditError(f"{path.name} can't be read: {hint} ({first_line(e)}).") from e
    prediction_type = "v_prediction" if params.get("parameterization") == "v" else "epsilon"
    return {**networks, "tokenizer": tokenizer(folder, config["vocab_size"]), "name": path.stem, "prediction_type": prediction_type}


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The plain weights of the three networks, in float32. Nothing in the file is run."""
    wanted = (UNET, VAE, TEXT_1)
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys() if key.startswith(wanted)}  # noqa: SIM118
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
    except (SafetensorError, OSError, RuntimeError, EOFError, AttributeError) as e:
        raise EditError(f"{path.name} can't be read: it is damaged or no checkpoint.") from e
    except pickle.UnpicklingError as e:
        raise EditError(f"{path.name} holds more than weights, which could be a program: use the .safetensors file of this model.") from e
    return {key: value.float() for key, value in state.items() if key.startswith(wanted) and value.is_floating_point()}


def filled(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The network with these weights; raises RuntimeError when they are not its own. transformers 5 has no `text_model.` prefix."""
    own = network.state_dict()
    if not own.keys() & state.keys():
        state = {key.removeprefix("text_model."): value for key, value in state.items()}
    network.load_state_dict(state, assign=True)
    return network.eval()


def first_line(error: Exception) -> str:
    return json.dumps(str(error).strip().partition("\n")[0][:200], ensure_ascii=False)
