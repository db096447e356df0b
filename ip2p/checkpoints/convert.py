"""Conversion between an LDM checkpoint, one file that the WebUI loads, and a diffusers folder; bit for bit both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf

from ..errors import EditError
from ..files import written_whole
from .beside import with_configuration_of, written_beside
from .clip import copy_tokenizer, is_standard, tokenizer_files
from .defaults import FOLDER_FILE, in_header, metadata_of
from .diffusers_folder import WEIGHTS, check_config, check_fit, check_folder, read_json, shapes, sources_in
from .header import Tensor, is_safetensors
from .keys import POSITIONS
from .ldm import scheduler_config, to_yaml
from .ldm_file import ldm_file, names_of, params_of, sources_of
from .tensors import Source, Weights, write_safetensors

# Of a diffusers folder, by which it is recognised as ours.
FOLDER_FILES = (
    "model_index.json",
    FOLDER_FILE,
    *(f"{part}/*.{kind}" for part in (*WEIGHTS, "tokenizer", "scheduler") for kind in ("json", "txt", "safetensors")),
)


@dataclass
class Converted:
    """kept: how many tensors were written. left_out: names of those that are no weight of a network: EMA, schedule, training."""

    kept: int
    left_out: list[str]


def convert(
    source: Path, output: Path, ema: bool = False, half: bool = False, force: bool = False, tokenizer: Path | None = None
) -> Converted:
    """A file to a folder or, when `output` ends in .safetensors, to a smaller file; a folder to a file with its yaml.

    ema: the averaged weights in place of the plain ones, as the paper used them. half: stored in fp16.
    tokenizer: where CLIP's vocabulary is, see `clip.tokenizer_files`; else it is looked for.
    Raises EditError when the source is no SD 1.x model, does not fit its yaml or lacks what was asked for.
    """
    to_file = is_safetensors(output)
    if output.suffix.lower() in (".ckpt", ".pt", ".bin"):
        raise EditError(f"{output.suffix} files are not written, because loading one can run code: name a .safetensors file.")
    if source.is_dir():
        if ema:
            raise EditError("A diffusers folder holds one set of weights: --ema is for files.")
        if not to_file:
            raise EditError(f"{source} is a folder already: name a .safetensors file to convert it to.")
        return folder_to_file(source, output, half, force)
    if to_file:
        return file_to_file(source, output, ema, half, force)
    return file_to_folder(source, output, ema, half, force, tokenizer)


def file_to_folder(source: Path, output: Path, ema: bool, half: bool, force: bool, tokenizer: Path | None = None) -> Converted:
    """LDM → diffusers. Everything is checked before anything is written."""
    with Weights(source) as weights, written_whole(output, force, sources=[source], ours=FOLDER_FILES) as place:
        file = ldm_file(source, weights, ema, half)
        words = tokenizer_files(tokenizer or file.clip)
        for part, tensors in file.networks.items():
            # As on the hub; transformers takes its text encoder with and without the prefix.
            prefix = "text_model." if part == "text_encoder" else ""
            write(place / part / f"{WEIGHTS[part]}.safetensors", {prefix + name: tensor for name, tensor in tensors.items()})
            write_json(place / part / "config.json", file.configs[part])
        write_json(place / "scheduler" / "scheduler_config.json", scheduler_config(file.params))
        for name, content in words.items():
            put(place / "tokenizer" / name, content)
        write_json(place / "model_index.json", model_index(file.configs["unet"]["in_channels"]))
        if said := metadata_of(source):
            write_json(place / FOLDER_FILE, said)
        written = {tensor.name for tensors in file.networks.values() for tensor in tensors.values()}
        return Converted(sum(map(len, file.networks.values())), left_out(weights, written))


def folder_to_file(source: Path, output: Path, half: bool, force: bool, metadata: Mapping[str, str] | None = None) -> Converted:
    """diffusers → LDM, with the yaml beside it, and beside that the text encoder's configuration when it is not CLIP ViT-L/14.

    metadata: what the file's header says beside its format.
    """
    check_folder(source)
    configs = {part: read_json(source / part / "config.json") for part in WEIGHTS}
    for part, config in configs.items():
        check_config(source, part, config)
    if configs["text_encoder"].get("architectures", ["CLIPTextModel"]) != ["CLIPTextModel"]:
        raise EditError("Only SD 1.x models can be converted, and this text encoder is of another family.")
    configs["unet"].setdefault("cross_attention_dim", configs["text_encoder"].get("hidden_size"))
    scheduler = read_json(source / "scheduler" / "scheduler_config.json")
    clip = None if is_standard(configs["text_encoder"]) else output.with_suffix(".clip")
    try:
        yaml = to_yaml(configs["unet"], configs["vae"], scheduler, str(clip.resolve()) if clip else None)
        names = names_of(configs)
    except EditError:
        raise
    except Exception as e:  # settings of any type
        raise EditError(f"{source} can't be converted: a config.json lacks or misstates {e}.") from e
    with ExitStack() as stack:
        sources = {}
        for part in WEIGHTS:
            own, expected = sources_in(source, part, stack, half), shapes(part, configs[part])
            check_fit(source / part, own, expected)
            for name in expected:
                ldm, linear = names[part][name]
                shape = (*expected[name], 1, 1) if linear else expected[name]
                sources[ldm] = Source(own[name].tensor._replace(shape=shape), own[name].weights, own[name].name)
        positions = configs["text_encoder"].get("max_position_embeddings", 77)
        tensors = {name: s.tensor for name, s in sources.items()} | {POSITIONS: Tensor("I64", (1, positions))}
        read = {name: s.read for name, s in sources.items()} | {POSITIONS: lambda: torch.arange(positions)[None]}
        with written_beside(output, [source], force, yaml=True, clip=clip is not None) as (clip_place, yaml_place, file_place):
            if clip:
                copy_tokenizer(source / "tokenizer", clip_place)
                write_json(clip_place / "config.json", configs["text_encoder"])
            yaml_place.write_text(OmegaConf.to_yaml(OmegaConf.create(yaml)), encoding="utf8")
            write_safetensors(
                file_place, tensors, lambda name: read[name](), {"format": "pt", **in_header(metadata_of(source)), **(metadata or {})}
            )
    return Converted(len(sources), [])


def file_to_file(source: Path, output: Path, ema: bool, half: bool, force: bool) -> Converted:
    """LDM → LDM without what no picture needs: 7.7 GB become 2.1 GB with `half`. What lies beside the source comes along."""
    with Weights(source) as weights:
        params = params_of(source, weights)
        sources = sources_of(weights, ema, half)
        extra = {POSITIONS: Source(weights.tensors[POSITIONS], weights, POSITIONS)} if POSITIONS in weights.tensors else {}
        with with_configuration_of(source, params, output, force, [source]) as place:
            write(place, {**sources, **extra}, in_header(metadata_of(source)))
        return Converted(len(sources), left_out(weights, {s.name for s in [*sources.values(), *extra.values()]}))


def left_out(weights: Weights, taken: set[str]) -> list[str]:
    return sorted(set(weights.tensors) - taken)


def model_index(in_channels: int) -> dict:
    """The content of model_index.json, without a safety checker."""
    edits = "InstructPix2Pix" if in_channels == 8 else ""
    return {
        "_class_name": f"StableDiffusion{edits}Pipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
    }


def write(path: Path, sources: dict[str, Source], metadata: Mapping[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: s.tensor for name, s in sources.items()}
    write_safetensors(path, tensors, lambda name: sources[name].read(), {"format": "pt", **(metadata or {})})


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_json(path: Path, content: dict) -> None:
    put(path, json.dumps(content, indent=2).encode())
