"""A whole run: its stages one after the other, each from the networks of the one before, then the export."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers
from accelerate import Accelerator, InitProcessGroupKwargs, PartialState
from PIL import Image

from .. import ldm
from ..contact_sheet import contact_sheet
from ..edit import MIN_SIDE, Edit, EditError
from ..files import remove, why, written_whole
from . import config as configs
from . import state as states
from .cache import cached
from .config import AUTOENCODER, EDIT, Config, Stage
from .data import Draw, Folder, Samples, crop, crop_generator, dropped, seeded
from .loop import Loop, memory_told
from .losses import AutoencoderLoss, DenoisingLoss
from .networks import Networks, check_shapes, new_text_encoder, new_tokenizer, new_unet, new_vae, token_ids, widened

MODEL = "model"  # the networks after a stage, with averaged weights
GRID = "{:08d}.png"  # of the validation after that many steps
PATIENCE = timedelta(hours=12)  # of processes that wait for the main one: to check a set, to validate
MEASURED = 64  # pictures whose latents' deviation sets the scaling factor


def train(config: Config) -> Path:
    """Trains every stage that is not finished → the folder of the last one's networks. Raises EditError and KeyboardInterrupt."""
    quiet()
    if config.threads:
        torch.set_num_threads(config.threads)
    accelerator = accelerator_for(config)
    if accelerator.device.type == "cpu":  # elsewhere many an operation has no such form, and says so
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    if not config.model.start:
        check_shapes(config.model, config.export != "none" and any(s.kind != AUTOENCODER for s in config.stages.values()))
    output = Path(config.output)
    if accelerator.is_main_process:
        for line in configs.save(config, output / "config.yaml"):
            print(f"Changed since the last start: {line}", flush=True)
        for torn in [*output.rglob(".*.part")]:  # of a start that was killed
            remove(torn)
    accelerator.wait_for_everyone()
    if accelerator.num_processes > 1:
        accelerator.print(f"{accelerator.num_processes} processes.")
    networks = Networks()
    rows = Rows(config, accelerator.print)
    if config.data.pairs:
        with accelerator.main_process_first():  # the others find its check of the pictures
            rows.usable  # noqa: B018
    names = list(config.stages)
    for number, name in enumerate(names):
        folder, stage = output / name / MODEL, config.stages[name]
        if not folder.is_dir() or (name == names[-1] and 0 < states.newest_step(folder.parent) < stage.steps):
            if not number and config.model.start:
                networks = Networks.start(config.model.start)
            with memory_told(name, stage):
                networks = one_stage(config, name, number, networks, rows, accelerator)
            if accelerator.is_main_process:
                networks.save(folder)
            accelerator.wait_for_everyone()
        networks = Networks.read(folder)
    accelerator.end_training()
    return folder


def quiet() -> None:
    """Libraries show no bars and no warnings of their own."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def accelerator_for(config: Config) -> Accelerator:
    """Raises EditError for a precision that the device has not."""
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    others = " or ".join(choice for choice in configs.CHOICES["precision"] if choice != config.precision)
    try:
        accelerator = Accelerator(mixed_precision=config.precision, cpu=config.device == "cpu", kwargs_handlers=[patience])
    except ValueError as e:
        raise EditError(f"precision={config.precision} is not to be had here: choose {others} ({why(e)}).") from e
    if config.precision == "fp16" and accelerator.scaler is None:  # accelerate trains on a CPU without it, and does not say so
        raise EditError(f"precision=fp16 is not to be had on the {accelerator.device.type}: choose {others}.")
    return accelerator


def one_stage(config: Config, name: str, number: int, networks: Networks, rows: Rows, accelerator: Accelerator) -> Networks:
    """→ the networks with the averaged weights of this stage."""
    stage = config.stages[name]
    networks = prepared(config, stage, number, networks, rows)
    if stage.kind == AUTOENCODER:
        module = AutoencoderLoss(networks, stage)
        draw = rows.pictures(stage)
        check = AutoencoderCheck(config, name, networks, rows) if config.validation.every else None
    else:
        module = DenoisingLoss(networks, stage)
        if stage.cache:
            draw = cached(Path(config.output), config.seed, stage, networks, rows, accelerator)
        else:
            draw = rows.edits(stage, networks) if stage.kind == EDIT else rows.captions(stage, networks)
        check = EditCheck(config, name, networks, rows) if stage.kind == EDIT and config.validation.every else None
    module.to(accelerator.device)
    loop = Loop(config, name, module, Samples(draw, stage, config.seed, number), accelerator, check)
    loop.run()
    loop.ema.copy_to([p for _, p in loop.trained])
    accelerator.free_memory()  # or it keeps this stage's networks and optimizer through the next
    for network in (networks.vae, networks.text_encoder, networks.unet):
        if network is not None:
            torch.nn.Module.to(network, "cpu").requires_grad_(True)  # diffusers' own warns of layers that these have not
    if stage.kind == AUTOENCODER:
        factor = scaling_factor(networks.vae, rows, stage, config.seed, number)
        networks.vae.register_to_config(scaling_factor=factor)
    return networks


def prepared(config: Config, stage: Stage, number: int, networks: Networks, rows: Rows) -> Networks:
    """What the stage trains, made where it is missing; random weights follow from the run's seed."""
    seeded(config.seed * 1000 + number)
    if stage.kind == AUTOENCODER:
        return networks if networks.vae else networks.with_(vae=new_vae(config.model))
    if networks.vae is None:
        raise EditError("There is no autoencoder to train on: name a model in model.start, or put an autoencoder stage first.")
    if networks.tokenizer is None:
        networks = networks.with_(tokenizer=new_tokenizer(rows.texts(), config.model.text.vocabulary))
    if networks.text_encoder is None:
        if not stage.train_text:
            raise EditError("The text encoder starts from nothing, so it has to be trained: set train_text=true in its first stage.")
        networks = networks.with_(text_encoder=new_text_encoder(config.model, networks.tokenizer))
    channels = 8 if stage.kind == EDIT else 4
    unet = widened(networks.unet, channels) if networks.unet is not None else new_unet(config.model, channels)
    if config.export != "none":
        ldm.check(unet.config, networks.vae.config)
    return networks.with_(unet=unet)


