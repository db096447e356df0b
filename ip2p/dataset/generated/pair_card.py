"""The card of a set of generated pairs: what it was made of and by what, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
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
Prompt-to-Prompt in self-attention for the first share p of the steps. {aside:,} rows were set aside: `set_aside.jsonl` says why. Nothing
was filtered.

| | |
|---|---|
{table}

Columns: original_image, edit_prompt, edited_image, original_prompt, edited_prompt, seed (of the noise), scores (p2p_threshold is p,
cfg_scale the guidance), id and sample (the row, and which of its samples), split, url and licence of the caption, writer of the instruction.

The pictures are a model's: the licence of the text-to-image model says how they may be used, that of the captions holds for the texts.
"""


def card_of(settings: Mapping[str, Any], pairs: int, rows: int, aside: int) -> str:
    """settings: of the run."""
    table = "\n".join(f"| {name.replace('_', ' ')} | {cell(value)} |" for name, value in settings.items())
    return CARD.format(pairs=pairs, rows=rows, aside=aside, table=table)


def cell(value: object) -> str:
    text = " to ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.replace("|", "\\|")
