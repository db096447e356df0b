"""Fetching the published checkpoint: with progress, going on where a download broke off, checked against its SHA-256."""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import EditError
from ..files import refuse_existing, take_lock, why
from .recognise import sha256 as sha256_of

NAME = "instruct-pix2pix-00-22000.safetensors"
URL = f"https://huggingface.co/timbrooks/instruct-pix2pix/resolve/main/{NAME}"
# As WebUIs print it on loading the file, in full in stable-diffusion-webui-forge's issue 278 and by its first ten digits,
# fbc31a67aa, wherever people name this checkpoint.
SHA256 = "fbc31a67aab29ad38eef622a252d3fa4b0a81d4a4dc65da416cf45b13aa67688"
BLOCK = 1 << 20
TRIES, TIMEOUT = 5, 60.0  # times a broken connection is taken up again in one run; seconds without a byte

Progress = Callable[[int, int], None]  # bytes there, bytes in all


def place_in_webui(webui: Path) -> Path:
    """Where a WebUI keeps its checkpoints. Raises EditError when the folder holds no WebUI."""
    folder = webui / "models" / "Stable-diffusion"
    if not folder.is_dir():
        raise EditError(f"{webui} holds no WebUI: it has no folder models/Stable-diffusion.")
    return folder


def fetch(target: Path, url: str = URL, sha256: str = SHA256, progress: Progress = lambda done, total: None, force: bool = False) -> Path:
    """Downloads `url` to the file `target` through `target`.part beside it, which a later run goes on with.

    A file that is there and has the right SHA-256 stays as it is. Raises EditError when another is there and not `force`, without a
    network, when the disk is full, while another run fetches it, and when the hash differs (the download is removed then).
    """
    if target.is_file() and not force and sha256_of(target) == sha256:
        return target
    refuse_existing(target, force)
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(part):
            for attempt in range(TRIES):
                before = size_of(part)
                if download(url, part, progress):
                    break
                if attempt == TRIES - 1 or (attempt and size_of(part) <= before):
                    raise EditError("The download broke off: run it again, and it goes on where it stopped.")
            if sha256_of(part) != sha256:
                part.unlink()
                raise EditError(f"The download does not have the SHA-256 {sha256[:10]}… of {target.name} and was removed: try again.")
            os.replace(part, target)
    except urllib.error.HTTPError as e:
        raise EditError(f"{url} can't be fetched: the server answered {e.code} {e.reason}.") from e
    except urllib.error.URLError as e:
        reason = why(e.reason) if isinstance(e.reason, Exception) else e.reason
        raise EditError(f"{url} can't be reached: {reason}; is there a network?") from e
    except OSError as e:
        full = e.errno == errno.ENOSPC
        hint = "make room and run it again, it goes on where it stopped" if full else "choose another place"
        raise EditError(f"{part} could not be written: {why(e)}; {hint}.") from e
    return target


@contextmanager
def alone(part: Path) -> Iterator[None]:
    """Within the block no other run adds to `part`. Raises EditError while one does, or when one has just put it into its place."""
    with open(part, "ab") as file:
        try:
            take_lock(file)
        except BlockingIOError as e:
            raise EditError(f"Another run fetches {part.stem}: wait until it has ended.") from e
        except OSError:
            pass  # a file system without locks
        if not part.exists() or not os.path.samestat(os.fstat(file.fileno()), part.stat()):
            raise EditError(f"Another run has just ended with {part.stem}: run it again.")
        try:
            yield
        finally:
            if part.exists() and not size_of(part):
                part.unlink()


def size_of(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def download(url: str, part: Path, progress: Progress) -> bool:
    """Adds to `part` what it lacks; whether it is whole now. False when the connection broke."""
    done = size_of(part)
    request = urllib.request.Request(url, headers={"User-Agent": "ip2p", **({"Range": f"bytes={done}-"} if done else {})})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as e:
        e.close()
        if e.code != 416 or not done:
            raise
        # Nothing follows what is there: it is whole, or longer than the file and of no use.
        if e.headers.get("Content-Range") == f"bytes */{done}":
            return True
        os.truncate(part, 0)
        return False
    with answer:
        if done and not (answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")):
            done = 0  # the server sends all of it
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else 0
        if total and shutil.disk_usage(part.parent).free < total - done:
            raise OSError(errno.ENOSPC, f"no space left: {(total - done) / 1e9:.1f} GB are needed")
        with open(part, "ab" if done else "wb") as file:
            while block := read_block(answer):
                file.write(block)
                done += len(block)
                progress(done, total)
    return done >= total


def read_block(answer: http.client.HTTPResponse) -> bytes:
    """The next bytes, or none when the connection broke or all is read."""
    try:
        return answer.read(BLOCK)
    except http.client.IncompleteRead as e:
        return e.partial
    except (OSError, http.client.HTTPException):
        return b""
