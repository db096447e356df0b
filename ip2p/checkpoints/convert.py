"""Conversion between an LDM checkpoint, one file that the WebUI loads, and a diffusers folder; bit for bit both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import OmegaConf

from ..errors import EditError
from ..files import refuse_existing, why, written_whole
from .clip import CLIP_FILES, clip_folder, copy_tokenizer, is_standard, text_config, tokenizer_files
from .keys import POSITIONS, Name, ema_name, names_in_ldm, text_name_in_ldm, todays_name
from .ldm import read_yaml, scheduler_config, standard, to_yaml, unet_config, vae_config
from .recognise import EMA, FIRST_LAYER, TEXT_1, UNET, VAE, Tensor, family_of
from .tensors import Weights, stored, write_safetensors

# Of a diffusers folder, by which it is recognised as ours.
FOLDER_FILES = (
    "model_index.json",
    *(f"{part}/*.{kind}" for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler") for kind in ("json", "txt", "safetensors")),
)
WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
OLD_NAMES = {"diffusion_pytorch_model": "diffusion_pytorch_model", "model": "pytorch_model"}  # of a `.bin`


@dataclass
class Converted:
    """kept: how many tensors were written. left_out: names of those that are no weight of a network: EMA, schedule, training."""

    kept: int
    left_out: list[str]


@dataclass(frozen=True)
class Source:
    """A tensor to write: what its header says, and the reader and name it comes from."""

    tensor: Tensor
    weights: Weights
    name: str

    def read(self) -> torch.Tensor:
        return self.weights.read(self.name).reshape(self.tensor.shape)


def convert(
    source: Path, output: Path, ema: bool = False, half: bool = False, force: bool = False, tokenizer: Path | None = None
) -> Converted:
    """A file to a folder or, when `output` ends in .safetensors, to a smaller file; a folder to a file with its yaml.

    ema: the averaged weights in place of the plain ones, as the paper used them. half: stored in fp16.
    tokenizer: where CLIP's vocabulary is, see `clip.tokenizer_files`; else it is looked for.
    Raises EditError when the source is no SD 1.x model, does not fit its yaml or lacks what was asked for.
    """
    to_file = output.suffix == ".safetensors"
    if output.suffix in (".ckpt", ".pt", ".bin"):
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
    refuse_existing(output, force, sources=[source], ours=FOLDER_FILES)
    with Weights(source) as weights:
        params = params_of(source, weights)
        sources = sources_of(weights, ema, half)
        configs = {"unet": unet_config(params), "vae": vae_config(params)}
        clip = clip_folder(source, params)
        configs["text_encoder"] = text_config(clip, {name.removeprefix(TEXT_1): s.tensor.shape for name, s in sources.items()})
        names = names_of(configs)
        files = tokenizer_files(tokenizer or clip)
        networks = {part: renamed(part, config, names[part], sources, source) for part, config in configs.items()}
        taken = {name.ldm for part in names.values() for name in part.values()}
        if unknown := [name for name in sources if name.startswith(UNET) and name not in taken]:
            raise EditError(f"{source} does not fit its configuration: it has {unknown[0]}; is its yaml beside it?")
        with written_whole(output, force, sources=[source], ours=FOLDER_FILES) as beside:
            for part, tensors in networks.items():
                write(beside / part / f"{WEIGHTS[part]}.safetensors", tensors)
                write_json(beside / part / "config.json", configs[part])
            write_json(beside / "scheduler" / "scheduler_config.json", scheduler_config(params))
            for name, content in files.items():
                put(beside / "tokenizer" / name, content)
            write_json(beside / "model_index.json", model_index(configs["unet"]["in_channels"]))
        kept = sum(map(len, networks.values()))
        return Converted(kept, left_out(weights, {source.name for tensors in networks.values() for source in tensors.values()}))


def folder_to_file(source: Path, output: Path, half: bool, force: bool, metadata: Mapping[str, str] | None = None) -> Converted:
    """diffusers → LDM, with the yaml beside it, and beside that the text encoder's configuration when it is not CLIP ViT-L/14.

    metadata: what the file's header says beside its format.
    """
    yaml, clip = output.with_suffix(".yaml"), output.with_suffix(".clip")
    for path in (output, yaml):
        refuse_existing(path, force)
    if clip.exists() and not (force and (clip / "config.json").is_file()):
        raise EditError(f"{clip} exists already: choose another name for the file.")
    configs = {part: read_json(source / part / "config.json") for part in WEIGHTS}
    if configs["text_encoder"].get("architectures", ["CLIPTextModel"]) != ["CLIPTextModel"]:
        raise EditError("Only SD 1.x models can be converted, and this text encoder is of another family.")
    configs["unet"].setdefault("cross_attention_dim", configs["text_encoder"].get("hidden_size"))
    scheduler = read_json(source / "scheduler" / "scheduler_config.json")
    own_clip = not is_standard(configs["text_encoder"])
    try:
        content = to_yaml(configs["unet"], configs["vae"], scheduler, str(clip.resolve()) if own_clip else None)
    except KeyError as e:
        raise EditError(f"{source} lacks {e} in a config.json.") from e
    names = names_of(configs)
    sources, readers = {}, []
    try:
        for part in WEIGHTS:
            reader = Weights(weights_file(source, part))
            readers.append(reader)
            given = {normal(part, name): Source(stored(tensor, half), reader, name) for name, tensor in reader.tensors.items()}
            expected = shapes(part, configs[part])
            check_fit(source / part, given, expected)
            for name in expected:
                ldm, linear = names[part][name]
                shape = (*expected[name], 1, 1) if linear else expected[name]
                sources[ldm] = Source(given[name].tensor._replace(shape=shape), reader, given[name].name)
        positions = configs["text_encoder"].get("max_position_embeddings", 77)
        with written_whole(output, force) as beside:
            if own_clip:
                with written_whole(clip, force, ours=CLIP_FILES) as folder:
                    copy_tokenizer(source / "tokenizer", folder)
                    write_json(folder / "config.json", configs["text_encoder"])
            tensors = {name: s.tensor for name, s in sources.items()} | {POSITIONS: Tensor("I64", (1, positions))}
            read = {name: s.read for name, s in sources.items()} | {POSITIONS: lambda: torch.arange(positions)[None]}
            write_safetensors(beside, tensors, lambda name: read[name](), {"format": "pt", **(metadata or {})})
            with written_whole(yaml, force) as beside_yaml:
                beside_yaml.write_text(OmegaConf.to_yaml(OmegaConf.create(content)), encoding="utf8")
        return Converted(len(sources), [])
    finally:
        for reader in readers:
            reader.close()


def file_to_file(source: Path, output: Path, ema: bool, half: bool, force: bool) -> Converted:
    """LDM → LDM without what no picture needs: 7.7 GB become 2.1 GB with `half`. A yaml beside the source is copied."""
    if output.resolve() == source.resolve():
        raise EditError("The output is the file itself: choose another name.")
    yaml = source.with_suffix(".yaml")
    refuse_existing(output, force)
    with Weights(source) as weights:
        params_of(source, weights)
        sources = sources_of(weights, ema, half)
        extra = {POSITIONS: Source(weights.tensors[POSITIONS], weights, POSITIONS)} if POSITIONS in weights.tensors else {}
        with written_whole(output, force) as beside:
            if yaml.is_file():
                with written_whole(output.with_suffix(".yaml"), force) as beside_yaml:
                    beside_yaml.write_bytes(yaml.read_bytes())
            write(beside, {**sources, **extra})
        return Converted(len(sources), left_out(weights, {s.name for s in [*sources.values(), *extra.values()]}))


def params_of(source: Path, weights: Weights) -> dict:
    """`model.params` of the yaml beside the file, else SD 1.x's. Raises EditError when it is no SD 1.x checkpoint."""
    first = weights.tensors.get(FIRST_LAYER)
    family = family_of(weights.tensors)
    if first is None or family not in ("SD 1.x", None) or not any(name.startswith(TEXT_1) for name in weights.tensors):
        raise EditError(f"{source} is {f'of the family {family}' if first else 'no checkpoint'}: only SD 1.x checkpoints can be converted.")
    yaml = source.with_suffix(".yaml")
    return read_yaml(yaml) if yaml.is_file() else standard(first.shape[1])


