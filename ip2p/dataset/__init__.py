"""Pair sets, of which an edit model is made: a picture, what to change, and the picture changed."""
