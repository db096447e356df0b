"""What the fields of an edit offer, as the WebUI's tab and the page word it."""

from __future__ import annotations

from .edit import FULL, OWN_SIZE, WORKING

AS_PICTURE, CUSTOM = SIZES = "As the picture", "Custom"
RESULT_LABELS = {FULL: "Full size with detail", OWN_SIZE: "Own size, enlarged", WORKING: "Working size"}
