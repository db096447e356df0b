"""The page that tells how the edit model came to be, from captions to edited pictures, with pictures of every stage that is finished."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from ..dataset.open import open_pairs
from ..dataset.pairs import Pair, PairSet
from ..dataset.varied.captioned import CaptionedScenes
from ..dataset.varied.description import Description
from ..dataset.varied.drawer import Drawing
from ..drawing import draw_plot
from ..errors import EditError
from ..evaluation.examples import Row, html
from ..evaluation.scene_run import SHEET
from ..files import written_whole
from ..pages import page, table
from .recipe import Step
from .records import FINISHED, Records
from .side_by_side import duration
from .story_table import over_image_scale, reached, tables_html

PAGE, PLOTS = "report.html", "plots"
STYLE = Path(__file__).with_name("story.css")
TITLE = "The paper in miniature: from captions to edited pictures"
ROWS, PAIRS, PICTURES = 8, 6, 6  # that are shown
ENLARGED = 2
BEFORE, AFTER = "before", "after"

STAGES = {
    1: ("Captions, and rows as people might write them", "A grammar writes captions in many words. To some of them an instruction and the caption of the edited picture are written, as people did for the paper 700 times. The pictures here are for the reader: no stage sees one of them."),
    2: ("A language model writes instructions", "The small language model is fine-tuned on these rows, and then reads captions that it never saw. What is no instruction, changes nothing or invents is left out."),
    3: ("A text-to-image model learns from pictures with captions", "An autoencoder and a diffusion model learn from single scenes, each with its caption. They see no pair and no instruction. Its text encoder begins as that of the next stage, as Stable Diffusion's is CLIP's."),
    4: ("A scorer learns what belongs together", "A CLIP of the same single scenes and captions. Of a pair it tells how alike the pictures are, how well each fits its caption, and whether the pictures changed as the captions did (direction)."),
    5: ("Pairs by Prompt-to-Prompt, and what the scorer keeps", "Both captions of a row are drawn from the same noise, and for a share p of the steps the second picture attends to itself as the first does. What is right of a pair can be read off its pixels; nothing is trained on that, and only the recipe's thresholds were once chosen by it."),
    6: ("The edit model", "The text-to-image model with four more channels for the picture, trained on the pairs that were kept. Text, both conditions and picture are dropped 5 % of the time each."),
    7: ("Edits of scenes that it never saw", "In words that no row has. Right are both what was asked and what had to stay, as the pixels tell: recolourings by their regions, size, place and texture by judges of their own. The scales were chosen on other scenes."),
}  # fmt: skip


def write_story(output: Path, steps: Sequence[Step]) -> Path:
    """→ the page. Raises EditError when it can't be written."""
    records = Records(output)
    own = {step.name: output / step.result for step in steps if not step.arm and records.state(step) == FINISHED}
    parts = [f"<h1>{escape(TITLE)}</h1>", '<p>An edit model made from generated data alone, as InstructPix2Pix was, small enough to watch on two cores. Every stage is a command that anyone can run.</p>']  # fmt: skip
    for stage, (title, said) in STAGES.items():
        some = [step for step in steps if step.stage == stage and not step.arm]
        if some:
            parts += [f"<h2>{stage}. {escape(title)}</h2>", f"<p>{escape(said)}</p>"]
            parts += (
                shown(SHOWN[stage], own, output) if any(step.name in own for step in some) else ['<p class="soft">Not finished yet.</p>']
            )
            parts.append(commands(some, records))
    found = reached(output, steps)
    if found[1:]:
        parts.append(commands([step for step in steps if step.arm], records, "The comparisons"))
    with written_whole(output / PAGE, force=True) as beside:
        beside.write_text(page(TITLE, parts + (evaluated(found, output) if found else []), STYLE), encoding="utf8")
    return output / PAGE


def shown(section: Callable[[Mapping[str, Path], Path], Iterable[str]], own: Mapping[str, Path], output: Path) -> list[str]:
    """What a stage shows; a sentence where its files are not those of the usual recipe."""
    try:
        return list(section(own, output))
    except (EditError, OSError, ValueError, KeyError) as e:
        return [f'<p class="soft">Its pictures can\'t be shown: {escape(str(e))}</p>']


def commands(steps: Sequence[Step], records: Records, title: str = "") -> str:
    """Each with what it took."""
    lines = [
        f"{escape(step.shown)}   # {duration(seconds) if (seconds := records.seconds(step)) else records.state(step)}" for step in steps
    ]
    text = "\n".join(lines)
    return f"<details><summary>{title or 'Commands'}</summary><pre>{text}</pre></details>"


def written(own: Mapping[str, Path], output: Path) -> Iterable[str]:
    if "people" in own:
        yield rows_html([json.loads(line) for line in islice(open_lines(own["people"]), ROWS)])
    if "captions" in own:
        yield "<p>Captions without a row, for the language model:</p>"
        yield f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in islice(open_lines(own['captions']), ROWS))}</ul>"


def instructed(own: Mapping[str, Path], output: Path) -> Iterable[str]:
    if "rows" in own:
        folder = own["rows"].parent
        rows, left_out = ([json.loads(line) for line in open_lines(folder / name)] for name in ("rows.jsonl", "rejected.jsonl"))
        link = escape((folder / PAGE).relative_to(output).as_posix())
        yield f'<p>Of {len(rows) + len(left_out):,} answers {len(rows):,} became rows; <a href="{link}">why not the others</a>.</p>'
        if rows:
            yield rows_html(rows[:ROWS])


