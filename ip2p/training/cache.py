"""Latents and text embeddings on disk, in a folder named by everything that they follow from: a changed VAE, text encoder, set,
crop or precision looks in another folder, so that nothing stale is ever read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open

from ..errors import EditError
from ..files import written_whole
from ..progress import bar
from .config import EDIT, Stage
from .data import Draw, crop, crop_generator, dropped
from .networks import Networks, fingerprint, token_ids
from .state import save_tensors

SHARD = 256  # rows in a file


class Cache:
    """make(row) → tensors, of `rows` rows; read back in fp16. Filled once, shard by shard: an interrupted filling goes on."""

    def __init__(self, folder: Path, rows: int, make: Callable[[int], dict[str, torch.Tensor]], unit: str):
        self.folder, self.rows, self.make, self.unit = folder, rows, make, unit
        self.opened = lru_cache(maxsize=128)(lambda shard: safe_open(self.path(shard), "pt"))

    def path(self, shard: int) -> Path:
        return self.folder / f"{shard:06d}.safetensors"

    def fill(self, accelerator: Accelerator) -> None:
        """Every process makes its share of the shards that are missing. Raises EditError when the disk is full."""
        every = range(-(-self.rows // SHARD))
        # A share by number: what is missing is another list when another process has begun to write.
        mine = [shard for shard in every[accelerator.process_index :: accelerator.num_processes] if not self.path(shard).is_file()]
        missing = {shard: range(shard * SHARD, min((shard + 1) * SHARD, self.rows)) for shard in mine}
        shown = bar(sum(map(len, missing.values())), self.unit) if missing and accelerator.is_main_process else None
        try:
            for shard, rows in missing.items():
                made: dict[str, torch.Tensor] = {}
                for row in rows:
                    made |= {f"{row - rows[0]}.{key}": value.half() for key, value in self.make(row).items()}
                    if shown:
                        shown.update(1)
                with written_whole(self.path(shard), force=True) as beside:
                    save_tensors(made, beside)
        finally:
            if shown:
                shown.close()
        accelerator.wait_for_everyone()

    def read(self, row: int, key: str) -> torch.Tensor:
        """Raises EditError when the file is damaged."""
        shard, place = divmod(row, SHARD)
        try:
            return self.opened(shard).get_tensor(f"{place}.{key}")
        except (SafetensorError, OSError) as e:
            raise EditError(f"{self.path(shard)} can't be read: remove it, and it is made again at the next start.") from e


def key_of(*parts) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def cached(output: Path, seed: int, stage: Stage, networks: Networks, rows, accelerator: Accelerator) -> Draw:
    """The samples of a text-to-image or an edit stage with latents in place of pictures and, where the text encoder is
    frozen, embeddings in place of tokens. rows: `rows.Rows`."""
    pairs, usable, variants = rows.pairs, rows.usable, max(stage.variants, 1)
    vae, text_encoder, tokenizer = networks.vae, networks.text_encoder, networks.tokenizer
    vae.to(accelerator.device).eval().requires_grad_(False)

    @torch.no_grad()
    def latents(place: int) -> dict[str, torch.Tensor]:
        row, variant = divmod(place, variants)
        pair = pairs[usable[row]]
        pixels = torch.stack(crop([pair.original_image, pair.edited_image], stage, crop_generator(seed, row, variant)))
        with accelerator.autocast():
            posterior = vae.encode(pixels.to(vae.device)).latent_dist
        return {"mean": posterior.mean.cpu(), "deviation": posterior.std.cpu()}

    what = [stage.size, list(stage.resize), stage.flip, variants, seed, accelerator.mixed_precision]
    key = key_of(fingerprint(vae), pairs.fingerprint, hashlib.sha256(str(list(usable)).encode()).hexdigest(), what)
    seen = Cache(output / "cache" / f"latents-{key}", len(usable) * variants, latents, "picture pair")
    seen.fill(accelerator)

    texts = None
    if not stage.train_text:
        text_encoder.to(accelerator.device).eval().requires_grad_(False)

        @torch.no_grad()
        def embedded(row: int) -> dict[str, torch.Tensor]:
            phrasings = [""] if row == len(usable) else spoken(pairs.texts(usable[row]), stage.kind)
            ids = torch.stack([token_ids(tokenizer, text) for text in phrasings]).to(text_encoder.device)
            return {str(i): value.cpu() for i, value in enumerate(text_encoder(input_ids=ids).last_hidden_state)}

        key = key_of(fingerprint(text_encoder), tokenizer.get_vocab(), pairs.fingerprint, list(usable), stage.kind)
        texts = Cache(output / "cache" / f"texts-{key}", len(usable) + 1, embedded, "text")
        texts.fill(accelerator)

    def draw(row, rng, variant):
        which = 1
        if stage.kind != EDIT:
            row, which = divmod(row, 2)
        place = row * variants + variant % variants
        mean, deviation = seen.read(place, "mean"), seen.read(place, "deviation")
        no_text, no_image = dropped(stage, rng.random())
        phrasings = spoken(pairs.texts(usable[row]), stage.kind)
        chosen = int(rng.integers(len(phrasings))) if stage.kind == EDIT else which
        sample = {"mean": mean[which], "deviation": deviation[which], "drop_image": torch.tensor(no_image)}
        if stage.kind == EDIT:
            sample["condition"] = mean[0]
        if texts is None:
            sample["tokens"] = token_ids(tokenizer, "" if no_text else phrasings[chosen])
        else:
            sample["text"] = texts.read(len(usable), "0") if no_text else texts.read(row, str(chosen))
        return sample

    return Draw(len(usable) * (1 if stage.kind == EDIT else 2), draw)


def spoken(texts: dict, kind: str) -> tuple[str, ...]:
    """What a row's pictures are trained with: the phrasings of its instruction, or the captions before and after."""
    return tuple(texts["edit_prompts"]) if kind == EDIT else (texts["original_prompt"], texts["edited_prompt"])
