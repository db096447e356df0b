"""Pictures between the page and the WebUI: a chosen file is sent once and kept under a key, and what is here already is shown from its file."""

from __future__ import annotations

import re
from pathlib import Path
from secrets import token_hex
from threading import RLock
from urllib.parse import quote, unquote

import gradio as gr
from fastapi import HTTPException, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool

from modules import shared, ui_tempdir

from .. import images
from ..errors import EditError
from ..files import remove, written_whole
from ..images.kinds import SHOWN_BY_BROWSERS, kind_of, kind_of_file
from .folder import KEPT
from .login import check_page_login

KEY, FILE = "picture:", "file="  # what the page sends for a picture that was sent before, and for one that it was shown from a file
KEY_FORM = re.compile(r"[0-9a-f]{32}")
MAX_SENT, MAX_BYTES = 40, 1_000_000_000  # files, of all windows; the oldest go first
MAX_FILE = 300_000_000  # bytes: 64 megapixels without any compression
PREVIEW = 1024  # longest side in pixels
LOST = "The picture is not kept any longer: choose it again."

_lock = RLock()  # several pictures may come at once


class PictureInput(gr.Image):
    """A picture field that hands on what the page sends as it is, so that `picture_of` checks and reads it, and shows files from where
    they lie, whatever their size."""

    def get_block_name(self):
        return "image"

    def preprocess(self, x):
        return x

    def postprocess(self, y):
        return served(y) if isinstance(y, Path) else super().postprocess(y)


def served(file: Path) -> str:
    """What the page shows this file by, which from now on it may ask for."""
    path = str(file.absolute())
    ui_tempdir.register_tmp_file(shared.demo, path)
    return FILE + quote(path)


def path_served(text: str) -> Path:
    """The file that the page was shown by this. Raises EditError for one that it was not given, or that is gone."""
    path = unquote(text.removeprefix(FILE)).rsplit("?", 1)[0]
    if not ui_tempdir.check_tmp_file(shared.demo, path):
        raise EditError("The page was not given this picture: load it again.")
    if not Path(path).is_file():
        raise EditError(f"{path} is gone: choose the picture again.")
    return Path(path)


def source_of(text: str) -> Path | bytes:
    """The file, or the bytes, of a picture that the page sent: by key, by the file that it was shown from, or whole as a data URL.

    Raises EditError.
    """
    if text.startswith(KEY):
        return sent_file(text.removeprefix(KEY)).read_bytes()
    return path_served(text) if text.startswith(FILE) else images.from_base64(text)


def file_of(text: str | None) -> Path | None:
    """The file that the page's picture lies in, of a kind that browsers show; None where there is none."""
    if not text or not text.startswith((KEY, FILE)):
        return None
    file = sent_file(text.removeprefix(KEY)) if text.startswith(KEY) else path_served(text)
    return file if kind_of_file(file) in SHOWN_BY_BROWSERS else None


def shown_by(text: str) -> str:
    """What the page shows a picture by that it sent, short whatever it sent. Raises EditError."""
    if text.startswith(FILE):
        return text
    file = sent_file((text if text.startswith(KEY) else keep(images.from_base64(text))["key"]).removeprefix(KEY))
    return served(file if kind_of_file(file) in SHOWN_BY_BROWSERS else preview_of(file))


def picture_of(text: str) -> Image.Image:
    """The picture that the page sent (`source_of`). Raises EditError."""
    return images.read_image(source_of(text), background=shared.opts.img2img_background_color, limits=images.HTTP)


def folder() -> Path:
    return KEPT / "pictures"


def sent_file(key: str) -> Path:
    file = folder() / key if KEY_FORM.fullmatch(key) else None
    if file is None or not file.is_file():
        raise EditError(LOST)
    return file


async def take(request: Request) -> dict:
    """Keeps the file in the request's body: `{key, preview}`, what the page sends in its place and, for a kind that browsers don't show,
    what it shows. Refuses what is no picture, with a sentence."""
    check_page_login(request)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk[: MAX_FILE + 1 - len(data)]
    if len(data) > MAX_FILE:
        raise HTTPException(413, f"The picture has more than {MAX_FILE // 10**6} MB: save it smaller first.")
    try:
        return await run_in_threadpool(keep, bytes(data))
    except EditError as e:
        raise HTTPException(422, str(e)) from e


def keep(data: bytes) -> dict:
    """Raises EditError for what can't be read."""
    picture = images.read_image(data, background=shared.opts.img2img_background_color, limits=images.HTTP)
    file = folder() / token_hex(16)
    with written_whole(file) as beside:
        beside.write_bytes(data)
    preview = None
    if kind_of(data) not in SHOWN_BY_BROWSERS:
        picture.thumbnail((PREVIEW, PREVIEW))
        with written_whole(preview_of(file)) as beside:
            picture.save(beside, "PNG")
        preview = served(preview_of(file))
    drop_old()
    return {"key": KEY + file.name, "preview": preview}


def preview_of(file: Path) -> Path:
    return file.with_suffix(".preview.png")


def drop_old() -> None:
    """The newest stays whatever its size."""
    with _lock:
        files = sorted((file for file in folder().iterdir() if KEY_FORM.fullmatch(file.name)), key=lambda file: file.stat().st_mtime)
        size = 0
        for i, file in enumerate(reversed(files)):
            size += file.stat().st_size
            if i and (i >= MAX_SENT or size > MAX_BYTES):
                remove(file)
                remove(preview_of(file))
