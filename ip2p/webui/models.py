"""What the host says about checkpoints: the loaded one, whether it edits, and those that were found; and loading another one."""

from __future__ import annotations

from contextlib import suppress

from modules import errors, sd_models, shared

from ..checkpoints.defaults import ModelDefaults, defaults_for, instructions_for
from ..checkpoints.packaged import OWN, Packaged
from ..checkpoints.recognise import is_edit_checkpoint
from ..errors import EditError
from ..files import why
from .denoiser import is_edit_model

FROZEN = "This WebUI does not let its settings be changed (--freeze-settings), the checkpoint among them."


def model_status() -> dict:
    """The loaded checkpoint, whether it edits, and the edit checkpoints found in the model folders; loads nothing."""
    model = sd_models.model_data.sd_model
    return {
        "model": model.sd_checkpoint_info.title if model is not None else None,
        "is_edit_model": is_edit_model(model),
        "edit_checkpoints": titles_of_edit_checkpoints(),
    }


def titles_of_edit_checkpoints() -> list[str]:
    """Those of three passes first, which can do all that there is."""
    found = [info for info in sd_models.checkpoints_list.values() if is_edit_checkpoint(info.filename)]
    return [info.title for info in sorted(found, key=lambda info: -defaults_for(info.filename).passes)]


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


def packaged_chosen() -> Packaged | None:
    """The chosen checkpoint where it is one that comes with the package."""
    info = chosen_checkpoint()
    return next((own for own in OWN if info is not None and info.name_for_extra == own.in_webui), None)


def chosen_defaults(named: str | None = None) -> ModelDefaults:
    """What suits the chosen checkpoint, or the one of this title, file name or hash."""
    info = sd_models.checkpoint_aliases.get(named) if named else chosen_checkpoint()
    return defaults_for(info.filename) if info is not None else ModelDefaults()


def randomise_label(defaults: ModelDefaults) -> str:
    """Of the box, with the ranges that suit the model."""
    (text, most_text), (image, most_image) = defaults.scale_ranges
    return f"Randomise both (text {text:g}–{most_text:g}, image {image:g}–{most_image:g})"


def chosen_knows() -> tuple[str, tuple[str, ...]]:
    """The chosen checkpoint's name, and examples of what it was made for; none where it names none."""
    info = chosen_checkpoint()
    return (info.name_for_extra, instructions_for(info.filename)) if info is not None else ("", ())


def found_defaults() -> set[ModelDefaults]:
    """What suits each of the edit checkpoints found in the model folders."""
    files = {info.filename for info in sd_models.checkpoints_list.values() if is_edit_checkpoint(info.filename)}
    return {defaults_for(file) for file in files}


def checkpoint_is_frozen() -> bool:
    """Whether the host refuses to change the checkpoint, as with --freeze-settings and its kin: it is asked by setting the same again."""
    try:
        shared.opts.sd_model_checkpoint = shared.opts.sd_model_checkpoint
    except (AssertionError, RuntimeError):
        return True
    return False


def load_checkpoint(info: sd_models.CheckpointInfo) -> None:
    """Loads a checkpoint and leaves the host's setting as it is. Raises EditError, with the former checkpoint loaded again."""
    try:
        with sd_models.SkipWritingToConfig():
            sd_models.reload_model_weights(info=info)
    except Exception as e:  # whatever the host raises
        errors.report(f"Instruct edit: {info.filename} could not be loaded", exc_info=True)
        with suppress(Exception):
            sd_models.reload_model_weights()
        raise EditError(f"{info.filename} is there, but the WebUI could not load it: {why(e)}.") from e