class Rows:
    """The run's data, opened once it is needed."""

    def __init__(self, config: Config, say: Callable[[str], None]):
        self.config, self.say = config, say
        self._pairs = self._folder = self._usable = None

    @property
    def folder(self) -> Folder:
        self._folder = self._folder or Folder(self.config.data)
        return self._folder

    @property
    def pairs(self):
        if self._pairs is None:
            data = self.config.data
            if data.pairs == "scenes":
                from ..dataset.scenes import Scenes

                self._pairs = Scenes(data.scenes)
            else:
                from ..dataset.pairs import open_pairs

                self._pairs = open_pairs(self.place, data.split or None)
        return self._pairs

    @property
    def place(self) -> str | Path:
        """Of the pair set: a path, or a name on the hub."""
        path = Path(self.config.data.pairs).expanduser()
        return path if path.exists() else self.config.data.pairs

    @property
    def usable(self) -> Sequence[int]:
        """The rows that can be read. Raises EditError when too many can't."""
        if self._usable is None:
            if self.config.data.pairs == "scenes":
                self._usable = range(len(self.pairs))
            else:
                from ..dataset.check import check_pairs

                self._usable = check_pairs(self.pairs, self.config.data.max_broken, self.say)
        return self._usable

    def shown(self) -> list:
        """The pairs that validations look at, spread over their set."""
        wanted = self.config.validation
        if wanted.split:
            from ..dataset.pairs import open_pairs

            pairs = open_pairs(self.place, wanted.split)
            rows: Sequence[int] = range(len(pairs))
        else:
            pairs, rows = self.pairs, self.usable
        if not len(rows):
            raise EditError(f"validation.split: {self.config.data.pairs} has no rows in “{wanted.split}”.")
        count = min(wanted.rows, len(rows))
        return [pairs[rows[i * len(rows) // count]] for i in range(count)]

    def texts(self) -> list[str]:
        """Every text of the set once, sorted."""
        found = set()
        for i in self.usable:
            texts = self.pairs.texts(i)
            found.update(texts["edit_prompts"], (texts["original_prompt"], texts["edited_prompt"]))
        return sorted(found - {"", None})

    def pictures(self, stage: Stage) -> Draw:
        """For the autoencoder: the folder's pictures, or both pictures of every pair."""
        if self.config.data.pictures:

            def draw(row, rng, variant):
                return {"pixels": self.crop([self.folder[row]], stage, row, variant)[0]}

            return Draw(len(self.folder), draw)

        def draw_of_pairs(row, rng, variant):
            pair = self.pairs[self.usable[row // 2]]
            return {"pixels": self.crop([pair.edited_image if row % 2 else pair.original_image], stage, row // 2, variant)[0]}

        return Draw(2 * len(self.usable), draw_of_pairs)

    def captions(self, stage: Stage, networks: Networks) -> Draw:
        """For text to image: every pair's two pictures with their captions."""

        def draw(row, rng, variant):
            pair = self.pairs[self.usable[row // 2]]
            picture, caption = (pair.edited_image, pair.edited_prompt) if row % 2 else (pair.original_image, pair.original_prompt)
            no_text, _ = dropped(stage, rng.random())
            pixels = self.crop([picture], stage, row // 2, variant)[0]
            return {"edited": pixels, "tokens": token_ids(networks.tokenizer, "" if no_text else caption)}

        return Draw(2 * len(self.usable), draw)

    def edits(self, stage: Stage, networks: Networks) -> Draw:
        def draw(row, rng, variant):
            pair = self.pairs[self.usable[row]]
            no_text, no_image = dropped(stage, rng.random())
            original, edited = self.crop([pair.original_image, pair.edited_image], stage, row, variant)
            text = pair.edit_prompts[int(rng.integers(len(pair.edit_prompts)))]
            tokens = token_ids(networks.tokenizer, "" if no_text else text)
            return {"original": original, "edited": edited, "tokens": tokens, "drop_image": torch.tensor(no_image)}

        return Draw(len(self.usable), draw)

    def crop(self, pictures: Sequence[Image.Image], stage: Stage, row: int, variant: int) -> list[torch.Tensor]:
        return crop(pictures, stage, crop_generator(self.config.seed, row, variant))


@torch.no_grad()
def scaling_factor(vae, rows: Rows, stage: Stage, seed: int, number: int) -> float:
    """One over the deviation of the latents (Rombach et al., appendix G), so that they have unit variance."""
    samples = Samples(rows.pictures(stage), stage, seed, number)
    pixels = torch.stack([samples[i]["pixels"] for i in range(MEASURED)])
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in pixels.split(8)])
    return 1 / float(latents.std())


class AutoencoderCheck:
    """Pictures and their reconstructions beside each other, and the PSNR."""

    def __init__(self, config: Config, name: str, networks: Networks, rows: Rows):
        self.config, self.vae, self.folder = config, networks.vae, Path(config.output) / name / "validation"
        stage = replace(config.stages[name], flip=0.0, resize=[])
        data, count = config.data, config.validation.rows
        if data.pictures:
            every = Folder(replace(data, hold_out=[]))
            held = [i for i, path in enumerate(every.paths) if path.stem in data.hold_out] or range(len(every))[:count]
            pictures = (every[i] for i in held)
        else:
            pictures = (picture for pair in rows.shown() for picture in (pair.original_image, pair.edited_image))
        self.pixels = [crop([picture], stage, np.random.default_rng(0))[0] for picture in pictures]

    @torch.no_grad()
    def __call__(self, step: int) -> None:
        cells, errors = [], []
        for pixels in self.pixels:
            decoded = self.vae.decode(self.vae.encode(pixels[None].to(self.vae.device)).latent_dist.mode()).sample[0].cpu().clamp(-1, 1)
            errors.append(float(((decoded - pixels) / 2).square().mean()))
            cells += [picture_of(pixels), picture_of(decoded)]
        psnr = sum(-10 * math.log10(error) for error in errors) / len(errors)
        save_sheet(contact_sheet(cells, [str(i) for i in range(len(errors))], ["picture", "reconstruction"]), self.file(step))
        print(f"Step {step}: PSNR {psnr:.2f} dB over {len(errors)} pictures.", flush=True)

    def file(self, step: int) -> Path:
        return self.folder / GRID.format(step)


class EditCheck:
    """Fixed pictures edited by their instructions, from the same noise every time."""

    def __init__(self, config: Config, name: str, networks: Networks, rows: Rows):
        self.config, self.networks, self.folder = config, networks, Path(config.output) / name / "validation"
        wanted, size = config.validation, max(config.stages[name].size, MIN_SIDE)
        self.edits, self.cells = [], []
        for i, pair in enumerate(rows.shown()):
            instruction = wanted.instructions[i % len(wanted.instructions)] if wanted.instructions else pair.edit_prompt
            self.edits.append(
                Edit(
                    image=pair.original_image, instruction=instruction, steps=wanted.steps, seed=i, longest_side=size,
                    text_scale=wanted.text_scale, image_scale=wanted.image_scale, sampler_name="Euler a",
                )
            )  # fmt: skip
            self.cells.append((pair.original_image, None if wanted.instructions else pair.edited_image))

    def __call__(self, step: int) -> None:
        results = self.networks.editor().edit(self.edits)
        cells = []
        for (before, after), result in zip(self.cells, results):
            size = result.image.size
            cells += [before.resize(size), result.image] + ([after.resize(size)] if after else [])
        columns = ["before", "edited", "wanted"][: len(cells) // len(results)]
        width, height = (max(cell.size[axis] for cell in cells) for axis in (0, 1))
        cells = [on_ground(cell, width, height) for cell in cells]
        save_sheet(contact_sheet(cells, [edit.instruction for edit in self.edits], columns), self.file(step))

    def file(self, step: int) -> Path:
        return self.folder / GRID.format(step)


def on_ground(picture: Image.Image, width: int, height: int) -> Image.Image:
    ground = Image.new("RGB", (width, height), "white")
    ground.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return ground


def picture_of(pixels: torch.Tensor) -> Image.Image:
    """pixels: (3, h, w) in [-1, 1]."""
    return Image.fromarray(((pixels.permute(1, 2, 0) + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8).numpy())


def save_sheet(sheet: Image.Image, path: Path) -> None:
    with written_whole(path, force=True) as beside:
        sheet.save(beside, "PNG")


def finish(config: Config, folder: Path) -> None:
    """Exports the finished model and measures it, as the configuration says; of several processes the main one does. Raises EditError."""
    if not PartialState().is_main_process:
        return
    if (folder / "unet").is_dir():
        from .export import export

        for path in export(config, folder):
            print(f"Exported {path}")
    if config.evaluate == "scenes":
        from .scenes import measure

        measure(folder, Path(config.output) / "scenes")
