"""What a pair's scores have to reach to be kept: the paper's thresholds, a person's own, or those of a file that calibration wrote."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...errors import EditError
from ...files import written_whole
from ...presets.yaml_text import parse
from ...scorers.pair_scorer import PairScorer
from ..checked_files import read_text
from .score_store import identity

# Brooks et al., 3.1.2, for CLIP ViT-L/14; image–image is .75 in the paper and .7 in its published code.
PAPER = {"clip_sim_image": 0.7, "clip_sim_0": 0.2, "clip_sim_1": 0.2, "clip_sim_dir": 0.2}
PAPERS_SCORER = "vit-l"  # in the name of a CLIP that they are meant for
AT_LEAST, SCORED_BY, CALIBRATED = "at_least", "scored_by", "calibrated"


@dataclass(frozen=True)
class Thresholds:
    """at_least: of a score's name. scored_by: of a score's name, by what it has to be scored for its threshold to hold; calibrated: what
    is known of them, for people."""

    at_least: Mapping[str, float]
    scored_by: Mapping[str, str] = field(default_factory=dict)
    calibrated: Mapping[str, Any] = field(default_factory=dict)

    def failing(self, scores: Mapping[str, float]) -> str:
        """Why a pair of these scores is not kept, or ""."""
        for name, least in self.at_least.items():
            if name not in scores:
                return f"has no {name}"
            if not scores[name] >= least:
                return f"{name} below {least:g}"
        return ""

    def check_scorers(self, scorers: Sequence[PairScorer]) -> None:
        """Raises EditError where a threshold was calibrated for another scorer than these."""
        ours = {name: identity(scorer) for scorer in scorers for name in scorer.scores}
        for name, theirs in self.scored_by.items():
            if name in ours and ours[name] != theirs:
                raise EditError(
                    f"The threshold of {name} was calibrated for {theirs}, and here it is scored by {ours[name]}: calibrate it again."
                )

    def write(self, file: Path, force: bool) -> None:
        content = {AT_LEAST: dict(self.at_least), SCORED_BY: dict(self.scored_by), CALIBRATED: dict(self.calibrated)}
        with written_whole(file, force) as beside:
            beside.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=140), encoding="utf8")


def read_thresholds(file: Path) -> Thresholds:
    """Raises EditError."""
    if not file.is_file():
        raise EditError(f"There is no file of thresholds {file}.")
    try:
        text = read_text(file)
    except EditError as e:
        raise EditError(f"{file} {e}.") from e
    content = parse(text, file)[0]
    at_least, scored_by, calibrated = (content.get(name) or {} for name in (AT_LEAST, SCORED_BY, CALIBRATED))
    numbers = isinstance(at_least, Mapping) and all(is_threshold(value) for value in at_least.values())
    if not numbers or not at_least or not isinstance(scored_by, Mapping) or not isinstance(calibrated, Mapping):
        raise EditError(f"{file} has no numbers by the names of scores under {AT_LEAST}.")
    return Thresholds(
        {str(name): float(value) for name, value in at_least.items()}, {str(name): str(by) for name, by in scored_by.items()}, calibrated
    )


def is_threshold(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def thresholds_of(file: Path | None, given: Sequence[str], scorers: Sequence[PairScorer]) -> Thresholds:
    """Those of the file, or else the paper's where a CLIP scores; then the given ones, each NAME=NUMBER. Raises EditError, also where
    there would be none."""
    base = read_thresholds(file) if file else Thresholds(PAPER if any(PAPER.keys() <= set(scorer.scores) for scorer in scorers) else {})
    own = dict(map(threshold_of, given))
    found = Thresholds({**base.at_least, **own}, {name: by for name, by in base.scored_by.items() if name not in own}, base.calibrated)
    if not found.at_least:
        by = f" of {', '.join(scorer.name for scorer in scorers)}" if scorers else ""
        raise EditError(
            f"There are no thresholds for the scores{by}: name them by --at-least NAME=NUMBER, or by --thresholds, a file of dataset calibrate."
        )
    found.check_scorers(scorers)
    return found


def threshold_of(text: str) -> tuple[str, float]:
    """NAME=NUMBER. Raises EditError."""
    name, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name or math.isnan(value):
        raise EditError(f"--at-least is NAME=NUMBER, as clip_sim_dir=0.2, not {text}.")
    return name.strip(), value


def note_on(thresholds: Thresholds, scorers: Sequence[PairScorer]) -> str:
    """A sentence where the paper's thresholds are taken for another network than theirs, else ""."""
    for scorer in scorers:
        if set(scorer.scores) >= PAPER.keys() and PAPERS_SCORER not in scorer.name.lower() and thresholds.at_least.items() & PAPER.items():
            return f"The thresholds are the paper's, for CLIP ViT-L/14; {scorer.name} may need others: dataset calibrate finds them."
    return ""
