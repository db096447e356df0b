"""What the fields of an edit offer, as the WebUI's tab and the page word it, and the examples that both load."""

from __future__ import annotations

from pathlib import Path

from .edit import FULL, OWN_SIZE, WORKING

AS_PICTURE, CUSTOM = SIZES = "As the picture", "Custom"
RESULT_LABELS = {FULL: "Full size with detail", OWN_SIZE: "Own size, enlarged", WORKING: "Working size"}
FAST_INFO = "fast runs three fifths of the network's work"
FINISH_EXACTLY = "Finish exactly"
ONE_CHANGE_A_LINE = "One change a line: each line edits the result of the one before"
HOLD, LOAD_EXAMPLE = "Hold to see the original", "Load example"
VARY, VARY_WORD = "Variations side by side", "A result for every choice of"
VARY_LINES = "Instructions, one a line: a result of each, all from one seed"
VARY_NOTE = "While something stands here it takes the place of the instruction"

_EXAMPLES = Path(__file__).with_name("examples")
EXAMPLES = (  # a picture and what to make of it
    (_EXAMPLES / "astronaut.jpg", "make it sepia"),
    (_EXAMPLES / "chelsea.jpg", "make it winter"),
    (_EXAMPLES / "coffee.jpg", "make it a pencil drawing"),
)
