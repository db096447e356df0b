"""What a run would take, told before anything is asked of the model."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from . import few_shot
from .make import Wanted, asks
from .writer import Writer

LOOKED_AT = 64  # rows from which lengths are taken
CHARACTERS = 4.0  # of a token
WRITTEN = 40  # tokens of the rest of an answer, over an edited caption about as long as the caption
SECONDS = 2.0  # assumed for a call of an endpoint
BYTES = 900  # of a row in all files, beside its texts


def estimated(
    wanted: Wanted,
    total: int,
    writer: Callable[[], Writer] | None,
    batch: int,
    price: tuple[float, float] | None,
    requests: int,
    examples: int,
) -> list[str]:
    """Lines for the terminal. writer: loads a local model, which writes one batch that is thrown away, to be timed; None for an endpoint,
    which is not called."""
    looked_at = list(itertools.islice(asks(wanted), LOOKED_AT))
    caption = sum(len(ask.caption.text) for ask in looked_at) / max(1, len(looked_at))
    asked = sum(len(few_shot.as_text(ask, examples)) for ask in looked_at) / max(1, len(looked_at))
    read, written = total * asked / CHARACTERS, total * (caption / CHARACTERS + WRITTEN)
    said = [f"rows     {total:,}"]
    if writer is not None:
        local = writer()
        began = time.monotonic()
        timed = list(itertools.islice(local.write(looked_at, ()), min(batch, len(looked_at))))
        seconds = (time.monotonic() - began) / len(timed) * total
        read, written = (total * sum(answer.tokens[i] for _, answer in timed) / len(timed) for i in (0, 1))
        basis = f"measured on {len(timed)} rows"
    else:
        seconds, basis = total * SECONDS / requests, f"at {SECONDS:g} s a call and {requests} calls at a time"
        said.append(f"calls    {total:,}, and more for those that fail")
    said += [
        f"tokens   about {read:,.0f} read and {written:,.0f} written",
        f"hours    about {seconds / 3600:.1f}, {basis}",
        f"disk     about {total * (BYTES + 6 * caption) / 1e6:,.0f} MB",
    ]
    if price:
        said.append(f"cost     about {(read * price[0] + written * price[1]) / 1e6:,.2f}")
    return said
