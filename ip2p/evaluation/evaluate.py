"""One run of `python -m ip2p evaluate`: what is made, what is written of it, and how it goes on where it stopped."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import torch
from PIL import Image

from ..cli.edit import size_of
from ..cli.evaluate import COMPUTED_SIZE, IMAGE_SCALES, SIZE, STRENGTHS, TEXT_SCALES, computed_scales
from ..dataset.open import open_pairs
from ..edit import Edit, read_scales
from ..editor import DTYPES, Editor, check_editor_can
from ..errors import EditError
from ..files import remove, why, written_whole
from ..scorers.scorers import Perceptual, scorer_named
from . import examples, report, summary
from .instructions import Instructions
from .procedural import Photo, PhotoBench, computed_tasks, figures, measure_references, photos_of, printed, reconstruction
from .sdedit import SDEdit
from .sweep import UNTOUCHED, Bench, How, Lines, Setting, Task, key_of, read_lines, run_sweep, seed_of

RUN, LINES, REFERENCES, PICTURES = "run.json", "edits.jsonl", "references.jsonl", "pictures"
WEIGHTS = (".safetensors", ".ckpt", ".bin", ".json")
MUST_MATCH = ("fingerprint", "split", "scorer", "size")  # of two runs that are compared


@dataclass(frozen=True)
class Source:
    """A model by its name in the report. fingerprint: changes with its weights."""

    name: str
    place: str
    fingerprint: str
    sdedit: bool = False


def evaluate(args: argparse.Namespace) -> int:
    """The verb. Exit status 1 when rows could not be read. Raises EditError."""
    pairs = open_pairs(args.data, args.split)
    if not len(pairs):
        raise EditError(f"{args.data} has no pairs{f' of the split {args.split}' if args.split else ''}.")
    run = Run(args, pairs)
    begin(args.output, run.settings, run.sources, args.force)
    return run.go()


class Run:
    """Everything that is settled before the first edit. Raises EditError for settings out of range."""

    def __init__(self, args: argparse.Namespace, pairs):
        self.args, self.pairs = args, pairs
        self.instructions = Instructions(pairs, args.phrasings, args.seed)
        self.photos: list[Photo] = photos_of(pairs, args.count, self.instructions.fits)
        computed = bool(self.photos)
        text_scales, image_scales = computed_scales(args.model[0]) if computed else (TEXT_SCALES, IMAGE_SCALES)
        self.text_scales = scales_of(args.text_scale, text_scales, "text scales")
        self.image_scales = scales_of(args.image_scale, image_scales, "image scales")
        self.strengths = scales_of(args.strengths, STRENGTHS, "strengths")
        self.size = size_of(args.size or (COMPUTED_SIZE if computed else SIZE))
        self.how = How(args.steps, args.sampler, args.batch)
        self.sources = sources_of(args.model, args.sdedit)
        self.models = [source.name for source in self.sources if not source.sdedit]
        check_scales(self)
        device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.device = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as e:  # torch without CUDA asserts that it has it
            raise EditError(f"There is no device “{device[:80]}” here: choose cuda or cpu.") from e
        self.scorer = scorer_named(args.scorer, self.device)
        perceptual = Perceptual(self.device) if self.scorer else None
        self.bench = (
            PhotoBench(pairs, self.size, self.scorer, perceptual, self.photos)
            if computed
            else Bench(pairs, self.size, self.scorer, perceptual, kept=2 * args.batch)
        )
        self.makers = {source.name: cache(partial(self.load, source)) for source in self.sources}

    @property
    def settings(self) -> dict:
        """What every line of the run shares: with other ones it is another run."""
        args = self.args
        return {
            "pairs": str(args.data), "split": args.split, "fingerprint": self.pairs.fingerprint, "computed": bool(self.photos),
            "size": self.size, "steps": args.steps, "sampler": args.sampler, "seed": args.seed, "phrasings": self.instructions.name,
            "scorer": self.scorer and self.scorer.name, "precision": args.precision,
        }  # fmt: skip

    def load(self, source: Source):
        if not source.sdedit:
            return Editor.load(source.place, self.device, self.args.precision)
        dtype = DTYPES.get(self.args.precision) or (torch.float16 if self.device.type == "cuda" else torch.float32)
        return SDEdit.load(source.place, self.device, dtype)

    def go(self) -> int:
        folder, args = self.args.output, self.args
        others = [line for place in args.compare for line in self.lines_of(place)]
        with Lines(folder / LINES) as lines:
            broken = run_sweep(self.tasks, self.makers, self.bench, lines, self.how, folder / PICTURES)
            by_key = {key_of(line): line for line in lines.lines}
        found = [by_key[task.key] for task in self.tasks if task.key in by_key]
        if not found:
            raise EditError(f"None of the pairs of {args.data} could be read.")
        of_models = self.computed(found)
        means, compared = summary.means(found + others), summary.comparisons(found + others)
        results = examples.kept(found, self.tasks, folder / PICTURES)
        pictures = examples.by_photo(results, self.photos, self.bench) if self.photos else examples.by_pair(results, self.bench)
        page = report.write_report(folder, self.facts(len(found), broken), self.notes, means, compared, of_models, pictures)
        parts = [summary.headline(means), compared and summary.comparison_table(compared), *map(printed, of_models), *self.notes, str(page)]
        print("\n\n".join(part for part in parts if part))
        return 1 if broken else 0

    def computed(self, lines: Sequence[dict]) -> list[dict]:
        """The figures of every model on computed edits; none when the pair set has none."""
        if not self.photos:
            return []
        with Lines(self.args.output / REFERENCES) as references:
            for name in self.models:
                measure_references(self.photos, name, lambda image: reconstruction(self.makers[name]())(image), self.bench, references)  # noqa: B023
        return [
            figures(self.photos, lines, references.lines, Setting(name, self.text_scales[0], self.image_scales[0])) for name in self.models
        ]

    @cached_property
    def tasks(self) -> list[Task]:
        """Every model's edits, and beside them the untouched picture and SDEdit."""
        args, text_scales = self.args, self.text_scales
        if self.photos:
            groups = {row: photo.name for photo in self.photos for row in photo.rows.values()}
            made = computed_tasks(
                self.photos, self.models, text_scales, self.image_scales, self.instructions, args.seed, args.sweep_photos, args.pictures
            )
            settings, shown = [], {row for photo in self.photos[: args.pictures] for row in photo.rows.values()}
        else:
            groups = {row: str(row) for row in range(min(len(self.pairs), args.count or len(self.pairs)))}
            made, shown = [], set(range(args.pictures))
            settings = [Setting(name, t, i) for name in self.models for t in text_scales for i in self.image_scales]
        sdedit = [Setting(source.name, text_scales[0], None, s) for source in self.sources if source.sdedit for s in self.strengths]
        for setting in (Setting(UNTOUCHED), *settings, *sdedit):
            for row, group in groups.items():
                text = self.instructions(row)
                if setting in sdedit:
                    text = self.pairs.texts(row)["edited_prompt"] or text
                keep = row in shown and setting.maker != UNTOUCHED
                made.append(Task(row, setting, text, seed_of(args.seed, group), group, keep))
        return made

    def lines_of(self, folder: Path) -> list[dict]:
        """The lines of a finished run, its models named after its folder where a model here has their name. Raises EditError."""
        other, mine = run_in(folder)["settings"], self.settings
        if differ := [name for name in MUST_MATCH if other.get(name) != mine[name]]:
            raise EditError(f"{folder} can't be compared, it was measured with another {' and '.join(differ)}: take the same for both.")
        found = [line for line in read_lines(folder / LINES)[0] if line["maker"] != UNTOUCHED]
        names = {source.name for source in self.sources}
        return [{**line, "maker": f"{line['maker']} ({folder.name})" if line["maker"] in names else line["maker"]} for line in found]

    def facts(self, edits: int, broken: int) -> dict[str, str]:
        """What the report says it measured."""
        args = self.args
        size = "{width}x{height} px".format(**self.size) if "width" in self.size else f"longest side {self.size['longest_side']} px"
        return {
            "title": f"{' and '.join(self.models)} on {Path(args.data).name}",
            "pairs": f"{args.data}{f', split {args.split}' if args.split else ''}, {len(self.pairs)} rows",
            "models": ", ".join(f"{source.name}: {source.place}" for source in self.sources),
            "edits": f"{edits}" + (f"; {broken} rows could not be read" if broken else ""),
            "how": f"{args.steps} steps of {args.sampler}, {size}, seed {args.seed}, phrasings: {self.instructions.name}",
            "scorer": self.scorer.name if self.scorer else "none",
            "distance": self.bench.perceptual.name if self.bench.perceptual else "pixels only",
        }

    @property
    def notes(self) -> list[str]:
        return [f"{self.scorer.name}. {self.scorer.note}"] if self.scorer else []


