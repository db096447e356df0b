"""Procedural edits of photographs, which `dataset photos` makes pairs of: kinds.py has the table of all of them."""
