"""The card of a set of generated pairs: what it was made of and by what, and how it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CARD = """---
task_categories: [image-to-image]
tags: [instruct-pix2pix, synthetic]
configs:
  - config_name: default
    data_files: "shards/*.parquet"
---

# Generated picture pairs

{pairs:,} pairs of {rows:,} rows, drawn as InstructPix2Pix draws them (arXiv 2211.09800): both captions of a row from the same noise, with
Prompt-to-Prompt in self-attention for the first share p of the steps. {aside:,} rows were set aside: `set_aside.jsonl` says why.
{filtered}

| | |
|---|---|
{table}

Columns: original_image, edit_prompt, edited_image, original_prompt, edited_prompt, seed (of the noise), scores (p2p_threshold is p,
cfg_scale the guidance), id and sample (the row, and which of its samples), split, url and licence of the caption, writer of the instruction.

The pictures are a model's: the licence of the text-to-image model says how they may be used, that of the captions holds for the texts.
"""


def card_of(settings: Mapping[str, Any], pairs: int, rows: int, aside: int, flagged: int) -> str:
    """settings: of the run. flagged: pairs that the safety checker left out."""
    table = "\n".join(f"| {name.replace('_', ' ')} | {cell(value)} |" for name, value in settings.items() if value is not None)
    return CARD.format(pairs=pairs, rows=rows, aside=aside, table=table, filtered=" ".join(filtered(settings, flagged)))


def filtered(settings: Mapping[str, Any], flagged: int) -> Iterator[str]:
    if stop := settings.get("stop_after"):
        wanted = ", ".join(f"{name} ≥ {least:g}" for name, least in stop["at_least"].items())
        yield f"A row ended once {stop['good']} of its samples had {wanted}, so that these are not the best of {settings.get('samples')}."
    else:
        yield "None were chosen by a score."
    if settings.get("safety"):
        yield f"{flagged:,} pairs that the model's safety checker flagged were left out."


def cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {cell(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return (" to " if all(isinstance(part, (int, float)) for part in value) else ", ").join(map(cell, value))
    return str(value).replace("|", "\\|")
