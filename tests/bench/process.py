"""What a bench sets for the process that it measures, before torch is imported."""

import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# Freed memory stays with the process: at small sizes the page faults of asking again are louder than the network.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "8000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000"}


def prepare() -> None:
    """One thread, no hub, the tests' own modules on the path. It starts the process anew once: the allocator reads its settings at the start."""
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.environ.update(MEMORY)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    sys.path[:0] = [str(TESTS), str(TESTS / "host"), str(TESTS.parent)]
