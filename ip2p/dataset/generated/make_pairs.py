"""Rows to pairs: both captions of a row drawn many times, each time with a seed, a p and a guidance of its own."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import EditError
from ...files import why
from ...pixels import to_picture
from ...progress import PartsBar, bar
from ...runners import Attempts, EndsTheProcess, EndsTheRun, Report, Runner, Stage
from ..instructions.captions import Bad
from .draws import GUIDANCE, GUIDANCE_NAME, P_NAME, Draw, P, Range, draw
from .inspection import Inspector, RowInspector
from .pair_card import card_of
from .pair_run import LeftOut, PairRun
from .text_to_image import Sampling, TextToImage
from .triplet_files import Triplet, read_triplets

QUALITY = 100  # of JPEG, as in the paper


@dataclass(frozen=True)
class Wanted:
    """What is asked for. file: of rows; samples: of each row; batch: of samples at a time; shard: rows of a shard; held_out: the share of
    captions kept from training, where rows name no split; seed: of everything drawn."""

    file: Path
    samples: int = 100
    batch: int = 4
    shard: int = 4
    p: Range = P
    guidance: Range = GUIDANCE
    sampling: Sampling = field(default_factory=Sampling)
    held_out: float = 0.1
    seed: int = 0

    def rows(self) -> Iterator[Triplet]:
        return (row for row in read_triplets(self.file, self.held_out) if isinstance(row, Triplet))

    def shards(self) -> Iterator[tuple[int, list[Triplet]]]:
        rows = self.rows()
        for number in itertools.count():
            if not (some := list(itertools.islice(rows, self.shard))):
                return
            yield number, some

    def draws(self, row: Triplet) -> list[Draw]:
        return [draw(self.seed, row.id, k, self.p, self.guidance) for k in range(self.samples)]


@dataclass(frozen=True)
class Counted:
    """rows: that can be used; digest: of them all; bad: the others."""

    rows: int
    digest: str
    bad: list[Bad]


def counted(wanted: Wanted) -> Counted:
    """Raises EditError as `read_triplets` does."""
    rows, digest, bad = 0, hashlib.sha256(), []
    for row in read_triplets(wanted.file, wanted.held_out):
        if isinstance(row, Triplet):
            rows += 1
            digest.update(f"{asdict(row)}\n".encode())
        else:
            bad.append(row)
    return Counted(rows, digest.hexdigest()[:16], bad)


@dataclass(frozen=True)
class Shard:
    """Rows that are drawn into one file."""

    number: int
    rows: list[Triplet]


def draw_all(wanted: Wanted, there: Counted, stage: Stage[Shard, None], run: PairRun, runner: Runner) -> bool:
    """Draws the shards that no other process draws or has drawn. → whether all are finished now. Raises EditError."""
    shards = -(-there.rows // wanted.shard)
    to_do = {number for number in range(shards) if run.record(number) is None}
    left = sum(min(wanted.shard, there.rows - number * wanted.shard) for number in to_do)
    shown = bar(there.rows * wanted.samples, "pair", done=(there.rows - left) * wanted.samples)
    try:
        while to_do:
            units = (Shard(number, rows) for number, rows in wanted.shards() if number in to_do)
            for _ in runner.run(stage, units, PartsBar(shown).report):
                pass
            # What was being drawn elsewhere is taken up where that has ended without it.
            to_do = {number for number in to_do if run.is_free(number)}
    finally:
        shown.close()
    return all(run.record(number) is not None for number in range(shards))


def finish(there: Counted, wanted: Wanted, run: PairRun) -> tuple[int, int]:
    """→ (pairs, rows set aside, those that can't be used among them). Raises EditError where not one pair could be drawn."""
    shards = -(-there.rows // wanted.shard)
    records = [run.record(number) or {} for number in range(shards)]
    pairs = sum(record["pairs"] for record in records)
    aside = [row for record in records for row in record["set_aside"]]
    bad = [{"place": place, "reason": reason} for place, reason in there.bad]
    flagged = sum(sum(record.get("flagged", {}).values()) for record in records)
    run.finish(shards, bad, card_of(run.settings, pairs, there.rows - len(aside), len(aside) + len(bad), flagged))
    if not pairs:
        reason = aside[0]["reason"] if aside else f"the safety checker flagged all {flagged:,}"
        raise EditError(f"No pair could be drawn: {reason}.")
    return pairs, len(aside) + len(bad)


def pairs_of_rows(
    wanted: Wanted,
    rows: Sequence[Triplet],
    model: TextToImage,
    kept: Mapping[str, Callable[[], Iterator[dict[str, Any]]]],
    attempts: Attempts,
    inspector: Inspector,
    left_out: LeftOut,
    report: Report,
) -> Iterator[dict[str, Any]]:
    """All pairs of the rows; a row of which one can't be drawn is set aside in `left_out`, with the reason, and has none. kept: rows whose
    pairs are there already, by id."""
    total = len(rows) * wanted.samples
    for i, row in enumerate(rows):
        pairs: list[dict[str, Any]] = []
        if row.id in kept:
            yield from kept[row.id]()
        else:
            look = inspector.of_row()
            try:
                with attempts.of(row.id):
                    for pair in pairs_of_row(wanted, row, model, look):
                        pairs.append(pair)
                        report(i * wanted.samples + len(pairs), total, "")
            except (EndsTheRun, EndsTheProcess):
                raise
            except Exception as e:  # one row must not end the run, whatever the networks or the tokenizer make of it
                left_out.set_aside.append({**asdict(row), "reason": why(e)})
            else:
                left_out.count_flagged(row.id, look.flagged)
                yield from pairs
        report((i + 1) * wanted.samples, total, "")


def pairs_of_row(wanted: Wanted, row: Triplet, model: TextToImage, look: RowInspector) -> Iterator[dict[str, Any]]:
    """As `PairSet.raw` gives them, until the row has enough."""
    captions = row.input, row.output
    if model.tokens(row.input) == model.tokens(row.output):
        raise EditError("both captions are the same to the model")
    draws = wanted.draws(row)
    extra = {name: value for name, value in asdict(row).items() if name not in ("input", "edit", "output")}
    for start in range(0, len(draws), wanted.batch):
        some = draws[start : start + wanted.batch]
        drawn = zip(itertools.count(start), some, model.draw_pairs(captions, some, wanted.sampling))
        yield from look.looked_at([pair_row(row, extra | {"sample": k}, one, pictures) for k, one, pictures in drawn])
        if look.has_enough:
            return


def pair_row(row: Triplet, extra: Mapping[str, Any], one: Draw, pictures: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """As `PairSet.raw` gives it."""
    first, second = map(jpeg, pictures)
    return {
        "original_image": first,
        "edited_image": second,
        "mask": None,
        "edit_prompts": (row.edit,),
        "original_prompt": row.input,
        "edited_prompt": row.output,
        "seed": one.seed,
        "scores": {P_NAME: one.p, GUIDANCE_NAME: one.guidance},
        "extra": dict(extra),
    }


def jpeg(levels: np.ndarray) -> bytes:
    """levels: (h, w, 3) in [0, 255]."""
    buffer = io.BytesIO()
    to_picture(levels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
