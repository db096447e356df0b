"""Where using the extension leaves files: in its own folder, so that they go when it is deleted and stay when it is updated."""

from pathlib import Path

KEPT = Path(__file__).parents[2] / "user"  # not resolved: a linked extension keeps its files where it is linked