def sources_of(weights: Weights, ema: bool, half: bool) -> dict[str, Source]:
    """LDM's full name → where its weight is, of the three networks."""
    sources = {}
    for name, tensor in weights.tensors.items():
        if not name.startswith((UNET, VAE, TEXT_1)) or name.endswith("position_ids"):
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


def left_out(weights: Weights, taken: set[str]) -> list[str]:
    return sorted(set(weights.tensors) - taken)


def renamed(part: str, config: dict, names: dict[str, Name], sources: dict[str, Source], path: Path) -> dict[str, Source]:
    """The network's tensors under diffusers' names and in its shapes."""
    given = {}
    for name in (expected := shapes(part, config)):
        ldm, linear = names[name]
        if ldm in sources:
            tensor = sources[ldm].tensor
            if linear and tensor.shape[2:] in ((1, 1), (1,)):
                tensor = tensor._replace(shape=tensor.shape[:2])
            given[name] = Source(tensor, sources[ldm].weights, sources[ldm].name)
    check_fit(path, given, expected)
    prefix = "text_model." if part == "text_encoder" else ""  # as on the hub; transformers takes it with and without
    return {prefix + name: source for name, source in given.items()}


def shapes(part: str, config: dict) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network with that configuration, under today's names without `text_model.`."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    try:
        with torch.device("meta"):
            if part == "text_encoder":
                network = CLIPTextModel(CLIPTextConfig.from_dict(config))
            else:
                network = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}[part].from_config(config)
    except Exception as e:  # diffusers and transformers raise nearly anything for a wrong configuration
        raise EditError(f"The {part}'s configuration is none that diffusers can build: {why(e)}.") from e
    return {normal(part, name): tuple(tensor.shape) for name, tensor in network.state_dict().items() if "position_ids" not in name}


