"""What the language model is asked for each caption, what it answers, and the ids by which both are known wherever they are made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from ..plan import TRAIN

HELD_OUT = "held_out"  # the split of captions kept from training
ID_DIGITS = 20  # of SHA-256: a billion rows share one with a probability of 4e-7


@dataclass(frozen=True)
class Caption:
    """text: in one line. url, licence: where its picture is and how it may be used, "" where unknown. place: the line or row it is from."""

    text: str
    url: str = ""
    licence: str = ""
    place: str = ""


@dataclass(frozen=True)
class Ask:
    """The k-th instruction wanted for a caption. seed: of what is drawn for it, in [0, 2^63)."""

    id: str
    caption: Caption
    k: int
    seed: int


@dataclass(frozen=True)
class Answer:
    """text: as the model wrote it, in the paper's format. problem: why there is none, "" where there is one. flagged: by the endpoint's
    moderation. tokens: read and written."""

    text: str = ""
    problem: str = ""
    flagged: bool = False
    tokens: tuple[int, int] = (0, 0)


def asks_of(caption: Caption, per_caption: int, run_seed: int) -> list[Ask]:
    asks = []
    for k in range(per_caption):
        digest = hashlib.sha256(f"{run_seed}\n{k}\n{caption.text}".encode()).digest()
        asks.append(Ask(digest.hex()[:ID_DIGITS], caption, k, int.from_bytes(digest[-8:], "big") >> 1))
    return asks


def share_of(text: str) -> float:
    """In [0, 1): by the caption's hash, the same in every run."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def split_of(caption: str, held_out: float) -> str:
    """By the caption alone. held_out: the share of captions kept from training."""
    return HELD_OUT if share_of(plain(caption)) < held_out else TRAIN


def record_of(ask: Ask, answer: Answer, held_out: float, writer: dict[str, str]) -> dict[str, Any]:
    """What is kept of an answer. held_out: the share of captions kept from training. writer: model, version and prompt."""
    return {
        "id": ask.id,
        "input": ask.caption.text,
        "k": ask.k,
        "text": answer.text,
        "problem": answer.problem,
        "flagged": answer.flagged,
        "url": ask.caption.url,
        "licence": ask.caption.licence,
        "split": split_of(ask.caption.text, held_out),
        **writer,
        "tokens_in": answer.tokens[0],
        "tokens_out": answer.tokens[1],
    }


def plain(text: str) -> str:
    """Without case, `.!?` and doubled spaces: texts that differ in these alone are the same."""
    return " ".join(text.casefold().translate({ord(sign): None for sign in ".!?"}).split())
