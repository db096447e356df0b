"""Causal language models as transformers reads them: a folder, a name on the hub, or a GGUF file; and what tells a fine-tuned one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...errors import EditError
from ...files import why

# In a folder: the model was fine-tuned on the paper's format, and what on.
TUNED = "instructions.json"


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own bars and warnings."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


def load(name: str) -> tuple[Any, Any]:
    """→ (model in 32 bits, in eval mode, tokenizer). Raises EditError for what is no causal language model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = Path(name)
    place: tuple[str, dict[str, str]] = (name, {})
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise EditError(f"{name} is no GGUF file: a language model is a folder, a GGUF file or a name on the hub.")
        place = str(path.parent), {"gguf_file": path.name}
    elif path.is_dir() and not (path / "config.json").is_file():
        raise EditError(f"{name} is no folder of a language model: it has no config.json.")
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(place[0], **place[1])
            model = AutoModelForCausalLM.from_pretrained(place[0], **place[1], dtype=torch.float32, use_safetensors=True)
    except EditError:
        raise
    except ImportError:
        raise
    except Exception as e:  # whatever a broken file or a wrong name makes of itself
        raise EditError(f"{name} can't be read as a causal language model: {why(e)}.") from e
    if path.is_file():
        model = plain_copy(model)
    return model.eval(), tokenizer


def plain_copy(model: Any) -> Any:
    """A model read from GGUF counts as quantised and can be neither trained nor saved: the same weights in a model that can."""
    from transformers import AutoModelForCausalLM

    config = model.config
    del config.quantization_config
    copy = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    return copy


def fingerprint(model: Any) -> str:
    """Of the weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def start_of(tokenizer: Any) -> str:
    """The token that a caption comes after: what a text's first token says is lost, for attention rests there (Xiao et al., arXiv
    2309.17453), and a model could not repeat a caption's first word."""
    return tokenizer.bos_token or tokenizer.eos_token or ""


def is_tuned(name: str) -> bool:
    """Whether `--finetune` made the folder: it is then asked in the format that it learned."""
    return (Path(name) / TUNED).is_file()
