"""What a model that was not fine-tuned is asked with: the task in words, and rows that people wrote, other ones for each row."""

from __future__ import annotations

import hashlib
import json
import random
from functools import cache
from pathlib import Path

from .paper_format import completion, prompt
from .triplets import Ask

SEEDS = Path(__file__).with_name("seeds.jsonl")
EXAMPLES = 12
TASK = (
    "You read the caption of a photograph and write one instruction to edit the photograph, and the caption of the edited photograph. "
    "The instruction names a visible change that makes sense for this photograph: of style, weather, season, time of day, material, "
    "background, clothes, hair, make-up, age, mood or colour, or something added, removed or replaced. "
    "The edited caption carries out the instruction and is otherwise the caption, word for word."
)
AS_TEXT = " Answer with the instruction, a line with %%, the edited caption, and a line with END."
AS_JSON = ' Answer with a JSON object that has the texts "edit", the instruction, and "output", the edited caption.'


@cache
def seed_rows() -> tuple[dict[str, str], ...]:
    """{input, edit, output, kind, subject} of each row."""
    return tuple(json.loads(line) for line in SEEDS.read_text(encoding="utf8").splitlines())


def drawn(ask: Ask, count: int) -> list[dict[str, str]]:
    return random.Random(ask.seed).sample(seed_rows(), min(count, len(seed_rows())))


def as_text(ask: Ask, count: int) -> str:
    """For a model that goes on where a text ends."""
    examples = [prompt(row["input"]) + completion(row["edit"], row["output"]) for row in drawn(ask, count)]
    return "\n\n".join([*examples, prompt(ask.caption.text)])


def as_messages(ask: Ask, count: int, schema: bool) -> list[dict[str, str]]:
    """For a model that answers messages. schema: as a JSON object rather than in the paper's format."""
    messages = [{"role": "system", "content": TASK + (AS_JSON if schema else AS_TEXT)}]
    for row in drawn(ask, count):
        answer = json.dumps({"edit": row["edit"], "output": row["output"]}) if schema else completion(row["edit"], row["output"])
        messages += [{"role": "user", "content": row["input"]}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": ask.caption.text}]


def digest(*parts: object) -> str:
    """Of a prompt: of what goes into it, and of all rows that may."""
    text = json.dumps([*map(str, parts), TASK, AS_TEXT, AS_JSON]) + SEEDS.read_text(encoding="utf8")
    return hashlib.sha256(text.encode()).hexdigest()[:16]
