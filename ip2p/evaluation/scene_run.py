"""Edit models measured on synthetic scenes that they never saw: shares of right edits by kind, with controls and intervals over scenes.

The scales are chosen on scenes of their own, by the share of recolourings of which both regions are right; everything that is told is
measured on the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..contact_sheet import contact_sheet
from ..edit import Edit
from ..editor import Editor, check_editor_can
from ..errors import EditError
from ..files import written_whole
from ..progress import bar
from .evaluate import LINES, Source, begin, run_in, sources_of
from .metrics import Interval, interval
from .options import SceneOptions
from .procedural import share
from .scene_cases import RECOLOURING, Case, cases_of
from .summary import difference_text, text_table
from .sweep import Lines, plain, read_lines

FIGURES, SHEET, RESULTS = "figures.json", "edits.png", "pictures"
SWEEP, EDITED, BLANKED, SHUFFLED, COPIED = "sweep", "edited", "instruction blanked", "instruction shuffled", "input copied"
SHOWN = 10  # cases whose results are kept as pictures
MEASURES = ("target", "kept", "both", "error")

Scales = tuple[float, float]  # of the text, of the image


@dataclass(frozen=True)
class Job:
    """A case to be edited at some scales; what: the sweep, the edit itself or a control."""

    what: str
    case: int
    instruction: str
    scales: Scales

    def key(self, model: str) -> tuple:
        return model, self.what, self.case, *self.scales


def evaluate_scenes(options: SceneOptions) -> None:
    """Measures, writes the figures and a sheet, and prints the tables. Raises EditError."""
    for scales in product(options.text_scales, options.image_scales):
        check_editor_can(edit_of(cases_of(options.scenes, 1, options.seed)[0], "x", 0, scales, options))
    sources = sources_of(options.models, None)
    others = [line for folder in options.compare for line in lines_of(folder, options, {source.name for source in sources})]
    begin(options.output, settings_of(options), sources, options.force)
    with Lines(options.output / LINES) as lines:
        measures = [Measured(source, options, lines) for source in sources]
        for measured in measures:
            measured.run()
        tell(options, measures, others)


def settings_of(options: SceneOptions) -> dict[str, Any]:
    """What every line of a run shares."""
    return {
        "scenes": options.scenes, "count": options.count, "sweep": options.sweep, "seed": options.seed, "steps": options.steps,
        "text_scales": list(options.text_scales), "image_scales": list(options.image_scales), "sampler": options.sampler,
        "precision": options.precision,
    }  # fmt: skip


class Measured:
    """One model's edits of all cases, those that are not in the lines made first."""

    def __init__(self, source: Source, options: SceneOptions, lines: Lines):
        self.source, self.options, self.lines = source, options, lines
        self.cases: list[Case] = cases_of(options.scenes, options.count + options.sweep, options.seed)
        self.done = {key_of(line) for line in lines.lines}

    @cached_property
    def editor(self) -> Editor:
        return Editor.load(self.source.place, torch.device(self.options.device or "cpu"), self.options.precision)

    @property
    def own(self) -> list[Mapping[str, Any]]:
        return [line for line in self.lines.lines if line["model"] == self.source.name]

    def run(self) -> None:
        options = self.options
        swept = range(options.count, options.count + options.sweep)
        grid = list(product(options.text_scales, options.image_scales))
        if len(grid) > 1:
            self.make([Job(SWEEP, i, self.cases[i].instruction, scales) for scales in grid for i in swept], "swept edit")
        self.make(self.controlled(self.best), "edit")
        self.copy()

    @property
    def best(self) -> Scales:
        """The scales at which most recolourings of the sweep have both regions right; of equal ones those with the smaller error outside."""
        table = self.curve
        return max(table, key=lambda scales: (table[scales]["both"].mean, -table[scales]["error"].mean)) if table else self.only

    @property
    def only(self) -> Scales:
        return self.options.text_scales[0], self.options.image_scales[0]

    @property
    def curve(self) -> dict[Scales, dict[str, Interval]]:
        """Of every setting of the sweep the figures of recolourings."""
        swept = [line for line in self.own if line["what"] == SWEEP and line["kind"] == RECOLOURING]
        settings = dict.fromkeys((line["text_scale"], line["image_scale"]) for line in swept)
        return {at: figures_of([line for line in swept if (line["text_scale"], line["image_scale"]) == at]) for at in settings}

    def controlled(self, scales: Scales) -> list[Job]:
        """The edits, and the same without an instruction and with another scene's."""
        count = self.options.count
        asked = [case.instruction for case in self.cases[:count]]
        jobs = [Job(EDITED, i, text, scales) for i, text in enumerate(asked)]
        jobs += [Job(SHUFFLED, i, asked[(i + 1) % count], scales) for i in range(count)]
        # Without text scale there is no text: what the empty instruction gives at any text scale, since both passes are then one.
        return jobs + [Job(BLANKED, i, asked[i], (0.0, scales[1])) for i in range(count)]

    def make(self, jobs: Sequence[Job], unit: str) -> None:
        left = [job for job in jobs if job.key(self.source.name) not in self.done]
        if not left:
            return
        shown = bar(len(jobs), unit, done=len(jobs) - len(left))
        size = self.options.batch
        for start in range(0, len(left), size):
            part = left[start : start + size]
            results = self.editor.edit(
                [edit_of(self.cases[job.case], job.instruction, job.case, job.scales, self.options) for job in part], batch_size=size
            )
            for job, result in zip(part, results):
                if job.what == EDITED and job.case < SHOWN:
                    with written_whole(self.picture(job.case), force=True) as beside:
                        result.image.save(beside, "PNG")
            self.lines.append(self.line(job, self.cases[job.case].judge(result.image)) for job, result in zip(part, results))
            shown.update(len(part))
        shown.close()

    def copy(self) -> None:
        for i, case in enumerate(self.cases[: self.options.count]):
            job = Job(COPIED, i, "", (0.0, 0.0))
            if job.key(self.source.name) not in self.done:
                self.lines.append([self.line(job, case.judge(case.picture))])

    def picture(self, case: int) -> Path:
        return self.options.output / RESULTS / f"{self.source.name.replace('/', '-')}-{case}.png"

    def line(self, job: Job, judged: Any) -> dict[str, Any]:
        return {
            "model": self.source.name, "what": job.what, "case": job.case, "kind": self.cases[job.case].kind, "instruction": job.instruction,
            "text_scale": job.scales[0], "image_scale": job.scales[1], "target": int(judged.target), "kept": int(judged.kept),
            "both": int(judged.both), "error": judged.error,
        }  # fmt: skip


