"""How fast the filters of `dataset instructions` are, and how much memory they take: python tests/bench/filters.py [CAPTIONS]."""

import json
import resource
import sys
import time

from ip2p.dataset.instructions.few_shot import seed_rows
from ip2p.dataset.instructions.figures import Figures
from ip2p.dataset.instructions.paper_format import completion
from ip2p.dataset.instructions.rules import Rules
from ip2p.dataset.instructions.sieve import sifted
from ip2p.dataset.instructions.triplets import Answer, Caption, asks_of, record_of

PER_CAPTION = 2


def records(captions: int):
    """Seed rows under captions that differ."""
    rows = seed_rows()
    for i in range(captions):
        for ask in asks_of(Caption(f"{rows[i % len(rows)]['input']} {i}"), PER_CAPTION, 0):
            row = rows[(i + ask.k) % len(rows)]
            yield record_of(
                ask, Answer(completion(row["edit"], f"{row['output']} {i}")), 0.1, {"model": "m", "version": "v", "prompt": "p"}
            )


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main(captions: int) -> None:
    for count in (captions // 10, captions):
        began, figures, before = time.process_time(), Figures(), peak()
        for row, reason in sifted(records(count), Rules(faithful=True)):
            figures.count(row, reason)
        seconds = time.process_time() - began
        told = {
            "captions": count,
            "rows": figures.asked,
            "kept": figures.kept,
            "rows a second": round(figures.asked / seconds),
            "MB before": round(before, 1),
            "MB at most": round(peak(), 1),
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
