"""The configuration of a training run: a yaml file and `key=value` over defaults that every run shares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image

from ..edit import IMAGE_SCALE, MAX_SCALE, MIN_SIDE, TEXT_SCALE, Edit
from ..errors import EditError
from ..files import written_whole
from .setting_names import keys_of, nearest, overrides_of, read, what_is_wrong

AUTOENCODER, TEXT, TEXT_TO_IMAGE, EDIT, CLIP, DISTILL = "autoencoder", "text", "text_to_image", "edit", "clip", "distill"
KINDS = (AUTOENCODER, TEXT, TEXT_TO_IMAGE, EDIT, CLIP, DISTILL)
GUIDED, ENDPOINT = "guided", "endpoint"  # what a student learns: ê of equation 3, or the trajectory's last latent
STAGE_NAME = re.compile(r"\w[\w .-]*")
LEVELS = 4  # of an autoencoder whose latents are 8 pixels wide
MOST_POINTS = 50  # of a trajectory, as many as the LCM sampler has levels
CHOICES = {
    "precision": ("no", "fp16", "bf16", "auto"), "export": ("ema", "plain", "both", "none"), "evaluate": ("", "scenes"), "device": ("", "cpu"),
    "decay": ("constant", "cosine"), "weighting": ("epsilon", "v"), "kind": KINDS,
    "student": (GUIDED, ENDPOINT),
}  # fmt: skip
AT_LEAST = {
    "seed": 0, "threads": 0, "save_every": 1, "keep": 1, "log_every": 1, "workers": 0, "scenes": 1, "every": 0, "rows": 1, "steps": 1,
    "batch_size": 1, "accumulate": 1, "variants": 0, "learning_rate": 0, "warmup": 0, "gradient_clip": 0,
    "trajectories": 1, "times": 1, "between": 1,
}  # fmt: skip
AT_MOST = {"workers": 64, "threads": 1024}
SHARES = ("flip", "ema", "drop_text", "drop_both", "drop_image", "max_broken", "at_one", "at_times", "own_steps")  # between 0 and 1


@dataclass
class Vae:
    """LDM's KL autoencoder, 8 pixels a latent and 4 channels. channels: of every level, each of which halves the picture but the last; start: a
    folder of a trained one in this shape, as every diffusers folder has as `vae`; empty: from nothing."""

    channels: list[int] = field(default_factory=lambda: [128, 256, 512, 512])
    layers: int = 2
    groups: int = 32
    start: str = ""


@dataclass
class Unet:
    """LDM's UNet. attention: the levels, from 0, that attend to the picture and the text; groups: of its normalisation, 32 in LDM's own code."""

    channels: list[int] = field(default_factory=lambda: [320, 640, 1280, 1280])
    layers: int = 2
    attention: list[int] = field(default_factory=lambda: [0, 1, 2])
    heads: int = 8
    groups: int = 32


@dataclass
class Text:
    """CLIP's text encoder. start: a folder of a CLIP, both encoders of it, whose text encoder and vocabulary are taken as Stable Diffusion took
    OpenAI's; empty: from nothing, in this shape, with at most `vocabulary` tokens, learned from the texts of the data."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    vocabulary: int = 49408
    start: str = ""


