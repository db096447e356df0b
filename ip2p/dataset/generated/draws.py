"""What is drawn for every sample of a row: from the run's seed, the row's id and the sample's number alone, wherever it is made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

P, GUIDANCE = (0.1, 0.9), (7.5, 15.0)  # Brooks et al., 3.1.2
SEED_BYTES = 6  # what a number in JSON holds exactly
DIGITS = 4  # of p and of the guidance

P_NAME, GUIDANCE_NAME = "p2p_threshold", "cfg_scale"  # of both as scores, as the original code's metadata.jsonl has them

Range = tuple[float, float]


@dataclass(frozen=True)
class Draw:
    """seed: of the noise of both pictures, in [0, 2^48). p: the share of the steps in which the second picture attends as the first does.
    guidance: of both."""

    seed: int
    p: float
    guidance: float


def draw(run_seed: int, row: str, k: int, p: Range = P, guidance: Range = GUIDANCE) -> Draw:
    """The k-th sample of a row, counted from 0. p, guidance: drawn evenly between two numbers, which may be equal."""
    digest = hashlib.sha256(f"{run_seed}\n{row}\n{k}".encode()).digest()
    seed, *shares = (int.from_bytes(part, "big") for part in (digest[:SEED_BYTES], digest[8:16], digest[16:24]))
    return Draw(seed, *(round(low + (high - low) * share / 2**64, DIGITS) for share, (low, high) in zip(shares, (p, guidance))))