def painted(own: Mapping[str, Path], output: Path) -> Iterable[str]:
    scenes = CaptionedScenes(PICTURES)
    yield "<p>What it learns from:</p>"
    yield html([("", {str(i): (scenes.caption(i), enlarged(scenes.picture(i))) for i in range(PICTURES)})])
    if "drawn" in own:
        pairs = open_pairs(own["drawn"].parent)
        yield "<p>What it draws for captions of the next stage:</p>"
        yield html(
            [("", {str(i): (pair.original_prompt, enlarged(pair.original_image)) for i, pair in enumerate(spread(pairs, PICTURES))})]
        )


def scored(own: Mapping[str, Path], output: Path) -> Iterable[str]:
    if "kept" in own:
        pairs = open_pairs(own["kept"])
        order = sorted(range(len(pairs)), key=lambda i: -direction(pairs.texts(i)))
        yield "<p>Of the pairs that it keeps those of the highest and of the lowest direction:</p>"
        yield pairs_html([pairs[i] for i in dict.fromkeys([*order[: PAIRS // 2], *order[-PAIRS // 2 :]])])


def direction(texts: Mapping) -> float:
    return float(texts["scores"].get("clip_sim_dir", 0))


def filtered(own: Mapping[str, Path], output: Path) -> Iterable[str]:
    if "judged" not in own:
        return
    judged = open_pairs(own["judged"])
    sets = {"drawn": judged} | ({"kept by the scorer": open_pairs(own["kept_judged"])} if "kept_judged" in own else {})
    rows = []
    for name, pairs in sets.items():
        scores = [pairs.texts(i)["scores"] for i in range(len(pairs))]
        cells = [np.mean([score[what] for score in scores]) for what in ("first", "second", "right")]
        rows.append([f"<td>{name}</td>", f"<td>{len(pairs):,}</td>", *(f"<td>{cell:.2f}</td>" for cell in cells)])
    yield table(["pairs", "", "first picture right", "second picture right", "all right"], rows)
    plot = own["judged"].with_name("shares.png")
    if plot.is_file():
        yield picture_html(plot, "Shares of the pairs over p, before the filter.")
    if "kept" in own:
        kept = open_pairs(own["kept"])
        names = {name_of(kept.texts(i)) for i in range(len(kept))}
        yield "<p>Pairs that were kept:</p>"
        yield pairs_html(spread(kept, PAIRS))
        yield "<p>Pairs that were not:</p>"
        yield pairs_html(spread(judged.select(i for i in range(len(judged)) if name_of(judged.texts(i)) not in names), PAIRS))


def name_of(texts: Mapping) -> tuple:
    return texts["id"], texts["sample"]


def trained(own: Mapping[str, Path], output: Path) -> Iterable[str]:
    if "edit" in own and (sheets := sorted(own["edit"].with_name("validation").glob("*.png"))):
        yield picture_html(sheets[-1], "Pairs that it was trained on, edited after the last step.")


def measured(own: Mapping[str, Path], output: Path) -> Iterable[str]:
    if "evaluation" in own and (sheet := own["evaluation"].with_name(SHEET)).is_file():
        yield picture_html(sheet, "The first scenes, not chosen: the picture, its edit, and what a program draws for the edit.")


SHOWN = {1: written, 2: instructed, 3: painted, 4: scored, 5: filtered, 6: trained, 7: measured}


def evaluated(found: Sequence, output: Path) -> list[str]:
    """The tables, each model's, and the curve."""
    parts = ["<h2>What it reaches</h2>", '<p class="soft">Shares of scenes, with 95 % bootstrap intervals from five scenes on. Blanked: without an instruction; shuffled: with another scene\'s; copied: the untouched picture.</p>']  # fmt: skip
    if found[0].model["curve"]:
        parts.append(f"<figure>{draw_plot(over_image_scale(found[0]), 'over_image_scale', output / PLOTS)}<figcaption>On the scenes that the scales are chosen on.</figcaption></figure>")  # fmt: skip
    return parts + tables_html(found)


def open_lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf8").splitlines()


def spread(pairs: PairSet, count: int) -> list[Pair]:
    """As many, from the whole of the set."""
    return [pairs[i] for i in dict.fromkeys(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int).tolist())]


def rows_html(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of instructions, with the scenes that their captions tell of."""
    lines: list[Row] = []
    for number, row in enumerate(rows):
        captions = {BEFORE: row["input"], AFTER: row["output"]}
        try:
            first, second = map(Description.by, captions.values())
            drawing = Drawing.of(first, np.random.default_rng(number))
            pictures = {BEFORE: drawing.picture(), AFTER: drawing.after(second).picture()}
        except (EditError, IndexError):  # a scene that can't be drawn
            pictures = dict.fromkeys(captions, Image.new("RGB", (64, 64), "white"))
        lines.append((row["edit"], {name: (captions[name], enlarged(pictures[name])) for name in captions}))
    return html(lines)


def pairs_html(pairs: Sequence[Pair]) -> str:
    lines: list[Row] = []
    for pair in pairs:
        scores = pair.scores
        told = [f"{name} {scores[key]:.2f}" for name, key in (("p", "p2p_threshold"), ("direction", "clip_sim_dir")) if key in scores]
        right = [f"{name} right" for name, key in (("first", "first"), ("second", "second"), ("all", "right")) if scores.get(key) == 1]
        lines.append((", ".join([pair.edit_prompt, *told, *right]), {BEFORE: (pair.original_prompt, enlarged(pair.original_image)), AFTER: (pair.edited_prompt, enlarged(pair.edited_image))}))  # fmt: skip
    return html(lines) if lines else '<p class="soft">None.</p>'


def picture_html(file: Path, caption: str) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}"><figcaption>{escape(caption)}</figcaption></figure>'


def enlarged(picture: Image.Image) -> Image.Image:
    """Each pixel several: small scenes are hard to see."""
    return picture.resize((ENLARGED * picture.width, ENLARGED * picture.height), Image.Resampling.NEAREST)
