"""Regions that have a name, such as the subject or the face: who finds each of them, and their weights."""

from .named import missing, regions_named

__all__ = ["missing", "regions_named"]
