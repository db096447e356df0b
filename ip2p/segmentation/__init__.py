"""Regions that have a name, such as the subject or the face: who finds each of them, and their weights."""

from .named import missing, regions_named
from .weights import PLACES

__all__ = ["PLACES", "missing", "regions_named"]
