"""A whole run: its stages one after the other, each from the networks of the one before, then the export."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import Accelerator, InitProcessGroupKwargs, PartialState
from diffusers.models.attention_processor import AttnProcessor

from .. import states
from ..checkpoints import ldm
from ..checkpoints.recognise import EDIT_CHANNELS
from ..errors import EditError
from ..evaluation.options import SceneOptions
from ..evaluation.scene_cases import PLAIN
from ..evaluation.scene_run import evaluate_scenes
from ..files import UNFINISHED, in_use, remove, why
from . import config as configs
from .cache import cached
from .checks import AutoencoderCheck, Check, EditCheck, StudentCheck
from .config import AUTOENCODER, CLIP, DISTILL, EDIT, TEXT, TEXT_TO_IMAGE, Config, Stage, usual_scales
from .data import Sample, Samples, seeded
from .distillation import StudentLoss, lessons, student_of
from .export import export, student_in_folder
from .loop import Loop, memory_errors_explained
from .losses import AutoencoderLoss, ClipLoss, DenoisingLoss, TextLoss
from .networks import Networks, check_shapes, new_clip, new_text_encoder, new_tokenizer, new_unet, new_vae, widened
from .rows import Rows
from .trajectories import trajectories

MODEL = "model"  # the networks after a stage, with averaged weights
SCENES = "scenes"  # the folder of what is measured on scenes never seen
PATIENCE = timedelta(hours=12)  # of processes that wait for the main one: to check a set, to validate
MEASURED = 64  # pictures whose latents' standard deviation sets the scaling factor


def train(config: Config) -> Path:
    """Trains every stage that is not finished → the folder of the last one's networks. Raises EditError and KeyboardInterrupt."""
    quiet()
    if config.threads:
        torch.set_num_threads(config.threads)
    accelerator = accelerator_for(config)
    if accelerator.device.type == "cpu":  # elsewhere many operations have no deterministic form, and warn
        torch.use_deterministic_algorithms(True, warn_only=True)
        setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010, a setting that has no declaration
        if config.precision == "bf16" and not has_bf16():
            accelerator.print("This processor has no bf16 of its own and is many times slower in it: precision=no is quicker here.")
    if not config.model.start:
        check_shapes(config.model, config.export != "none" and any(s.kind != AUTOENCODER for s in config.stages.values()))
    output = Path(config.output)
    if accelerator.is_main_process:
        for line in configs.save(config, output / "config.yaml"):
            print(f"Changed since the last start: {line}", flush=True)
        clear_killed(output, config.stages)
    accelerator.wait_for_everyone()
    if accelerator.num_processes > 1:
        accelerator.print(f"{accelerator.num_processes} processes.")
    networks = Networks()
    rows = Rows(config, accelerator.print)
    with accelerator.main_process_first():  # the others find its check of the pictures
        rows.check()
    names = list(config.stages)
    for number, name in enumerate(names):
        folder, stage = output / name / MODEL, config.stages[name]
        longer = name == names[-1] and 0 < states.newest_step(folder.parent) < stage.steps  # than when it was finished
        if not folder.is_dir() or longer:
            if not number and config.model.start:
                networks = Networks.start(config.model.start)
            with memory_errors_explained(name, stage):
                networks = one_stage(config, name, number, networks, rows, accelerator)
            if accelerator.is_main_process:
                networks.save(folder, student_in_folder(config) if stage.kind == DISTILL else None)
            accelerator.wait_for_everyone()
        if name != names[-1]:
            networks = Networks.read(folder)
    accelerator.end_training()
    return folder


def clear_killed(output: Path, stages: Iterable[str]) -> None:
    """Removes what starts of this run that were killed left unfinished: by the names that `files.written_whole` gives, in the run's
    own folders, and of no process that still runs."""
    own_folders = (*stages, "cache", SCENES)
    entries = [*output.glob(".ip2p-*"), *(path for name in own_folders for path in (output / name).rglob(".ip2p-*"))]
    for entry in entries:
        match = UNFINISHED.fullmatch(entry.name)
        if match and match["kind"] == "part" and not in_use(entry, match["machine"], int(match["process"])):
            remove(entry)


