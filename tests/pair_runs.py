"""A text-to-image model as small as it gets, rows for it, and the command that draws pairs of them."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from ip2p.dataset.generated.pair_stage import DrawPairs
from ip2p.dataset.generated.text_to_image import TextToImage
from tiny_model import save_folder, tiny_networks

ROWS = [
    {
        "id": f"row{i}",
        "input": f"a {thing} at noon",
        "edit": "make it night",
        "output": f"a {thing} at night",
        "url": f"https://example.org/{i}",
    }
    for i, thing in enumerate(("dog", "cat", "lake", "tower", "chair"))
]
FAST = ("--steps", 2, "--size", 64, "--samples", 2, "--batch", 2, "--shard", 2, "--device", "cpu", "--runner", "here")


def save_model(folder: Path) -> Path:
    save_folder(TextToImage(**tiny_networks(channels=4), name="tiny"), folder)
    return folder


def write_rows_file(file: Path, rows: list = ROWS) -> Path:
    """A str is taken as it is."""
    file.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf8")
    return file


@dataclass(frozen=True)
class DeadlyPairs(DrawPairs):
    """Captions with the word “deadly” take the process with them."""

    def open(self, device):
        drawer = super().open(device)
        tokens = drawer.model.tokens
        drawer.model.tokens = lambda text: os.kill(os.getpid(), signal.SIGKILL) if "deadly" in text else tokens(text)
        return drawer