@dataclass
class Clip:
    """CLIP's picture encoder, a vision transformer over patches of `patch` pixels, and the width of the space it shares with the text."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    patch: int = 14
    projection: int = 768


@dataclass
class Model:
    """start: a diffusers folder, a single LDM file or a name on the hub; empty: from nothing, in the shapes below."""

    start: str = ""
    vae: Vae = field(default_factory=Vae)
    unet: Unet = field(default_factory=Unet)
    text: Text = field(default_factory=Text)
    clip: Clip = field(default_factory=Clip)


@dataclass
class Data:
    """pairs: a pair set, "scenes" for synthetic ones, or "captioned_scenes" for single varied scenes with captions; pictures: a folder, for an autoencoder alone (else the pairs' own)."""

    pairs: str = ""
    split: str = ""
    pictures: str = ""
    licences: str = ""  # a CSV with the columns file and licence: pictures without an allowed licence are left out
    allow: list[str] = field(default_factory=list)
    hold_out: list[str] = field(default_factory=list)  # pictures left out by the name of their file, without its suffix
    max_broken: float = 0.01
    workers: int = 0
    scenes: int = 20000  # synthetic scenes in the set


@dataclass
class Stage:
    """One stage. What it does not use is ignored: the autoencoder has no text to drop, the others no reconstruction."""

    kind: str = EDIT
    steps: int = 10000
    batch_size: int = 4  # of one process and one forward pass
    accumulate: int = 1
    size: int = 256
    resize: list[int] = field(default_factory=list)  # shorter side before the crop, drawn from this range; empty: the size
    flip: float = 0.5
    variants: int = 0  # crops and flips of a row that there are; 0: a new one every time
    cache: bool = False
    learning_rate: float = 1e-4
    warmup: int = 0
    decay: str = "constant"  # or "cosine", to a hundredth
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.01
    gradient_clip: float = 0.0  # 0: none
    gradient_checkpointing: bool = False
    ema: float = 0.9999
    drop_text: float = 0.05
    drop_both: float = 0.05
    drop_image: float = 0.05
    train_text: bool = False
    weighting: str = "epsilon"  # of noise levels; or "v", as if v were predicted: the noisiest ones, which decide colours, count more
    l1: float = 1.0
    l2: float = 0.0
    edges: float = 0.0  # L1 between the differences of neighbouring pixels
    coarse: float = 0.0  # L1 between means of 8x8 pixels
    perceptual: float = 0.0
    decoder_only: bool = False  # latents stay what they are, and so does what was trained on them
    kl: float = 1e-6
    student: str = GUIDED  # of a stage that distils; or "endpoint"
    trajectories: int = 4000  # of the teacher, each of a row, a crop, a phrasing, a noise and two scales of its own
    times: int = 4  # sampling times of the endpoint's student, which every trajectory passes
    between: int = 3  # points of a trajectory from one of them to the next, itself among them
    text_scales: list[float] = field(default_factory=lambda: [1.0, 4.0])  # drawn evenly from this range
    image_scales: list[float] = field(default_factory=lambda: [1.0, 2.2])
    at_one: float = 0.05  # the share of samples whose text scale is 1, and of those whose image scale is
    at_times: float = 0.75  # of the endpoint's samples, the share at the sampling times
    own_steps: float = 0.5  # of those at the sampling times after the first, the share that is at what the student itself made of the noise


@dataclass
class Validation:
    every: int = 0  # steps between grids of edited pictures; 0: none
    split: str = ""  # of the pair set, to be looked at instead of what is trained on
    rows: int = 4
    steps: int = 20
    text_scale: float = 7.5
    image_scale: float = 1.5
    instructions: list[str] = field(default_factory=list)  # in place of the rows' own


@dataclass
class Defaults:
    """What suits the finished model, kept in what is exported: `checkpoints.defaults`. None: as of the published checkpoint."""

    text_scale: float | None = None
    image_scale: float | None = None
    steps: int | None = None
    size: int | None = None  # longest side in pixels
    sampler: str | None = None
    scheduler: str | None = None  # the schedule type
    instructions: list[str] = field(default_factory=list)  # examples of what it knows


@dataclass
class Config:
    output: str = MISSING
    seed: int = 0
    threads: int = 0  # of the CPU; 0: torch's choice
    precision: str = "no"  # or "fp16", "bf16"; "auto": bf16 on a device that computes in it, else no
    device: str = ""  # "cpu" where there is an accelerator too
    save_every: int = 500
    keep: int = 2
    log_every: int = 10
    tensorboard: bool = True
    export: str = "ema"  # or "plain", "both", "none": the weights that are exported
    half: bool = True  # exported in fp16
    evaluate: str = ""  # "scenes": measure the finished model on scenes never seen
    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    validation: Validation = field(default_factory=Validation)
    defaults: Defaults = field(default_factory=Defaults)
    stages: dict[str, Stage] = field(default_factory=dict)


def load(path: Path, changes: Sequence[str] = ()) -> Config:
    """path: a yaml; changes: `key=value`, with dots for what is within. Raises EditError for unknown keys and wrong values."""
    if not path.is_file():
        raise EditError(f"There is no configuration {path}.")
    given = read(path)
    overrides = overrides_of(changes, "seed=1")
    stages = given.get("stages")
    if not isinstance(stages, DictConfig) or not stages:
        raise EditError(f"{path} names no stages: it needs one of {', '.join(KINDS)} under “stages”.")
    schema = OmegaConf.structured(Config)
    schema.stages = {name: Stage(kind=name if name in KINDS else EDIT) for name in stages}
    known = list(keys_of(schema))
    for source, part in ((str(path), given), ("the command", overrides)):
        for key in keys_of(part, leaves=True):
            if key not in known:
                raise EditError(f"There is no setting “{key}” (in {source}): the nearest one is “{nearest(key, known)}”.")
    try:
        merged = OmegaConf.merge(schema, given, overrides)
        missing = OmegaConf.missing_keys(merged)
        if missing:
            raise EditError(f"The setting “{min(missing)}” has no value: give it one in {path} or as {min(missing)}=… in the command.")
        merged.output = str(Path(merged.output).expanduser())
        if merged.precision == str(False):  # as yaml reads an unquoted “no”
            merged.precision = "no"
        config: Any = OmegaConf.to_object(merged)
        return checked(config)
    except OmegaConfBaseException as e:
        raise EditError(f"A setting of {path} is wrong: {what_is_wrong(e)}.") from e


def checked(config: Config) -> Config:
    """Raises EditError for values that no run can have."""
    parts = {"": config, "data.": config.data, "validation.": config.validation}
    for place, part in (parts | {f"stages.{name}.": stage for name, stage in config.stages.items()}).items():
        for key, value in vars(part).items():
            if key in CHOICES and value not in CHOICES[key]:
                raise EditError(f"{place}{key} is “{value}”: choose {' or '.join(shown(choice) for choice in CHOICES[key])}.")
            if key in AT_LEAST and not value >= AT_LEAST[key]:
                raise EditError(f"{place}{key} is {value}: it must be at least {AT_LEAST[key]}.")
            if key in AT_MOST and not value <= AT_MOST[key]:
                raise EditError(f"{place}{key} is {value}: it must be at most {AT_MOST[key]}.")
            if key in SHARES and not 0 <= value <= 1:
                raise EditError(f"{place}{key} is {value}: it must be between 0 and 1.")
    for name, stage in config.stages.items():
        said = f"stages.{name}"
        if not STAGE_NAME.fullmatch(name):
            raise EditError(f"A stage can't be named “{name[:80]}”, since its folder is: take letters, digits, “_”, “-”, “.” and spaces.")
        if stage.size < 8 or stage.size % 8:
            raise EditError(f"{said}.size is {stage.size}: it must be a multiple of 8.")
        if stage.resize and (len(stage.resize) != 2 or not stage.size <= stage.resize[0] <= stage.resize[1]):
            raise EditError(f"{said}.resize is {stage.resize}: give two sides, the smaller first, none below the size {stage.size}.")
        if len(stage.betas) != 2 or not all(0 <= beta < 1 for beta in stage.betas):
            raise EditError(f"{said}.betas is {stage.betas}: give two numbers from 0 to below 1.")
        if stage.cache and not stage.variants and (stage.flip or stage.resize):
            raise EditError(f"{said}.cache needs a number of crops and flips that is not endless: set {said}.variants, for instance 4.")
        if stage.drop_text + stage.drop_both + stage.drop_image > 1:
            raise EditError(f"{said} drops more than every sample: drop_text, drop_both and drop_image are shares that sum to at most 1.")
        for key, ends in (("text_scales", stage.text_scales), ("image_scales", stage.image_scales)):
            if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= MAX_SCALE:
                raise EditError(f"{said}.{key} is {ends}: give two scales from 0 to {MAX_SCALE:g}, the smaller first.")
        if stage.kind == DISTILL and stage.times * stage.between > MOST_POINTS:
            raise EditError(f"{said} has {stage.times} × {stage.between} points a trajectory: times · between is at most {MOST_POINTS}.")
        if stage.kind == CLIP and stage.size % config.model.clip.patch:
            raise EditError(f"{said}.size is {stage.size}: it must be a multiple of model.clip.patch, {config.model.clip.patch}.")
        if stage.kind == AUTOENCODER and config.model.start:
            raise EditError(
                f"{said} trains an autoencoder from nothing, but model.start names a model that has one: leave one of them out."
            )
    check_start(config.model)
    check_order(config)
    check_defaults(config.defaults)
    if config.validation.every:
        for name, stage in config.stages.items():
            for instruction in config.validation.instructions or ["x"]:
                if stage.kind in (EDIT, DISTILL):
                    validation_edit(config, name, Image.new("RGB", (MIN_SIDE, MIN_SIDE)), instruction)
    levels = len(config.model.vae.channels)
    if levels != LEVELS and not (config.export == "none" and 0 < levels < LEVELS):
        raise EditError(
            f"model.vae.channels is {config.model.vae.channels}: it must have {LEVELS} levels, so that a latent is 8 pixels wide. With "
            "export=none, which leaves a diffusers folder alone, it may have fewer."
        )
    if config.data.workers and "fork" not in get_all_start_methods():
        raise EditError("data.workers needs a system that can fork processes: set it to 0.")
    if not config.data.pairs and not (config.data.pictures and all(s.kind == AUTOENCODER for s in config.stages.values())):
        raise EditError("data.pairs names no pair set: give a file, a folder or a name on the hub.")
    return config


def usual_scales(defaults: Defaults) -> tuple[float, float]:
    """Text and image scale that suit the finished model, at which a student is a plain edit model."""
    text, image = defaults.text_scale, defaults.image_scale
    return TEXT_SCALE if text is None else text, IMAGE_SCALE if image is None else image


def check_defaults(defaults: Defaults) -> None:
    """Raises EditError for what no edit can take."""
    said = {
        "text_scale": defaults.text_scale, "image_scale": defaults.image_scale, "steps": defaults.steps, "longest_side": defaults.size,
        "sampler_name": defaults.sampler, "scheduler": defaults.scheduler,
    }  # fmt: skip
    given: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    try:
        for instruction in defaults.instructions or ["x"]:
            Edit(Image.new("RGB", (MIN_SIDE, MIN_SIDE)), instruction, **given)
    except EditError as e:
        raise EditError(f"defaults names what no edit can take: {e}") from e


def check_start(model: Model) -> None:
    """Raises EditError for a text encoder or an autoencoder that can't be taken."""
    for part, start, kind, said, where in (
        ("text", model.text.start, "a text encoder", "a CLIP", "A clip stage writes one, to output/STAGE/model/clip"),
        ("vae", model.vae.start, "an autoencoder", "an autoencoder", "An autoencoder stage writes one, to output/STAGE/model/vae"),
    ):
        if start and model.start:
            raise EditError(f"model.start names a model with {kind}, and model.{part}.start another one: leave one of them out.")
        if start and not (Path(start).expanduser() / "config.json").is_file():
            raise EditError(f"model.{part}.start: {start} is no folder of {said}. {where}.")


def check_order(config: Config) -> None:
    """Raises EditError for a stage that lacks what no stage before it makes."""
    has_edit = bool(config.model.start)
    has_vae = has_edit or bool(config.model.vae.start)
    has_text = has_edit or bool(config.model.text.start)
    is_student = False
    for name, stage in config.stages.items():
        said = f"stages.{name}"
        if stage.kind == DISTILL and not has_edit:
            raise EditError(f"{said} has no edit model to learn from: name one in model.start, or put an edit stage before it.")
        if is_student and stage.kind in (TEXT, TEXT_TO_IMAGE, EDIT):
            raise EditError(f"{said} would train a student of one pass as if it had three: put it before the stages that distil.")
        is_student |= stage.kind == DISTILL
        has_edit |= stage.kind == EDIT
        if stage.kind == AUTOENCODER:
            if stage.decoder_only and not has_vae:
                raise EditError(f"{said} has no autoencoder whose decoder could be trained alone: put an autoencoder stage before it.")
            has_vae = True
        elif stage.kind == TEXT:
            has_text = True
        elif stage.kind in (CLIP, DISTILL):
            continue
        else:
            if not has_vae:
                raise EditError(
                    f"{said} has no autoencoder to train on: name a model in model.start, or put an autoencoder stage before it."
                )
            if not has_text and not stage.train_text:
                raise EditError(f"{said}.train_text is false, but its text encoder starts from nothing: set {said}.train_text=true.")
            has_text = True


def validation_edit(config: Config, name: str, image: Image.Image, instruction: str, seed: int = 0) -> Edit:
    """What the validation of the stage `name` makes of a picture. Raises EditError for settings that no edit can have."""
    wanted = config.validation
    try:
        return Edit(
            image=image, instruction=" ".join(instruction.split()), steps=wanted.steps, seed=seed, longest_side=max(config.stages[name].size, MIN_SIDE),
            text_scale=wanted.text_scale, image_scale=wanted.image_scale, sampler_name="Euler a",
        )  # fmt: skip
    except EditError as e:
        raise EditError(f"validation asks stages.{name} for edits that can't be made: {e}") from e


def save(config: Config, path: Path) -> list[str]:
    """Writes the resolved configuration; returns what is different from the one that was there, a line each."""
    now = OmegaConf.structured(config)
    changed = []
    if path.is_file():
        before = read(path)
        for key in dict.fromkeys([*keys_of(before, leaves=True), *keys_of(now, leaves=True)]):
            old, new = (OmegaConf.select(of, key) for of in (before, now))
            if old != new:
                changed.append(f"{key}: {shown(old)} → {shown(new)}")
    with written_whole(path, force=True) as beside:
        beside.write_text(OmegaConf.to_yaml(now), encoding="utf8")
    return changed


def shown(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)