def quiet() -> None:
    """Libraries show no bars and no warnings of their own."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def accelerator_for(config: Config) -> Accelerator:
    """Raises EditError for a precision that the device lacks."""
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    others = " or ".join(choice for choice in configs.CHOICES["precision"] if choice not in (config.precision, "auto"))
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if has_bf16(config.device == "cpu" or not torch.cuda.is_available()) else "no"
    try:
        accelerator = Accelerator(mixed_precision=precision, cpu=config.device == "cpu", kwargs_handlers=[patience])
    except ValueError as e:
        raise EditError(f"precision={config.precision} is not available here: choose {others} ({why(e)}).") from e
    if config.precision == "fp16" and accelerator.scaler is None:  # accelerate trains on a CPU without it, and does not say so
        raise EditError(f"precision=fp16 is not available on the {accelerator.device.type}: choose {others}.")
    return accelerator


def has_bf16(on_cpu: bool = True) -> bool:
    """Whether the processor, or the GPU, computes in bf16 itself: without that it is many times slower than fp32."""
    if not on_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # torch 2.6
    return bool(known()) if known else "AVX512" in torch.backends.cpu.get_cpu_capability()


def one_stage(config: Config, name: str, number: int, networks: Networks, rows: Rows, accelerator: Accelerator) -> Networks:
    """→ the networks with the averaged weights of this stage."""
    stage = config.stages[name]
    networks = prepared(config, stage, number, networks, rows)
    check: Check | None = None
    module: torch.nn.Module
    if stage.kind == AUTOENCODER:
        module, draw = AutoencoderLoss(networks, stage), rows.pictures(stage)
        if config.validation.every:
            check = AutoencoderCheck(config, name, networks, rows)
    elif stage.kind == TEXT:
        module, draw = TextLoss(networks, len(rows.kinds)), rows.phrasings(networks)
    elif stage.kind == CLIP:
        module, draw = ClipLoss(networks), rows.captioned(stage, networks)
    elif stage.kind == DISTILL:
        taught = trajectories(Path(config.output), config.seed, stage, teacher_of(config), rows, accelerator)
        module, draw = StudentLoss(networks, stage, usual_scales(config.defaults)), lessons(taught, stage)
        if config.validation.every:
            check = StudentCheck(config, name, networks, rows)
    else:
        module = DenoisingLoss(networks, stage)
        if stage.cache:
            draw = cached(Path(config.output), config.seed, stage, networks, rows, accelerator)
        else:
            draw = rows.edits(stage, networks) if stage.kind == EDIT else rows.captions(stage, networks)
        if stage.kind == EDIT and config.validation.every:
            check = EditCheck(config, name, networks, rows)
    module.to(accelerator.device)
    if networks.unet is not None and accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16":
        networks.unet.set_attn_processor(AttnProcessor())  # torch's fused attention is slower there: a quarter of a step
    loop = Loop(config, name, module, Samples(draw, stage, config.seed, number), accelerator, check)
    loop.run()
    loop.ema.copy_to([p for _, p in loop.trained])
    accelerator.free_memory()  # or it keeps this stage's networks and optimizer through the next
    for network in (networks.vae, networks.text_encoder, networks.unet, networks.clip):
        if network is not None:
            torch.nn.Module.to(network, "cpu").requires_grad_(True)  # diffusers' own warns of layers that these lack
    if stage.kind == AUTOENCODER and not stage.decoder_only:
        factor = scaling_factor(networks.vae, rows, stage, config.seed, number)
        networks.vae.register_to_config(scaling_factor=factor)
    return networks


def teacher_of(config: Config) -> Networks:
    """The networks of three passes that the run's first student starts from."""
    names = list(config.stages)
    first = next(number for number, name in enumerate(names) if config.stages[name].kind == DISTILL)
    return Networks.read(Path(config.output) / names[first - 1] / MODEL) if first else Networks.start(config.model.start)


def prepared(config: Config, stage: Stage, number: int, networks: Networks, rows: Rows) -> Networks:
    """The networks that the stage needs, new ones where they are missing; random weights follow from the run's seed."""
    seeded(config.seed * 1000 + number)
    if networks.vae is None and config.model.vae.start:
        networks = networks.with_vae_of(config.model.vae)
    if stage.kind == AUTOENCODER:
        return networks if networks.vae else networks.with_(vae=new_vae(config.model))
    if networks.tokenizer is None:
        text = config.model.text
        networks = networks.with_text_of(text) if text.start else networks.with_(tokenizer=new_tokenizer(rows.texts(), text.vocabulary))
    if stage.kind == CLIP:
        return networks if networks.clip else networks.with_(clip=new_clip(config.model, networks.tokenizer, stage.size))
    if networks.text_encoder is None:
        networks = networks.with_(text_encoder=new_text_encoder(config.model, networks.tokenizer))
    if stage.kind == TEXT:
        return networks
    channels = 4 if stage.kind == TEXT_TO_IMAGE else EDIT_CHANNELS
    unet: Any = widened(networks.unet, channels) if networks.unet is not None else new_unet(config.model, channels)
    if stage.kind == DISTILL:
        unet = student_of(unet)
    if config.export != "none":
        ldm.check(unet.config, networks.vae.config)
    return networks.with_(unet=unet)


@torch.no_grad()
def scaling_factor(vae: Any, rows: Rows, stage: Stage, seed: int, number: int) -> float:
    """One over the latents' standard deviation (Rombach et al., appendix G), so that they have unit variance."""
    samples = Samples(rows.pictures(stage), stage, seed, number)
    pixels = torch.stack([pixels_of(samples[i]) for i in range(MEASURED)])
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in pixels.split(8)])
    return 1 / float(latents.std())


def pixels_of(sample: Sample) -> torch.Tensor:
    """Raises EditError when its picture can't be read."""
    if isinstance(sample, EditError):
        raise sample
    return sample["pixels"]


def finish(config: Config, folder: Path) -> None:
    """Exports the finished model and measures it, as the configuration says; of several processes the main one does. Raises EditError."""
    if not PartialState().is_main_process:
        return
    if (folder / "unet").is_dir():
        for path in export(config, folder):
            print(f"Exported {path}")
    if config.evaluate == "scenes":
        evaluate_scenes(SceneOptions(models=[str(folder)], output=Path(config.output) / SCENES, scenes=PLAIN, force=True))
