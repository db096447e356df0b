"""The page's files, in a folder of its own: what was uploaded and what was made of it is deleted after a day."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container
from contextlib import suppress
from pathlib import Path
from threading import Thread

from gradio.utils import get_upload_folder

NAME = "instruct-edit"
HOUR, DAY = 3600, 86_400  # seconds: how often is looked, and what is old


def use_own_folder() -> Path:
    """From now on Gradio keeps the files of this process's pages in a folder of our own, so that clearing it deletes no other program's.

    → the folder, which lies in Gradio's usual one or in $GRADIO_TEMP_DIR."""
    folder = Path(get_upload_folder())
    if folder.name != NAME:
        folder /= NAME
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def clear_old(folder: Path, keep: Container[str] = (), now: float | None = None) -> None:
    """Deletes the files below it that were written or handed out more than a day before `now`, by default the present time, and the
    folders that are empty then. keep: paths that stay."""
    before = (time.time() if now is None else now) - DAY
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        with suppress(OSError):  # another page clears too, a folder is not empty, a file is gone
            if path.is_dir() and not path.is_symlink():
                if path.lstat().st_ctime < before:
                    path.rmdir()
            elif path.lstat().st_ctime < before and str(path) not in keep:
                path.unlink()


def clear_hourly(folder: Path, keep: Callable[[], Container[str]]) -> None:
    """Clears it now and every hour, as long as the process runs. keep: gives what is to stay."""

    def run() -> None:
        while True:
            clear_old(folder, keep())
            time.sleep(HOUR)

    Thread(target=run, name="instruct-edit-clearing", daemon=True).start()
