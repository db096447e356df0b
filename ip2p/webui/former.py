"""The checkpoint that a person had before *Use this checkpoint*: remembered until the WebUI ends, to be offered back."""

from __future__ import annotations

from modules import sd_models

from .denoiser import is_edit_model

_former: str | None = None


def remember() -> None:
    """The loaded checkpoint, if it is not one that edits."""
    global _former
    model = sd_models.model_data.sd_model
    if model is not None and not is_edit_model(model):
        _former = model.sd_checkpoint_info.title


def offered(edits: bool) -> str:
    """Its title while another one that edits is loaded, and as long as its file is known; else nothing."""
    return _former if edits and _former in sd_models.checkpoint_aliases else ""
