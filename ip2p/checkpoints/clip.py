"""The configuration of an SD 1.x checkpoint's text encoder, CLIP ViT-L/14 or smaller, and its tokenizer's files."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ..errors import EditError

HUB = "openai/clip-vit-large-patch14"
VOCABULARY, MERGES = "vocab.json", "merges.txt"
CLIP_FILES = ("*.json", "*.txt")  # of a .clip folder, by which it is recognised as ours
MERGES_OF_OPENAI = "bpe_simple_vocab_16e6.txt.gz"
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


def clip_folder(file: Path, params: Mapping) -> Path | None:
    """Where the text encoder's configuration and vocabulary of a checkpoint file are: the folder that its yaml names, else
    the one beside it with the suffix .clip; None: it is SD 1.x's own."""
    version = ((params.get("cond_stage_config") or {}).get("params") or {}).get("version")
    places = ([Path(version)] if version else []) + [file.with_suffix(".clip")]
    return next((place for place in places if place.is_dir()), None)


def tokenizer_files(place: Path | None) -> dict[str, bytes]:
    """Name → content of a tokenizer's files, CLIP's own vocabulary.

    place: a folder with vocab.json and merges.txt, or OpenAI's bpe_simple_vocab_16e6.txt.gz; without one it is taken from
    an installed open_clip, as the WebUI has it, else from the hub or its cache. Raises EditError when it can't be had.
    """
    if place is None and (found := find_spec("open_clip")):
        place = Path(found.origin).with_name(MERGES_OF_OPENAI)
    if place is None:
        from huggingface_hub import hf_hub_download

        try:
            place = Path(hf_hub_download(HUB, VOCABULARY)).parent
            hf_hub_download(HUB, MERGES)
        except Exception as e:  # offline, no such file, no network: the hub's client raises many
            raise EditError(
                f"CLIP's vocabulary is not on this machine and the hub can't be reached: pip install open_clip_torch, or put {VOCABULARY} "
                f"and {MERGES} into a folder of the checkpoint's name with the suffix .clip."
            ) from e
    if place.is_dir():
        if missing := [name for name in (VOCABULARY, MERGES) if not (place / name).is_file()]:
            raise EditError(f"{place} has no {missing[0]}, which the tokenizer needs.")
        files = {name: (place / name).read_bytes() for name in (VOCABULARY, MERGES)}
    else:
        files = from_openai(place)
    return {**files, "tokenizer_config.json": json.dumps(TOKENIZER, indent=2).encode()}


def tokenizer(place: Path | None, vocabulary: int):
    """transformers' CLIPTokenizer. place: as `tokenizer_files` takes it; vocabulary: the tokens that the text encoder knows.
    Raises EditError when it can't be had or is another's."""
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name, content in tokenizer_files(place).items():
            (Path(folder) / name).write_bytes(content)
        found = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    if len(found) > vocabulary:
        raise EditError(
            f"The text encoder knows {vocabulary} tokens, and {place or 'CLIP'} has {len(found)}: put the vocabulary that it was trained with "
            "into a folder of the checkpoint's name with the suffix .clip."
        )
    return found


def from_openai(path: Path) -> dict[str, bytes]:
    """vocab.json and merges.txt of OpenAI's list of merges, ids in the order of its `simple_tokenizer.py`: every byte, every byte at
    a word's end, every merge, then start and end."""
    try:
        merges = gzip.decompress(path.read_bytes()).decode("utf8").split("\n")[1 : STANDARD["vocab_size"] - 2 * 256 - 2 + 1]
    except (OSError, ValueError, EOFError, zlib.error) as e:
        raise EditError(f"{path} is neither a folder nor {MERGES_OF_OPENAI}.") from e
    # Printable bytes stand for themselves, the others for characters from 256 on.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    words = [*letters, *(letter + "</w>" for letter in letters), *(merge.replace(" ", "") for merge in merges)]
    words += [TOKENIZER["bos_token"], TOKENIZER["eos_token"]]
    vocabulary = json.dumps({word: i for i, word in enumerate(words)}, ensure_ascii=False)
    return {VOCABULARY: vocabulary.encode(), MERGES: "\n".join(["#version: 0.2", *merges]).encode()}


def as_clip_reads(text: str) -> str:
    """The text as CLIP's own code and the WebUI have it before they split it into tokens: curly quotes straight, ligatures and wide
    letters taken apart. It is ftfy that does it, there as here; without it the text stays as it is, there as here."""
    try:
        import ftfy
    except ImportError:
        return text
    return ftfy.fix_text(text)


def copy_tokenizer(source: Path, target: Path) -> None:
    """The files of a tokenizer's folder, but no weights."""
    if not source.is_dir():
        raise EditError(f"{source.parent} is no diffusers folder of an edit model: it has no tokenizer.")
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.suffix in (".json", ".txt"):
            shutil.copyfile(path, target / path.name)