def edit_of(case: Case, instruction: str, seed: int, scales: Scales, options: SceneOptions) -> Edit:
    return Edit(
        image=case.picture, instruction=instruction, seed=seed, steps=options.steps, longest_side=max(case.picture.size),
        text_scale=scales[0], image_scale=scales[1], sampler_name=options.sampler,
    )  # fmt: skip


def key_of(line: Mapping[str, Any]) -> tuple:
    return line["model"], line["what"], line["case"], line["text_scale"], line["image_scale"]


def figures_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
    return {name: interval([line[name] for line in lines]) for name in MEASURES}


def lines_of(folder: Path, options: SceneOptions, names: set[str]) -> list[dict[str, Any]]:
    """The edits of a finished run, its models named after its folder where one here has their name. Raises EditError for one on other scenes."""
    settings, own = run_in(folder)["settings"], settings_of(options)
    if differ := [name for name in ("scenes", "count", "seed", "steps") if settings.get(name) != own[name]]:
        raise EditError(f"{folder} can't be compared, it was measured with another {' and '.join(differ)}: take the same for both.")
    lines = [line for line in read_lines(folder / LINES)[0] if line["what"] == EDITED]
    return [line | {"model": f"{line['model']} ({folder.name})" if line["model"] in names else line["model"]} for line in lines]


