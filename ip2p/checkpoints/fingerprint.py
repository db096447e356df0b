"""A short digest that changes with a model's weights, wherever the model lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import EditError
from ..files import why
from .packaged import BY_NAME, OFFICIAL
from .recognise import sha256

WEIGHTS = (".safetensors", ".ckpt", ".bin", ".json")
OWN_NAMES = (*BY_NAME, OFFICIAL)  # models whatever lies in the working directory under their names
END = 1 << 20  # bytes read from either end of a file: its header and some of its weights


def fingerprint_of(model: str, named: bool = True) -> str:
    """Of a file's or a folder's weights: sizes, names within the folder, and a mebibyte from each end; of the package's own
    all of it. A name on the hub stands for itself, whatever lies in the working directory under it.

    named: a single file's name counts too, as in the runs of `evaluate`; without it a model can be moved and renamed.
    Raises EditError.
    """
    path = Path(model).expanduser()
    digest = hashlib.sha256()
    try:
        if model in BY_NAME:
            parts = " ".join(f"{part.name} {sha256(part)}" for part in BY_NAME[model].parts)
            return hashlib.sha256(parts.encode()).hexdigest()[:16]
        if model == OFFICIAL or not (path.is_file() or path.is_dir()):
            return model
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in WEIGHTS) if path.is_dir() else [path]
        for file in files:
            length = file.stat().st_size
            name = file.relative_to(path) if path.is_dir() else file.name if named else ""
            digest.update(f"{name} {length}\n".encode(errors="surrogateescape"))
            with file.open("rb") as data:
                digest.update(data.read(END))
                data.seek(max(length - END, 0))
                digest.update(data.read(END))
    except OSError as e:
        raise EditError(f"The model {model} can't be read: {why(e)}.") from e
    return digest.hexdigest()[:16]
