"""Procedural edits of photographs: what `dataset photos` teaches."""
