"""One run of `python -m ip2p evaluate`: what is edited, what is written, and how the run continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..checkpoints.fingerprint import OWN_NAMES, fingerprint_of
from ..checkpoints.packaged import SMALL
from ..dataset.open import open_pairs
from ..dataset.pairs import PairSet
from ..edit import Edit
from ..editor import DTYPES, Editor, check_editor_can
from ..errors import EditError
from ..files import remove, why, written_whole
from ..scorers.by_name import device_named, scorer_named
from ..scorers.perceptual import Perceptual
from . import examples, report, summary
from .instructions import Instructions
from .options import IMAGE_SCALES, PROCEDURAL_SIZE, SIZE, TEXT_SCALES, EvaluationOptions, procedural_scales
from .procedural import Photo, PhotoBench, figures, measure_references, photos_of, printed, procedural_tasks, reconstruction
from .sdedit import SDEdit
from .sweep import UNTOUCHED, Bench, Lines, Maker, Setting, Task, key_of, read_lines, run_sweep, seed_of

RUN, LINES, REFERENCES, PICTURES = "run.json", "edits.jsonl", "references.jsonl", "pictures"
MUST_MATCH = ("fingerprint", "split", "scorer", "size")  # of two runs that are compared


@dataclass(frozen=True)
class Source:
    """A model by its name in the report. fingerprint: changes with its weights."""

    name: str
    place: str
    fingerprint: str
    sdedit: bool = False


def evaluate(options: EvaluationOptions) -> int:
    """Measures the models, writes the report and prints its figures → rows that could not be read. Raises EditError."""
    pairs = open_pairs(options.data, options.split)
    if not len(pairs):
        raise EditError(f"{options.data} has no pairs{f' of the split {options.split}' if options.split else ''}.")
    run = Run(options, pairs)
    begin(options.output, run.settings, run.sources, options.force)
    return run.go()


class Run:
    """Everything that is settled before the first edit. Raises EditError for settings out of range."""

    def __init__(self, options: EvaluationOptions, pairs: PairSet):
        self.options, self.pairs = options, pairs
        self.instructions = Instructions(pairs, options.phrasings, options.seed)
        self.photos: list[Photo] = photos_of(pairs, options.count, self.instructions.fits)
        text_scales, image_scales = procedural_scales(options.models[0]) if self.photos else (TEXT_SCALES, IMAGE_SCALES)
        self.text_scales = distinct(options.text_scales or text_scales)
        self.image_scales = distinct(options.image_scales or image_scales)
        self.strengths = distinct(options.strengths)
        self.size = options.size or {"longest_side": PROCEDURAL_SIZE if self.photos else SIZE}
        self.sources = sources_of(options.models, options.sdedit)
        self.models = [source.name for source in self.sources if not source.sdedit]
        check_scales(self)
        self.device = device_named(options.device)
        self.scorer = scorer_named(options.scorer, self.device)
        perceptual = Perceptual(self.device) if self.scorer else None
        self.bench = (
            PhotoBench(pairs, self.size, self.scorer, perceptual, self.photos)
            if self.photos
            else Bench(pairs, self.size, self.scorer, perceptual, rows_cached=2 * options.sampling.batch)
        )
        self.makers: dict[str, Callable[[], Any]] = {source.name: cache(partial(self.load, source)) for source in self.sources}

    @property
    def settings(self) -> dict[str, Any]:
        """What every line of the run shares: with other ones it is another run."""
        options, sampling = self.options, self.options.sampling
        return {
            "pairs": str(options.data), "split": options.split, "fingerprint": self.pairs.fingerprint, "computed": bool(self.photos),
            "size": self.size, "steps": sampling.steps, "sampler": sampling.sampler, "seed": options.seed,
            "phrasings": self.instructions.name, "scorer": self.scorer and self.scorer.name, "precision": options.precision,
        }  # fmt: skip

    def load(self, source: Source) -> Maker:
        precision = self.options.precision
        if not source.sdedit:
            return Editor.load(source.place, self.device, precision)
        default = torch.float16 if self.device.type == "cuda" else torch.float32
        return SDEdit.load(source.place, self.device, DTYPES[precision] if precision else default)

    def go(self) -> int:
        """→ rows that could not be read."""
        folder, options = self.options.output, self.options
        others = [line for place in options.compare for line in self.lines_of(place)]
        with Lines(folder / LINES) as lines:
            broken = run_sweep(self.tasks, self.makers, self.bench, lines, options.sampling, folder / PICTURES)
            by_key = {key_of(line): line for line in lines.lines}
        own = [by_key[task.key] for task in self.tasks if task.key in by_key]
        if not own:
            raise EditError(f"None of the pairs of {options.data} could be read.")
        of_models = self.procedural_figures(own)
        means, compared = summary.means(own + others), summary.comparisons(own + others)
        results = examples.kept_pictures(own, self.tasks, folder / PICTURES)
        pictures = examples.by_photo(results, self.photos, self.bench) if self.photos else examples.by_pair(results, self.bench)
        page = report.write_report(folder, self.facts(len(own), broken), self.notes, means, compared, of_models, pictures)
        tables = [summary.headline(means), summary.comparison_table(compared) if compared else ""]
        print("\n\n".join(part for part in (*tables, *map(printed, of_models), *self.notes, str(page)) if part))
        return broken

    def procedural_figures(self, lines: Sequence[dict]) -> list[dict]:
        """The figures of every model on procedural edits; none when the pair set has none."""
        if not self.photos:
            return []
        with Lines(self.options.output / REFERENCES) as references:
            for name in self.models:
                measure_references(self.photos, name, reconstruction(self.makers[name]()), self.bench, references)
        return [
            figures(self.photos, lines, references.lines, Setting(name, self.text_scales[0], self.image_scales[0])) for name in self.models
        ]

    @cached_property
    def tasks(self) -> list[Task]:
        """Every model's edits, and beside them the untouched picture and SDEdit."""
        options, text_scales = self.options, self.text_scales
        if self.photos:
            groups = {row: photo.name for photo in self.photos for row in photo.rows.values()}
            tasks = procedural_tasks(
                self.photos, self.models, text_scales, self.image_scales, self.instructions, options.seed, options.sweep_photos,
                options.pictures,
            )  # fmt: skip
            settings, shown = [], {row for photo in self.photos[: options.pictures] for row in photo.rows.values()}
        else:
            groups = {row: str(row) for row in range(min(len(self.pairs), options.count or len(self.pairs)))}
            tasks, shown = [], set(range(options.pictures))
            settings = [Setting(name, t, i) for name in self.models for t in text_scales for i in self.image_scales]
        sdedit = [Setting(source.name, text_scales[0], None, s) for source in self.sources if source.sdedit for s in self.strengths]
        for setting in (Setting(UNTOUCHED), *settings, *sdedit):
            for row, group in groups.items():
                text = self.instructions(row)
                if setting in sdedit:
                    text = self.pairs.texts(row)["edited_prompt"] or text
                keep = row in shown and setting.maker != UNTOUCHED
                tasks.append(Task(row, setting, text, seed_of(options.seed, group), group, keep))
        return tasks

    def lines_of(self, folder: Path) -> list[dict]:
        """The lines of a finished run, its models named after its folder where a model here has their name. Raises EditError."""
        theirs, own = run_in(folder)["settings"], self.settings
        if differ := [name for name in MUST_MATCH if theirs.get(name) != own[name]]:
            raise EditError(f"{folder} can't be compared, it was measured with another {' and '.join(differ)}: take the same for both.")
        lines = [line for line in read_lines(folder / LINES)[0] if line["maker"] != UNTOUCHED]
        names = {source.name for source in self.sources}
        return [{**line, "maker": f"{line['maker']} ({folder.name})" if line["maker"] in names else line["maker"]} for line in lines]

    def facts(self, edits: int, broken: int) -> dict[str, str]:
        """What the report says it measured."""
        options, sampling = self.options, self.options.sampling
        size = "{width}x{height} px".format(**self.size) if "width" in self.size else f"longest side {self.size['longest_side']} px"
        return {
            "title": f"{' and '.join(self.models)} on {Path(options.data).name}",
            "pairs": f"{options.data}{f', split {options.split}' if options.split else ''}, {len(self.pairs)} rows",
            "models": ", ".join(f"{source.name}: {source.place}" for source in self.sources),
            "edits": f"{edits}" + (f"; {broken} rows could not be read" if broken else ""),
            "how": f"{sampling.steps} steps of {sampling.sampler}, {size}, seed {options.seed}, phrasings: {self.instructions.name}",
            "scorer": self.scorer.name if self.scorer else "none",
            "distance": self.bench.perceptual.name if self.bench.perceptual else "pixels only",
        }

    @property
    def notes(self) -> list[str]:
        return [f"{self.scorer.name}. {self.scorer.note}"] if self.scorer else []