def tell(options: SceneOptions, measures: Sequence[Measured], others: Sequence[Mapping[str, Any]]) -> None:
    """Writes figures.json and edits.png, and prints the tables."""
    found = [figures_by_model(measured) for measured in measures]
    first, edited = measures[0], [line for measured in measures for line in measured.own if line["what"] == EDITED]
    compared = differences(first.source.name, [*edited, *others])
    said = [section(measured, figures) for measured, figures in zip(measures, found)]
    if compared:
        header = ["both right, paired over scenes", "scenes", "difference"]
        rows = [
            [f"{first.source.name} − {other}, {kind}", str(difference.n), difference_text(difference)]
            for other, by_kind in compared.items()
            for kind, difference in by_kind.items()
        ]
        said.append(text_table(header, rows))
    content = {
        "settings": settings_of(options),
        "models": found,
        "differences": {other: {kind: d._asdict() for kind, d in of.items()} for other, of in compared.items()},
    }
    with written_whole(options.output / FIGURES, force=True) as beside:
        beside.write_text(json.dumps(plain(content), indent=1), encoding="utf8")
    write_sheet(options, measures)
    print("\n\n".join(said))


def figures_by_model(measured: Measured) -> dict[str, Any]:
    """The scales, the curve over them, and of every kind the edits and the controls."""

    def named(figures: Mapping[str, Interval]) -> dict[str, Any]:
        return {name: figure._asdict() for name, figure in figures.items()}

    own = measured.own
    kinds = list(dict.fromkeys(case.kind for case in measured.cases))
    scales = measured.best
    of_best = [line for line in own if line["what"] in (EDITED, SHUFFLED, BLANKED, COPIED)]
    table = {
        kind: {
            what: named(figures_of(lines))
            for what in (EDITED, BLANKED, SHUFFLED, COPIED)
            if (lines := [line for line in of_best if line["kind"] == kind and line["what"] == what])
        }
        for kind in kinds
    }
    return {
        "model": measured.source.name,
        "text_scale": scales[0],
        "image_scale": scales[1],
        "curve": [{"text_scale": t, "image_scale": i, **named(figures)} for (t, i), figures in measured.curve.items()],
        "kinds": {kind: of for kind, of in table.items() if of},
    }


def section(measured: Measured, figures: Mapping[str, Any]) -> str:
    options = measured.options
    title = (
        f"{figures['model']}: {options.count} scenes never seen, {options.steps} steps of {options.sampler}, s_T {figures['text_scale']:g}, "
        f"s_I {figures['image_scale']:g}" + (f", chosen on {options.sweep} others" if figures["curve"] else "")
    )
    rows = [
        [f"{kind}, {what}", str(of["both"]["n"]), *(share(Interval(**of[name])) for name in MEASURES)]
        for kind, controls in figures["kinds"].items()
        for what, of in controls.items()
    ]
    parts = [title, text_table(["", "scenes", "asked right", "rest kept", "both right", "error outside"], rows)]
    if figures["curve"]:
        curve = [
            [f"s_T {row['text_scale']:g}, s_I {row['image_scale']:g}", *(share(Interval(**row[name])) for name in MEASURES)]
            for row in figures["curve"]
        ]
        parts.append(text_table(["recolouring, scales", "asked right", "rest kept", "both right", "error outside"], curve))
    return "\n\n".join(parts)


def differences(first: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Interval]]:
    """Model: kind: how much more often the first one has both right, over the scenes that both edited."""
    own = {line["case"]: line for line in lines if line["model"] == first}
    found: dict[str, dict[str, Interval]] = {}
    for other in dict.fromkeys(line["model"] for line in lines if line["model"] != first):
        pairs = [(own[line["case"]], line) for line in lines if line["model"] == other and line["case"] in own]
        kinds = dict.fromkeys(line["kind"] for line, _ in pairs)
        found[other] = {kind: interval([a["both"] - b["both"] for a, b in pairs if a["kind"] == kind]) for kind in kinds}
    return found


def write_sheet(options: SceneOptions, measures: Sequence[Measured]) -> None:
    cases = measures[0].cases[: min(SHOWN, options.count)]
    cells: list[Image.Image | None] = []
    for i, case in enumerate(cases):
        results = [Image.open(measured.picture(i)).convert("RGB") for measured in measures]
        cells += [enlarged(picture) for picture in (case.picture, *results, case.exact)]
    names = [measured.source.name for measured in measures] if len(measures) > 1 else ["edited"]
    sheet = contact_sheet(cells, [case.instruction for case in cases], ["before", *names, "exact"])
    with written_whole(options.output / SHEET, force=True) as beside:
        sheet.save(beside, "PNG")


def enlarged(picture: Image.Image) -> Image.Image:
    """Twice its size, each pixel four: small scenes are hard to see."""
    return picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST)
