"""Procedural edits of photographs, which `dataset photos` makes pairs of: catalogue.py has the table of all of them."""
