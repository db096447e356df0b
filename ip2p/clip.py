"""The configuration of an SD 1.x checkpoint's text encoder, CLIP ViT-L/14 or smaller, and its tokenizer's files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from .edit import EditError

HUB = "openai/clip-vit-large-patch14"
VOCABULARY, MERGES = "vocab.json", "merges.txt"
STANDARD = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 49408,
    "max_position_embeddings": 77,
}  # fmt: skip
HEAD = 64  # channels of an attention head in every CLIP
TOKENIZER = {
    "tokenizer_class": "CLIPTokenizer",
    "model_max_length": 77,
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
}


def is_standard(config: Mapping) -> bool:
    """Whether it is the text encoder that the WebUI takes without being told."""
    return all(config.get(key) == value for key, value in STANDARD.items())


def text_config(folder: Path | None, shapes: Mapping[str, tuple[int, ...]]) -> dict:
    """transformers' CLIPTextModel: from the folder's config.json where there is one, else from the weights' shapes.

    shapes: by their names in LDM after `cond_stage_model.transformer.`. Raises EditError when they are no text encoder's.
    """
    common = {"model_type": "clip_text_model", "architectures": ["CLIPTextModel"]}
    if folder and (folder / "config.json").is_file():
        try:
            return {**json.loads((folder / "config.json").read_text(encoding="utf8")), **common}
        except (OSError, ValueError, TypeError) as e:
            raise EditError(f"{folder / 'config.json'} can't be read.") from e
    try:
        vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
        positions, _ = shapes["text_model.embeddings.position_embedding.weight"]
        inner, _ = shapes["text_model.encoder.layers.0.mlp.fc1.weight"]
    except (KeyError, ValueError) as e:
        raise EditError("The checkpoint's text encoder is no CLIP text model.") from e
    return {
        **common,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": sum(name.endswith("mlp.fc1.weight") for name in shapes),
        "num_attention_heads": max(width // HEAD, 1),
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "projection_dim": width,
        "hidden_act": "quick_gelu",
    }


def tokenizer_files(folder: Path | None) -> dict[str, bytes]:
    """Name → content of a tokenizer's files, CLIP's own vocabulary: from `folder`, else from the hub or its cache on this
    machine. Raises EditError when they can't be had.
    """
    if folder:
        paths = {name: folder / name for name in (VOCABULARY, MERGES)}
        if missing := [name for name, path in paths.items() if not path.is_file()]:
            raise EditError(f"{folder} has no {missing[0]}, which the tokenizer needs.")
    else:
        from huggingface_hub import hf_hub_download

        try:
            paths = {name: Path(hf_hub_download(HUB, name)) for name in (VOCABULARY, MERGES)}
        except Exception as e:  # offline, no such file, no network: the hub's client raises many
            raise EditError(
                f"CLIP's {VOCABULARY} and {MERGES} are not on this machine and the hub can't be reached: name a folder with them by --tokenizer."
            ) from e
    return {**{name: path.read_bytes() for name, path in paths.items()}, "tokenizer_config.json": json.dumps(TOKENIZER, indent=2).encode()}


def copy_tokenizer(source: Path, target: Path) -> None:
    """The files of a tokenizer's folder, but no weights."""
    if not source.is_dir():
        raise EditError(f"{source.parent} is no diffusers folder of an edit model: it has no tokenizer.")
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.suffix in (".json", ".txt"):
            shutil.copyfile(path, target / path.name)
