"""The finished model as people use it: one LDM file for the WebUI with its yaml, beside the diffusers folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from omegaconf import OmegaConf

from .. import __version__, states
from ..checkpoints.convert import folder_to_file, read_json
from ..checkpoints.defaults import in_header
from ..checkpoints.recognise import EDIT_CHANNELS
from ..errors import EditError
from ..files import remove, unfinished
from .config import DISTILL, Config, usual_scales
from .networks import Networks


def export(config: Config, folder: Path) -> list[Path]:
    """folder: a finished stage's networks, with averaged weights → what was written, in the run's folder. Raises EditError."""
    kinds_of_weights = {"none": (), "both": ("ema", "plain")}.get(config.export, (config.export,))
    is_edit_model = read_json(folder / "unet" / "config.json").get("in_channels") == EDIT_CHANNELS
    written = []
    for weights in kinds_of_weights:
        name = Path(config.output).resolve().name + ("" if weights == "ema" else "-plain")
        target = Path(config.output) / f"{name}.safetensors"
        metadata = {
            "modelspec.title": name,
            "modelspec.architecture": "stable-diffusion-v1" + ("/instruct-pix2pix" if is_edit_model else ""),
            "ip2p.version": __version__,
            "ip2p.weights": weights,
            **defaults_in_header(config),
            "ip2p.recipe": OmegaConf.to_yaml(OmegaConf.structured(without_places(config))),
        }
        beside = unfinished(target.with_suffix(""), "part")  # a killed export's is cleared by the next start
        try:
            source = folder if weights == "ema" else plain(folder, beside / "model")
            folder_to_file(source, target, config.half, True, metadata)
        finally:
            remove(beside)
        written += [target, target.with_suffix(".yaml")]
    return written


def defaults_in_header(config: Config) -> dict[str, str]:
    """What suits the model, as `checkpoints.defaults` reads it."""
    said = {key: value for key, value in vars(config.defaults).items() if value not in (None, [])}
    of_student = student_in_folder(config) if any(stage.kind == DISTILL for stage in config.stages.values()) else {}
    return in_header({key: as_text(value) for key, value in said.items()} | of_student)


def as_text(value: list[str] | str | float) -> str:
    return "\n".join(value) if isinstance(value, list) else value if isinstance(value, str) else f"{value:g}"


def student_in_folder(config: Config) -> dict[str, str]:
    """What a student's folder says of it: one pass, and the scales at which it is a plain edit model."""
    text, image = usual_scales(config.defaults)
    return {"passes": "1", "text_scale": f"{text:g}", "image_scale": f"{image:g}"}


def without_places(config: Config) -> Config:
    """Of files and folders the last name alone: where they are on this machine stays private."""
    data = config.data
    pairs, start = (Path(name).name if Path(name).expanduser().exists() else name for name in (data.pairs, config.model.start))
    return replace(
        config,
        output=Path(config.output).name,
        model=replace(config.model, start=start),
        data=replace(data, pairs=pairs, pictures=Path(data.pictures).name, licences=Path(data.licences).name),
    )


def plain(folder: Path, target: Path) -> Path:
    """The networks with the weights that were trained in place of their average, from the stage's last saved state."""
    state = states.newest(folder.parent, print)
    if state is None:
        raise EditError(f"{folder.parent} holds no saved state any more, so its plain weights are gone: export the ema ones.")
    networks = Networks.read(folder)
    parts = {"vae": networks.vae, "text_encoder": networks.text_encoder, "unet": networks.unet}
    parameters = dict(torch.nn.ModuleDict(parts).named_parameters())
    with torch.no_grad():
        for name, value in state.tensors["weights"].items():
            if name in parameters:  # a stage of texts trains a classifier too, which is no part of the model
                parameters[name].copy_(value)
    networks.save(target)
    return target
