"""Edit a picture by saying what to change: InstructPix2Pix (arXiv 2211.09800)."""

__version__ = "0.1.0"