def normal(part: str, name: str) -> str:
    return name.removeprefix("text_model.") if part == "text_encoder" else todays_name(name) if part == "vae" else name


def check_fit(path: Path, given: dict[str, Source], expected: dict[str, tuple[int, ...]]) -> None:
    """Raises EditError when a tensor is missing, too many or of another shape."""
    extra = [name for name in given if name not in expected and not name.endswith("position_ids")]
    if missing := [name for name in expected if name not in given]:
        raise EditError(f"{path} does not fit its configuration: it lacks {missing[0]} and {len(missing) - 1} more.")
    if extra:
        raise EditError(f"{path} does not fit its configuration: it has {extra[0]} and {len(extra) - 1} more, which the network has not.")
    for name, shape in expected.items():
        # A linear layer was stored as a 1×1 convolution by diffusers before version 0.18.
        if given[name].tensor.shape != shape and given[name].tensor.shape != (*shape, 1, 1):
            sizes = " but should be ".join("x".join(map(str, s)) for s in (given[name].tensor.shape, shape))
            raise EditError(f"{path} does not fit its configuration: {name} is {sizes}.")


def names_of(configs: dict[str, dict]) -> dict[str, dict[str, Name]]:
    """For every network diffusers' name → LDM's."""
    unet, vae = names_in_ldm(configs["unet"], configs["vae"])
    return {
        "unet": unet,
        "vae": vae,
        "text_encoder": {name: text_name_in_ldm(name) for name in shapes("text_encoder", configs["text_encoder"])},
    }


def weights_file(folder: Path, part: str) -> Path:
    """The file with a network's weights, fp32 before fp16. Raises EditError when there is none."""
    name = WEIGHTS[part]
    for candidate in (f"{name}.safetensors", f"{name}.fp16.safetensors", f"{OLD_NAMES[name]}.bin", f"{OLD_NAMES[name]}.fp16.bin"):
        if (folder / part / candidate).is_file():
            return folder / part / candidate
    raise EditError(f"{folder} is no diffusers folder of an edit model: it has no {part}/{name}.safetensors.")


def model_index(in_channels: int) -> dict:
    """model_index.json, without a safety checker."""
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


def write(path: Path, sources: dict[str, Source]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, {name: s.tensor for name, s in sources.items()}, lambda name: sources[name].read(), {"format": "pt"})


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_json(path: Path, content: dict) -> None:
    put(path, json.dumps(content, indent=2).encode())


def read_json(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError as e:
        raise EditError(f"{path.parent.parent} is no diffusers folder of an edit model: it has no {path.parent.name}/{path.name}.") from e
    except (OSError, ValueError) as e:
        raise EditError(f"{path} can't be read: {why(e)}.") from e
    if not isinstance(content, dict):
        raise EditError(f"{path} can't be read: it holds no settings.")
    return content
