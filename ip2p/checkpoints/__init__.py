"""Checkpoints: recognised by their header, read, converted, merged, fetched; and the small one that comes with the package."""
