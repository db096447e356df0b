"""Pictures on their way into the page and out of it. A visitor names files of this server, so each name is checked, for every event.

Gradio checks only names whose `meta` is what its own browser side sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from ..errors import EditError
from ..images import from_base64, picture_bytes

NOT_UPLOADED = "This picture was not uploaded here: drop a file on the picture field."
NO_LONGER = "The file of this picture is no longer kept here: upload the picture again."
DATA_URL, ELSEWHERE = "data:", ("http://", "https://")
SHOWN = 1024  # longest side in pixels of what is shown; what is downloaded and edited again is the whole result


class GuardedBlocks(gr.Blocks):
    """A page that takes only files which were uploaded to it, whichever component is given them."""

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """Runs before Gradio touches the values of an event. Raises gr.Error."""
        super().validate_inputs(block_fn, inputs)
        try:
            for component, value in zip(block_fn.inputs, inputs):
                if isinstance(component, gr.Image) and not isinstance(value, (dict, type(None))):
                    raise EditError(NOT_UPLOADED)
                for path in paths_in(value):
                    if not path.startswith(ELSEWHERE):  # Gradio downloads these into its cache
                        uploaded(path)
        except EditError as e:
            raise gr.Error(str(e), print_exception=False) from e


def paths_in(value: Any) -> Iterator[str]:
    """Of everything in a JSON value that Gradio or we could take for a file, its path."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("path") is not None:
                yield str(value["path"])
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple)):
            waiting.extend(value)


def uploaded(path: str, refusal: str = NOT_UPLOADED) -> str:
    """The file, links resolved, if it lies in Gradio's cache, as whatever was uploaded and our results and examples do. Raises
    EditError, with the same sentence for a file that is elsewhere and one that is nowhere."""
    try:
        file = Path(path).resolve(strict=True)
        if file.is_file() and file.is_relative_to(Path(get_upload_folder()).resolve()):
            return str(file)
    except (OSError, ValueError, RuntimeError):  # nowhere, with a NUL in its name, a circle of links
        pass
    raise EditError(refusal)


def file_of(upload: dict | None) -> str:
    """The file of what the picture field holds, as it was uploaded: Gradio neither decodes nor opens it. Raises EditError."""
    upload = upload or {}
    url = upload.get("url") or ""
    if url.startswith(DATA_URL):
        return save_bytes_to_cache(from_base64(url), "picture", get_upload_folder())
    if upload.get("path") is None:
        raise EditError("There is no picture to edit: drop one on the picture field first.")
    return uploaded(upload["path"])


def shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of what is shown of a picture."""
    scale = min(SHOWN / max(size), 1)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def as_png(image: Image.Image, name: str, infotext: str = "") -> str:
    """A file for the page to show and a visitor to download: every pixel as it is, and the settings it was made with inside."""
    return save_bytes_to_cache(picture_bytes(image, infotext=infotext), f"{name}.png", get_upload_folder())
