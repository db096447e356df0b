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
from typing import TYPE_CHECKING, Any

from ..errors import EditError
from ..files import why
from .recognise import CLIP_FILES, MERGES, VOCABULARY

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

HUB = "openai/clip-vit-large-patch14"
MERGES_OF_OPENAI = "bpe_simple_vocab_16e6.txt.gz"
STANDARD = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 49408,
    "max_position_embeddings": 77,
}  # fmt: skip
MAX_MERGES = 10_000_000  # bytes; OpenAI's list has 3 million
HEAD = 64  # channels of an attention head in every CLIP
TOKENIZER: dict[str, Any] = {
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
    """transformers' CLIPTextModel: its sizes from the weights' shapes, the rest from the folder's config.json where there is one.

    shapes: by their names in LDM after `cond_stage_model.transformer.`. Raises EditError when they are no text encoder's, and when
    config.json can't be read or says other sizes.
    """
    common = {"model_type": "clip_text_model", "architectures": ["CLIPTextModel"]}
    try:
        vocabulary, width = shapes["text_model.embeddings.token_embedding.weight"]
        positions, _ = shapes["text_model.embeddings.position_embedding.weight"]
        inner, _ = shapes["text_model.encoder.layers.0.mlp.fc1.weight"]
    except (KeyError, ValueError) as e:
        raise EditError("The checkpoint's text encoder is no CLIP text model.") from e
    sizes = {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": sum(name.startswith("text_model.") and name.endswith("mlp.fc1.weight") for name in shapes),
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
    }
    if not folder or not (folder / "config.json").is_file():
        return {**common, **sizes, "num_attention_heads": max(width // HEAD, 1), "projection_dim": width, "hidden_act": "quick_gelu"}
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf8"))
        own = {**sizes, **config, **common}
    except (OSError, ValueError, TypeError, RecursionError) as e:
        raise EditError(f"{path} can't be read: {why(e)}.") from e
    if wrong := [name for name in sizes if own[name] != sizes[name]]:
        raise EditError(f"{path} does not fit the checkpoint: its {wrong[0]} is {str(own[wrong[0]])[:50]}, not {sizes[wrong[0]]}.")
    heads = own.get("num_attention_heads")
    if type(heads) is not int or heads < 1 or width % heads:
        raise EditError(f"{path} does not fit the checkpoint: {width} channels can't be shared by {str(heads)[:50]} attention heads.")
    return own


def clip_folder(file: Path, params: Mapping) -> Path | None:
    """Where the text encoder's configuration and vocabulary of a checkpoint file are: the folder beside it with the suffix .clip,
    which moves with it, else the one that its yaml names, as seen from there; None: it is SD 1.x's own."""
    version = version_of(params)
    places = [file.with_suffix(".clip"), *([file.parent / version] if version else [])]
    return next((place for place in places if place.is_dir()), None)


def version_of(params: Mapping) -> str | None:
    """What the yaml's `model.params` calls the text encoder: a folder or a name on the hub."""
    stage = params.get("cond_stage_config")
    version = (stage.get("params") or {}).get("version") if isinstance(stage, Mapping) else None
    return version if isinstance(version, str) else None


def tokenizer_files(place: Path | None) -> dict[str, bytes]:
    """Name → content of a tokenizer's files, CLIP's own vocabulary.

    place: a folder with vocab.json and merges.txt, or OpenAI's bpe_simple_vocab_16e6.txt.gz; without one it is taken from
    an installed open_clip, as the WebUI has it, else from the hub or its cache. Raises EditError when it can't be had.
    """
    if place is None and (spec := find_spec("open_clip")) and spec.origin:
        place = Path(spec.origin).with_name(MERGES_OF_OPENAI)
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


def tokenizer(place: Path | None, vocabulary: int) -> CLIPTokenizer:
    """transformers' CLIPTokenizer. place: as `tokenizer_files` takes it; vocabulary: the tokens that the text encoder knows.
    Raises EditError when it can't be had or is another's."""
    from transformers import CLIPTokenizer

    with tempfile.TemporaryDirectory() as folder:
        files = tokenizer_files(place)
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        try:
            if not all(type(number) is int and 0 <= number < vocabulary for number in json.loads(files[VOCABULARY]).values()):
                raise ValueError(f"{VOCABULARY} does not number its tokens from 0 to {vocabulary - 1}")
            read = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as e:  # a file of any content
            raise EditError(f"The tokenizer in {place} can't be read: {why(e)}.") from e
    if len(read) > vocabulary:
        raise EditError(
            f"The text encoder knows {vocabulary} tokens, and {place or 'CLIP'} has {len(read)}: put the vocabulary that it was trained with "
            "into a folder of the checkpoint's name with the suffix .clip."
        )
    return read


def from_openai(path: Path) -> dict[str, bytes]:
    """vocab.json and merges.txt of OpenAI's list of merges, ids in the order of its `simple_tokenizer.py`: every byte, every byte at
    a word's end, every merge, then start and end."""
    try:
        with gzip.open(path) as file:
            text = file.read(MAX_MERGES).decode("utf8")
        merges = text.split("\n")[1 : STANDARD["vocab_size"] - 2 * 256 - 2 + 1]
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
        if path.name in CLIP_FILES:
            shutil.copyfile(path, target / path.name)
