"""Networks ready to use, from a diffusers folder, a single LDM file, or the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from ..errors import EditError
from ..scale_input import FEATURES
from .clip import tokenizer
from .defaults import defaults_for
from .diffusers_folder import (
    WEIGHTS,
    check_config,
    check_fit,
    check_folder,
    prediction_type_of,
    read_json,
    shapes,
    sources_in,
    without_weights,
)
from .ldm_file import ldm_file
from .packaged import BY_NAME, HUB, OFFICIAL
from .student import NO_MATRIX
from .tensors import Source, Weights


def load_networks(model: str) -> dict[str, Any]:
    """model: a folder, a file, a name on the hub, `official` or one of `packaged` → the arguments of `Editor`, on the CPU. Raises EditError.

    A name on the hub, which `official` stands for, asks the network, and so does a file when no CLIP vocabulary is on this machine.
    """
    if own := BY_NAME.get(model):
        return {**read_file(own.file), "name": own.in_webui}  # an infotext names it as the WebUI does
    if model == OFFICIAL:
        model = HUB
    path = Path(model).expanduser()
    if path.is_file():
        return read_file(path)
    if path.is_dir():
        return read_folder(path)
    return read_hub(checked_name(model))


def checked_name(model: str) -> str:
    """What is neither a file nor a folder, as a name on the hub. Raises EditError."""
    if Path(model).suffix.lower() in (".safetensors", ".ckpt") or not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise EditError(f"There is no model {model}: give a diffusers folder, a .safetensors or .ckpt file, or a name on the hub.")
    return model


def input_channels(model: str) -> int:
    """Of the network of a model that `load_networks` takes, whose weights are not read. Raises EditError as there, and like there asks the
    network for a name on the hub."""
    from diffusers import UNet2DConditionModel

    path = BY_NAME[model].file if model in BY_NAME else Path(HUB if model == OFFICIAL else model).expanduser()
    if path.is_file():
        with Weights(path) as weights:
            return ldm_file(path, weights).configs["unet"]["in_channels"]
    if path.is_dir():
        check_folder(path)
        return read_json(path / "unet" / "config.json")["in_channels"]
    name = checked_name(model)
    try:
        return UNet2DConditionModel.load_config(name, subfolder="unet")["in_channels"]
    except Exception as e:  # as in `read_hub`
        raise not_on_the_hub(name, e) from e


def read_folder(folder: Path) -> dict[str, Any]:
    """A diffusers folder on this machine, whatever its weights' files are called. Raises EditError."""
    from transformers import CLIPTokenizer

    check_folder(folder)
    networks: dict[str, Any] = {}
    for part in WEIGHTS:
        config = read_json(folder / part / "config.json")
        check_config(folder, part, config)
        with ExitStack() as stack:
            sources, expected = sources_in(folder, part, stack), shapes(part, config)
            check_fit(folder / part, sources, expected, extras=True)
            networks[part] = loaded(part, config, {name: sources[name] for name in expected}, expected)
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    try:
        networks["tokenizer"] = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
    except Exception as e:  # a file of any content
        raise EditError(f"The model {folder} can't be read: its tokenizer is damaged or of another kind: {first_line(e)}") from e
    networks |= baked(folder, networks["unet"])
    return {**networks, "name": folder.resolve().name, "prediction_type": prediction_type_of(folder, scheduler)}


def read_hub(name: str) -> dict[str, Any]:
    """A model on the hub, or in its cache on this machine. Raises EditError."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    try:
        check_config(Path(name), "unet", UNet2DConditionModel.load_config(name, subfolder="unet"))
        networks = {
            "unet": UNet2DConditionModel.from_pretrained(name, subfolder="unet"),
            "vae": AutoencoderKL.from_pretrained(name, subfolder="vae"),
            "text_encoder": CLIPTextModel.from_pretrained(name, subfolder="text_encoder"),
            "tokenizer": CLIPTokenizer.from_pretrained(name, subfolder="tokenizer"),
        }
        scheduler = DDIMScheduler.load_config(name, subfolder="scheduler")
    except EditError:
        raise
    except Exception as e:  # the hub, diffusers and transformers raise many
        raise not_on_the_hub(name, e) from e
    return {**networks, "name": name, "prediction_type": prediction_type_of(Path(name), scheduler)}


def not_on_the_hub(name: str, error: Exception) -> EditError:
    where = "on the hub or in its cache; without a network give a folder or a file"
    return EditError(f"The model {name} can't be read {where}: {first_line(error)}")


def read_file(path: Path) -> dict[str, Any]:
    """A single LDM file of SD 1.x's kind, its configuration from the yaml of the same name, else that of SD 1.x or instruct-pix2pix.

    Raises EditError."""
    with Weights(path) as weights:
        file = ldm_file(path, weights)
        networks = {
            part: loaded(part, file.configs[part], sources, shapes(part, file.configs[part])) for part, sources in file.networks.items()
        }
    words = tokenizer(file.clip, file.configs["text_encoder"]["vocab_size"])
    prediction_type = "v_prediction" if file.params.get("parameterization") == "v" else "epsilon"
    return {**networks, **baked(path, networks["unet"]), "tokenizer": words, "name": path.stem, "prediction_type": prediction_type}


def baked(model: Path, unet: Any) -> dict[str, Any]:
    """`baked_scales` of a student, nothing of another model. Raises EditError for a student that can't be told any."""
    suited = defaults_for(str(model))
    if suited.passes > 1:
        return {}
    if unet.config.time_cond_proj_dim != FEATURES:
        raise EditError(f"{model} {NO_MATRIX}.")
    return {"baked_scales": (suited.text_scale, suited.image_scale)}


def loaded(part: str, config: dict, sources: Mapping[str, Source], expected: Mapping[str, tuple[int, ...]]) -> torch.nn.Module:
    """The network with that configuration and these weights, in float32. sources, expected: by today's names without `text_model.`."""
    network = without_weights(part, config)
    prefix = "text_model." if any(name.startswith("text_model.") for name in network.state_dict()) else ""  # of transformers before 5
    state = {prefix + name: source.weights.read(source.name).reshape(expected[name]).float() for name, source in sources.items()}
    network.load_state_dict(state, strict=False, assign=True)
    if part == "text_encoder":  # counts from 0, which no file has to hold
        for module in network.modules():
            if isinstance(ids := getattr(module, "position_ids", None), torch.Tensor):
                module.position_ids = torch.arange(ids.shape[-1])[None]
    return network.eval()


def first_line(error: Exception) -> str:
    return json.dumps(str(error).strip().partition("\n")[0][:200], ensure_ascii=False)