def check_scales(run: Run) -> None:
    """Raises EditError for a setting that no edit can have, before anything is loaded."""
    sampling = run.options.sampling
    size: dict[str, Any] = dict(run.size)
    edit = Edit(Image.new("RGB", (64, 64)), "x", steps=sampling.steps, sampler_name=sampling.sampler, **size)
    for text_scale, image_scale in product(run.text_scales, run.image_scales):
        check_editor_can(replace(edit, text_scale=text_scale, image_scale=image_scale))
    for strength in run.strengths if run.options.sdedit else ():
        replace(edit, denoising_strength=strength)


def distinct(scales: Sequence[float]) -> list[float]:
    """Each once, in their order, with the seven digits that a line has of them."""
    return list(dict.fromkeys(float(f"{scale:.7g}") for scale in scales))


def photographs_of(options: EvaluationOptions, option: str) -> tuple[PairSet, Instructions, list[Photo]]:
    """What is measured on photographs alone, as `option` asks for it: the pair set, its instructions and its photographs.

    Raises EditError where the set has no procedural edits of any.
    """
    pairs = open_pairs(options.data, options.split)
    instructions = Instructions(pairs, options.phrasings, options.seed)
    photos = photos_of(pairs, options.count, instructions.fits)
    if not photos:
        raise EditError(f"{option} is measured on procedural edits of photographs, which {options.data} has none of: see dataset photos.")
    return pairs, instructions, photos