def check_scales(run: Run) -> None:
    """Raises EditError for a setting that no edit can have, before anything is loaded."""
    some = Image.new("RGB", (64, 64))
    options = {"steps": run.args.steps, "sampler_name": run.args.sampler, **run.size}
    for text_scale in run.text_scales:
        for image_scale in run.image_scales:
            check_editor_can(Edit(some, "x", text_scale=text_scale, image_scale=image_scale, **options))
    for strength in run.strengths if run.args.sdedit else ():
        Edit(some, "x", denoising_strength=strength)


def scales_of(given: str | None, default: str, name: str) -> list[float]:
    """Numbers in the order given, each once, with the seven digits that a line keeps of them. Raises EditError."""
    found = list(dict.fromkeys(float(f"{scale:.7g}") for scale in read_scales(given or default, name)))
    if not found:
        raise EditError(f"There are no {name}: give numbers with commas between them.")
    return found


def sources_of(models: Sequence[str], sdedit: str | None) -> list[Source]:
    """The models, each with a name of its own for the report: its folder's or file's, or all of what was given where two are equal."""
    given = list(dict.fromkeys(models))
    short = [path.resolve().name if (path := Path(model).expanduser()).exists() else model for model in given]
    found = [Source(name if short.count(name) == 1 else model, model, fingerprint_of(model)) for model, name in zip(given, short)]
    return found + ([Source("SDEdit", sdedit, fingerprint_of(sdedit), True)] if sdedit else [])


