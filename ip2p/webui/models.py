"""What the host says about checkpoints: the loaded one, whether it edits, and those that were found."""

from __future__ import annotations

from modules import sd_models, shared

from ..checkpoints import small
from ..checkpoints.defaults import ModelDefaults, defaults_for, instructions_for
from ..checkpoints.recognise import is_edit_checkpoint
from .denoiser import is_edit_model


def model_status() -> dict:
    """The loaded checkpoint, whether it edits, and the edit checkpoints found in the model folders; loads nothing."""
    model = sd_models.model_data.sd_model
    return {
        "model": model.sd_checkpoint_info.title if model is not None else None,
        "is_edit_model": is_edit_model(model),
        "edit_checkpoints": [info.title for info in sd_models.checkpoints_list.values() if is_edit_checkpoint(info.filename)],
    }


def edits_once_loaded() -> bool:
    """Whether the checkpoint that the host is still loading at its start is one that edits."""
    if sd_models.model_data.was_loaded_at_least_once:
        return False
    chosen = sd_models.checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
    return chosen is not None and is_edit_checkpoint(chosen.filename)


def chosen_checkpoint() -> sd_models.CheckpointInfo | None:
    """The one that is loaded, or is being loaded at the start."""
    model = sd_models.model_data.sd_model
    return model.sd_checkpoint_info if model is not None else sd_models.checkpoint_aliases.get(shared.opts.sd_model_checkpoint)


def small_is_chosen() -> bool:
    info = chosen_checkpoint()
    return info is not None and info.name_for_extra == small.IN_WEBUI


def chosen_defaults() -> ModelDefaults:
    """What suits the chosen checkpoint."""
    info = chosen_checkpoint()
    return defaults_for(info.filename) if info is not None else ModelDefaults()


def chosen_knows() -> tuple[str, tuple[str, ...]]:
    """The chosen checkpoint's name, and examples of what it was made for; none where it names none."""
    info = chosen_checkpoint()
    return (info.name_for_extra, instructions_for(info.filename)) if info is not None else ("", ())


def found_defaults() -> set[ModelDefaults]:
    """What suits each of the edit checkpoints found in the model folders."""
    files = {info.filename for info in sd_models.checkpoints_list.values() if is_edit_checkpoint(info.filename)}
    return {defaults_for(file) for file in files}
