"""A diffusers folder: its configurations, and where the weights of each network are, under whatever name they were saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from ..errors import EditError
from ..files import why
from .keys import todays_name
from .tensors import Source, Weights, stored

WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
OLD_NAMES = {"diffusion_pytorch_model": "diffusion_pytorch_model", "model": "pytorch_model"}  # of a `.bin`
MAX_LAYERS, MAX_LEVELS = 32, 16  # of a block, of a network: a configuration of more would be built for ever
SIZES = ("layers_per_block", "transformer_layers_per_block", "num_hidden_layers")


def check_folder(folder: Path) -> None:
    """Raises EditError when the folder is of another kind of model or lacks a network."""
    index = folder / "model_index.json"
    kind = str(read_json(index).get("_class_name", "")) if index.is_file() else ""
    if "XL" in kind or ((folder / "unet").is_dir() and (folder / "text_encoder_2").is_dir()):
        raise EditError(f"{folder} is an SDXL model, and only SD 1.x and 2.x can be used here: use its single file in the WebUI's tab.")
    if (kind and not kind.startswith(("StableDiffusion", "AltDiffusion"))) or "VideoDiffusion" in kind:
        raise EditError(f"{folder} is no edit model: it is made for diffusers' {kind}.")
    missing = [part for part in (*WEIGHTS, "tokenizer", "scheduler") if not (folder / part).is_dir()]
    if missing == [*WEIGHTS, "tokenizer", "scheduler"]:
        raise EditError(f"The folder {folder} holds no model: it has no “unet” folder.")
    if missing:
        names = " and ".join(f"“{part}”" for part in missing)
        raise EditError(
            f"{folder} is no whole model: it has no folder {names}. A trainer's checkpoint holds what was trained alone: copy what is "
            "missing into it from the model that the training started from, or from the folder that the trainer writes at its end."
        )


def check_config(path: Path, part: str, config: Mapping) -> None:
    """Raises EditError for an SDXL network, and for numbers of layers and levels that no such network has."""
    if part == "unet" and config.get("addition_embed_type"):
        raise EditError(f"{path} is an SDXL model, and only SD 1.x and 2.x can be used here: use its single file in the WebUI's tab.")
    for name in SIZES:
        values = config.get(name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and not (type(value) is int and 0 < value <= MAX_LAYERS) and not isinstance(value, list):
                raise EditError(f"{path} can't be used: the {part}'s {name} is {str(value)[:50]}.")
    if any(isinstance(value, list) and len(value) > MAX_LEVELS for value in config.values()):
        raise EditError(f"{path} can't be used: the {part}'s configuration has a list of more than {MAX_LEVELS} entries.")


def prediction_type_of(path: Path, scheduler: Mapping) -> str:
    """What the network predicts, by its scheduler's configuration. Raises EditError for what no edit model does."""
    value = scheduler.get("prediction_type", "epsilon")
    if value not in ("epsilon", "v_prediction"):
        raise EditError(f"{path} can't be used: its scheduler's prediction_type is {str(value)[:50]}, not epsilon or v_prediction.")
    return value


def weights_files(folder: Path, part: str) -> list[Path]:
    """The files with a network's weights: the plain one before a variant's such as fp16, safetensors before torch's, one file before
    several. Raises EditError when there is none or one of several is missing."""
    name = WEIGHTS[part]
    for stem, suffix in ((name, "safetensors"), (OLD_NAMES[name], "bin")):
        plain = folder / part / f"{stem}.{suffix}"
        variants = sorted((folder / part).glob(f"{stem}.*.{suffix}"))
        shards = sorted((folder / part).glob(f"{stem}*.{suffix}.index*.json"))
        if plain.is_file():
            return [plain]
        if variants:
            return variants[:1]
        if shards:
            return shards_of(shards[0])
    others = sorted((folder / part).glob("*.safetensors"))
    if len(others) == 1:
        return others
    raise EditError(f"{folder} is no diffusers folder of an edit model: it has no {part}/{name}.safetensors.")


def shards_of(index: Path) -> list[Path]:
    """The files that the list of several names. Raises EditError when one is missing."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) and name == Path(name).name for name in places.values()):
        raise EditError(f"{index} can't be read: it names no files.")
    files = [index.parent / name for name in sorted(set(places.values()))]
    if missing := [file for file in files if not file.is_file()]:
        raise EditError(f"{index.parent} is not complete: it has no {missing[0].name}, one of the {len(files)} files of its weights.")
    return files


def sources_in(folder: Path, part: str, stack: ExitStack, half: bool = False) -> dict[str, Source]:
    """Of a network: today's name of every tensor (`normal`) → where it is. The files are open until the stack is closed."""
    sources: dict[str, Source] = {}
    for file in weights_files(folder, part):
        weights = stack.enter_context(Weights(file))
        sources |= {normal(part, name): Source(stored(tensor, half), weights, name) for name, tensor in weights.tensors.items()}
    return sources


def shapes(part: str, config: dict) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network with that configuration, under today's names without `text_model.`."""
    return {
        normal(part, name): tuple(tensor.shape)
        for name, tensor in without_weights(part, config).state_dict().items()
        if "position_ids" not in name
    }


def without_weights(part: str, config: dict) -> torch.nn.Module:
    """The network with that configuration, on torch's meta device, which takes neither time nor memory for weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    check_config(Path("The model"), part, config)
    try:
        with torch.device("meta"):
            if part == "text_encoder":
                return CLIPTextModel(CLIPTextConfig.from_dict(config))
            return {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[part].from_config(config)
    except Exception as e:  # diffusers and transformers raise nearly anything for a wrong configuration
        raise EditError(f"The {part}'s configuration is none that diffusers can build: {why(e)}.") from e


def normal(part: str, name: str) -> str:
    """A tensor's name as diffusers and transformers give it today, without what `torch.compile` (`_orig_mod.`) and
    `DataParallel` (`module.`) put before it."""
    name = name.replace("_orig_mod.", "").removeprefix("module.")
    return name.removeprefix("text_model.") if part == "text_encoder" else todays_name(name) if part == "vae" else name


def check_fit(
    path: Path, sources: Mapping[str, Source], expected: Mapping[str, tuple[int, ...]], hint: str = "", extras: bool = False
) -> None:
    """Raises EditError when a tensor is missing, is too many unless `extras` are allowed, or has another shape. hint: what may help."""
    begin = f"{path} does not fit its configuration{hint}: "
    if missing := [name for name in expected if name not in sources]:
        raise EditError(f"{begin}it lacks {missing[0]} and {len(missing) - 1} more.")
    extra = [name for name in sources if name not in expected and not name.endswith("position_ids")]
    if extra and not extras:
        raise EditError(f"{begin}it has {extra[0]} and {len(extra) - 1} more, which the network has not.")
    for name, shape in expected.items():
        # A linear layer was stored as a 1×1 convolution by diffusers before version 0.18.
        if sources[name].tensor.shape != shape and sources[name].tensor.shape != (*shape, 1, 1):
            sizes = " but should be ".join("x".join(map(str, s)) for s in (sources[name].tensor.shape, shape))
            raise EditError(f"{begin}{name} is {sizes}.")


def read_json(path: Path) -> dict:
    """The settings in the file. Raises EditError when there are none."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError as e:
        raise EditError(f"{path.parent.parent} is no diffusers folder of an edit model: it has no {path.parent.name}/{path.name}.") from e
    except (OSError, ValueError, RecursionError) as e:
        raise EditError(f"{path} can't be read: {why(e)}.") from e
    if not isinstance(content, dict):
        raise EditError(f"{path} can't be read: it holds no settings.")
    return content


def files_of(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