def fingerprint_of(model: str) -> str:
    """Of a file's or a folder's weights: names, sizes, and a mebibyte from each end. A name on the hub stands for itself."""
    path = Path(model).expanduser()
    if not path.exists():
        return model
    digest, end = hashlib.sha256(), 1 << 20
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in WEIGHTS) if path.is_dir() else [path]
    try:
        for file in files:
            length = file.stat().st_size
            digest.update(f"{file.relative_to(path) if path.is_dir() else file.name} {length}\n".encode())
            with file.open("rb") as data:
                digest.update(data.read(end))
                data.seek(max(length - end, 0))
                digest.update(data.read())
    except OSError as e:
        raise EditError(f"The model {model} can't be read: {why(e)}.") from e
    return digest.hexdigest()[:16]


def begin(folder: Path, settings: dict, sources: Sequence[Source], force: bool) -> None:
    """Writes down what this run is; one that ended goes on. Raises EditError when the folder holds another run."""
    makers = {source.name: source.fingerprint for source in sources}
    if force:
        for name in (RUN, LINES, REFERENCES, PICTURES):
            remove(folder / name)
    if (folder / RUN).is_file():
        before = run_in(folder)
        differ = [name for name in settings if before["settings"].get(name) != settings[name]]
        differ += [f"the weights of {name}" for name, mark in makers.items() if before["makers"].get(name, mark) != mark]
        if differ:
            raise EditError(
                f"{folder} holds a run with other settings ({', '.join(differ)}): choose another --output, or begin anew with --force."
            )
        makers = {**before["makers"], **makers}
    with written_whole(folder / RUN, force=True) as beside:
        beside.write_text(json.dumps({"settings": settings, "makers": makers}, indent=1), encoding="utf8")


def run_in(folder: Path) -> dict:
    """What a folder's run is. Raises EditError when it holds none."""
    try:
        found = json.loads((folder / RUN).read_text(encoding="utf8"))
        return {"settings": dict(found["settings"]), "makers": dict(found["makers"])}
    except (FileNotFoundError, NotADirectoryError) as e:
        raise EditError(f"{folder} holds no run of evaluate.") from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise EditError(f"{folder / RUN} can't be read: {why(e)}.") from e
