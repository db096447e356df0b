"""Varied synthetic scenes: a grammar of captions in many words, what draws them, what reads them, and edits of them."""
