"""A checkpoint in one file, in LDM's format: its configuration, and where the weights of each network are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import EditError
from ..scale_input import FEATURES, KEY
from .clip import clip_folder, text_config
from .diffusers_folder import check_config, check_fit, normal, shapes
from .keys import Name, ema_name, names_in_ldm, text_name_in_ldm
from .ldm import read_yaml, standard, unet_config, vae_config
from .recognise import EDIT_CHANNELS, EMA, FIRST_LAYER, TEXT_1, UNET, VAE, family_of, refusal_of
from .tensors import Source, Weights, stored

SCALES = "time_embedding.cond_proj.weight"  # P of a student (`scale_input.py`) in diffusers
PARTS = {"UNet": UNET, "VAE": VAE, "CLIP text encoder": TEXT_1}


@dataclass(frozen=True)
class LDMFile:
    """params: the yaml's `model.params`, else SD 1.x's. clip: the folder of its text encoder, None for SD 1.x's own. configs: of
    the networks `unet`, `vae` and `text_encoder` in diffusers. networks: of each, diffusers' name of every tensor → where it is."""

    params: dict
    clip: Path | None
    configs: dict[str, dict]
    networks: dict[str, dict[str, Source]]


def ldm_file(path: Path, weights: Weights, ema: bool = False, half: bool = False) -> LDMFile:
    """Raises EditError when the file is no SD 1.x checkpoint, does not fit its configuration or lacks what is wanted."""
    params = params_of(path, weights)
    sources = sources_of(weights, ema, half)
    clip = clip_folder(path, params)
    configs = {
        "unet": unet_config(params) | ({"time_cond_proj_dim": FEATURES} if KEY in sources else {}),
        "vae": vae_config(params),
        "text_encoder": text_config(clip, {name.removeprefix(TEXT_1): s.tensor.shape for name, s in sources.items()}),
    }
    for part, config in configs.items():
        check_config(path, part, config)
    names, yaml = names_of(configs), path.with_suffix(".yaml")
    hint = f", {yaml.name}" if yaml.is_file() else f", which is SD 1.x's, as it has no {yaml.name} beside it"
    networks = {part: renamed(part, config, names[part], sources, path, hint) for part, config in configs.items()}
    taken = {name.ldm for part in names.values() for name in part.values()}
    if unknown := [name for name in sources if name.startswith(UNET) and name not in taken]:
        raise EditError(f"{path} does not fit its configuration{hint}: it has {unknown[0]}, which the network has not.")
    return LDMFile(params, clip, configs, networks)


def params_of(path: Path, weights: Weights) -> dict:
    """`model.params` of the yaml beside the file, else SD 1.x's. Raises EditError when it is no SD 1.x checkpoint."""
    check_supported(path, weights)
    first, family = weights.tensors.get(FIRST_LAYER), family_of(weights.tensors)
    if family not in ("SD 1.x", None) and first is not None:
        raise EditError(f"{path} is of the family {family}: only SD 1.x checkpoints can be used here; the WebUI's tab takes more.")
    for part, prefix in PARTS.items():
        if not any(name.startswith(prefix) for name in weights.tensors):
            raise EditError(f"{path} is no checkpoint of SD 1.x: it has no {part} of its kind.")
    yaml = path.with_suffix(".yaml")
    if yaml.is_file():
        return read_yaml(yaml)
    return standard(first.shape[1] if first is not None and len(first.shape) == 4 else EDIT_CHANNELS)


def check_supported(path: Path, weights: Weights) -> None:
    """Raises EditError for models whose network looks like an edit model's and is none that can be used."""
    if FIRST_LAYER in weights.tensors and (against := refusal_of(weights.tensors)):
        raise EditError(f"{path} can't be used: {against}.")


def sources_of(weights: Weights, ema: bool, half: bool) -> dict[str, Source]:
    """LDM's full name → where its weight is, of the three networks."""
    sources = {}
    for name, tensor in weights.tensors.items():
        if not name.startswith((UNET, VAE, TEXT_1, KEY)) or name.endswith("position_ids"):
            continue
        place = name
        if ema and name.startswith(UNET):
            place = ema_name(name)
            if place not in weights.tensors:
                raise EditError(f"{weights.path} has no EMA weights{' for ' + name if any_ema(weights) else ''}: leave --ema out.")
            tensor = weights.tensors[place]
        if name.startswith(TEXT_1):
            name = text_name_in_ldm(name.removeprefix(TEXT_1)).ldm
        sources[name] = Source(stored(tensor, half), weights, place)
    return sources


def any_ema(weights: Weights) -> bool:
    return any(name.startswith(EMA) for name in weights.tensors)


def renamed(part: str, config: dict, names: dict[str, Name], sources: dict[str, Source], path: Path, hint: str) -> dict[str, Source]:
    """The network's tensors under diffusers' names and in its shapes."""
    own = {}
    for name in (expected := shapes(part, config)):
        ldm, linear = names.get(name, Name(""))
        if ldm in sources:
            tensor = sources[ldm].tensor
            if linear and tensor.shape[2:] in ((1, 1), (1,)):
                tensor = tensor._replace(shape=tensor.shape[:2])
            own[name] = Source(tensor, sources[ldm].weights, sources[ldm].name)
    check_fit(path, own, expected, hint)
    return own


def names_of(configs: dict[str, dict]) -> dict[str, dict[str, Name]]:
    """For every network diffusers' name → LDM's."""
    unet, vae = names_in_ldm(configs["unet"], configs["vae"])
    return {
        "unet": unet | {SCALES: Name(KEY)} if configs["unet"].get("time_cond_proj_dim") else unet,
        "vae": {normal("vae", name): ldm for name, ldm in vae.items()},
        "text_encoder": {name: text_name_in_ldm(name) for name in shapes("text_encoder", configs["text_encoder"])},
    }