def sources_of(models: Sequence[str], sdedit: str | None) -> list[Source]:
    """The models, each with a name of its own for the report: its folder's or file's, or the whole of it where two are equal."""
    models = list(dict.fromkeys(models))
    short = [path.resolve().name if (path := Path(model).expanduser()).exists() and model not in OWN_NAMES else model for model in models]
    sources = [Source(name if short.count(name) == 1 else model, model, fingerprint_of(model)) for model, name in zip(models, short)]
    return sources + ([Source("SDEdit", sdedit, fingerprint_of(sdedit), True)] if sdedit else [])


def begin(folder: Path, settings: dict[str, Any], sources: Sequence[Source], force: bool) -> None:
    """Writes down what this run is; an unfinished one continues. Raises EditError when the folder holds another run."""
    makers = {source.name: source.fingerprint for source in sources}
    if force:
        for name in (RUN, LINES, REFERENCES, PICTURES):
            remove(folder / name)
    if (folder / RUN).is_file():
        before = run_in(folder)
        differ = [name for name in settings if before["settings"].get(name) != settings[name]]
        # Earlier versions wrote the name of the package's own checkpoint in place of its fingerprint.
        earlier = {name: mark for name, mark in before["makers"].items() if (name, mark) != (SMALL.name, SMALL.name)}
        differ += [f"the weights of {name}" for name, mark in makers.items() if earlier.get(name, mark) != mark]
        if differ:
            raise EditError(
                f"{folder} holds a run with other settings ({', '.join(differ)}): choose another --output, or begin again with --force."
            )
        makers = {**before["makers"], **makers}
    with written_whole(folder / RUN, force=True) as beside:
        beside.write_text(json.dumps({"settings": settings, "makers": makers}, indent=1), encoding="utf8")


def run_in(folder: Path) -> dict[str, dict[str, Any]]:
    """What a folder's run is. Raises EditError when it holds none."""
    try:
        about = json.loads((folder / RUN).read_text(encoding="utf8"))
        return {"settings": dict(about["settings"]), "makers": dict(about["makers"])}
    except (FileNotFoundError, NotADirectoryError) as e:
        raise EditError(f"{folder} holds no run of evaluate.") from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise EditError(f"{folder / RUN} can't be read: {why(e)}.") from e
