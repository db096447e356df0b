"""Latents and text embeddings on disk, in a folder named by everything that they depend on: a changed VAE, text encoder, set,
crop or precision looks in another folder, so that nothing stale is ever read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open

from ..errors import EditError
from ..files import written_whole
from ..progress import bar
from ..states import save_tensors
from .config import EDIT, Stage
from .data import Draw, crop, crop_generator, dropped
from .networks import Networks, fingerprint, token_ids
from .rows import Rows

SHARD = 256  # rows in a file
STD = "deviation"  # the key of a posterior's standard deviation, in cached files and in batches made from them
ORIGINAL, EDITED = 0, 1  # the pictures of a pair in a cached row


class Cache:
    """make(row) → tensors, for `rows` rows, `shard` of them in a file; read back in fp16. Filled once, shard by shard: an interrupted
    filling continues."""

    def __init__(self, folder: Path, rows: int, make: Callable[[int], dict[str, torch.Tensor]], unit: str, shard: int = SHARD):
        self.folder, self.rows, self.make, self.unit, self.shard = folder, rows, make, unit, shard
        self.opened: Callable[[int], Any] = lru_cache(maxsize=128)(lambda shard: safe_open(self.path(shard), "pt"))

    def path(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.safetensors"

    def fill(self, accelerator: Accelerator) -> None:
        """Every process makes its share of the shards that are missing. Raises EditError when the disk is full."""
        shards = range(-(-self.rows // self.shard))
        # A share by number: what is missing is another list when another process has begun to write.
        share = shards[accelerator.process_index :: accelerator.num_processes]
        missing = {i: range(i * self.shard, min((i + 1) * self.shard, self.rows)) for i in share if not self.path(i).is_file()}
        shown = bar(sum(map(len, missing.values())), self.unit) if missing and accelerator.is_main_process else None
        try:
            for shard, rows in missing.items():
                tensors: dict[str, torch.Tensor] = {}
                for row in rows:
                    tensors |= {f"{row - rows[0]}.{key}": value.half() for key, value in self.make(row).items()}
                    if shown:
                        shown.update(1)
                with written_whole(self.path(shard), force=True) as beside:
                    save_tensors(tensors, beside)
        finally:
            if shown:
                shown.close()
        accelerator.wait_for_everyone()

    def read(self, row: int, key: str) -> torch.Tensor:
        """Raises EditError when the file is damaged."""
        shard, place = divmod(row, self.shard)
        try:
            return self.opened(shard).get_tensor(f"{place}.{key}")
        except (SafetensorError, OSError) as e:
            raise EditError(f"{self.path(shard)} can't be read: remove it, and the next start makes it again.") from e


def key_of(*parts: Any) -> str:
    """A name that changes with any of the parts, which JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def cached(output: Path, seed: int, stage: Stage, networks: Networks, rows: Rows, accelerator: Accelerator) -> Draw:
    """The samples of a text-to-image or an edit stage with latents in place of pictures and, where the text encoder is
    frozen, embeddings in place of tokens."""
    usable, variants = rows.usable, max(stage.variants, 1)
    vae, text_encoder, tokenizer = networks.vae, networks.text_encoder, networks.tokenizer
    vae.to(accelerator.device).eval().requires_grad_(False)

    @torch.no_grad()
    def latents(place: int) -> dict[str, torch.Tensor]:
        row, variant = divmod(place, variants)
        pixels = torch.stack(crop(rows.pictures_of(row), stage, crop_generator(seed, row, variant)))
        with accelerator.autocast():
            posterior = vae.encode(pixels.to(vae.device)).latent_dist
        return {"mean": posterior.mean.cpu(), STD: posterior.std.cpu()}

    settings = [stage.size, list(stage.resize), stage.flip, variants, seed, accelerator.mixed_precision]
    key = key_of(fingerprint(vae), rows.fingerprint, hashlib.sha256(str(list(usable)).encode()).hexdigest(), settings)
    pictures = Cache(
        output / "cache" / f"latents-{key}", len(usable) * variants, latents, "picture" if rows.per_row == 1 else "picture pair"
    )
    pictures.fill(accelerator)

    def texts_of(row: int) -> tuple[str, ...]:
        """What a row's pictures are trained with: the phrasings of its instruction, or the pictures' captions."""
        return tuple(rows.pairs.texts(usable[row])["edit_prompts"]) if stage.kind == EDIT else rows.captions_of(row)

    texts = None
    if not stage.train_text:
        text_encoder.to(accelerator.device).eval().requires_grad_(False)

        @torch.no_grad()
        def embedded(row: int) -> dict[str, torch.Tensor]:
            phrasings = [""] if row == len(usable) else texts_of(row)
            ids = torch.stack([token_ids(tokenizer, text) for text in phrasings]).to(text_encoder.device)
            return {str(i): value.cpu() for i, value in enumerate(text_encoder(input_ids=ids).last_hidden_state)}

        key = key_of(fingerprint(text_encoder), tokenizer.get_vocab(), rows.fingerprint, list(usable), stage.kind)
        texts = Cache(output / "cache" / f"texts-{key}", len(usable) + 1, embedded, "text")
        texts.fill(accelerator)

    def draw(number: int, rng: np.random.Generator, variant: int) -> dict[str, torch.Tensor]:
        row, target = (number, EDITED) if stage.kind == EDIT else divmod(number, rows.per_row)
        place = row * variants + variant % variants
        mean, std = pictures.read(place, "mean"), pictures.read(place, STD)
        no_text, no_image = dropped(stage, rng.random())
        phrasings = texts_of(row)
        chosen = int(rng.integers(len(phrasings))) if stage.kind == EDIT else target
        sample = {"mean": mean[target], STD: std[target], "drop_image": torch.tensor(no_image)}
        if stage.kind == EDIT:
            sample["condition"] = mean[ORIGINAL]
        if texts is None:
            sample["tokens"] = token_ids(tokenizer, "" if no_text else phrasings[chosen])
        else:
            sample["text"] = texts.read(len(usable), "0") if no_text else texts.read(row, str(chosen))
        return sample

    return Draw(len(usable) * (1 if stage.kind == EDIT else rows.per_row), draw)
