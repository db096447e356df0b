"""A checkpoint for one run: loaded for it, and the WebUI's own given back after success, interruption and failure alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from modules import errors, sd_models, shared

from ..checkpoints.recognise import is_edit_checkpoint
from ..errors import EditError
from ..presets import quoted
from .models import FROZEN, checkpoint_is_frozen, load_checkpoint, titles_of_edit_checkpoints

CHOSEN = "sd_model_checkpoint"  # the host's setting: what every job loads

_own: str | None = None  # the person's, while another one is lent


@contextmanager
def lent(name: str | None) -> Iterator[None]:
    """Within the block the WebUI edits with this checkpoint; call it with the host's queue lock held. Neither the person's choice at the
    top of the page nor a file of settings changes.

    name: title, file name or hash of an edit checkpoint; empty for the one that is chosen. Raises EditError for one that can't be lent.
    """
    global _own
    info = edit_checkpoint(name) if name else None
    if info is None or info is sd_models.checkpoint_aliases.get(shared.opts.sd_model_checkpoint):
        yield
        return
    if checkpoint_is_frozen():
        raise EditError(FROZEN)
    with sd_models.model_data.lock:  # which the host holds while it loads its first one
        load_checkpoint(info)
    _own = shared.opts.data.get(CHOSEN)
    shared.opts.data[CHOSEN] = info.title  # else the host loads the chosen one again when it begins
    try:
        yield
    finally:
        if shared.opts.data.get(CHOSEN) == info.title:  # else another one was chosen meanwhile
            shared.opts.data[CHOSEN] = _own
        give_back()
        _own = None


def own_title() -> str | None:
    """The checkpoint that is the person's while another one is lent; None while none is."""
    return _own


def edit_checkpoint(name: str) -> sd_models.CheckpointInfo:
    """Raises EditError for a name that is not known, or not of an edit checkpoint."""
    info = sd_models.checkpoint_aliases.get(name)
    if info is not None and is_edit_checkpoint(info.filename):
        return info
    fault = f"There is no checkpoint {quoted(name)}" if info is None else f"{quoted(name)} is not an edit checkpoint"
    raise EditError(f"{fault}. Edit checkpoints found: {', '.join(titles_of_edit_checkpoints()) or 'none'}.")


def give_back() -> None:
    """Loads the chosen checkpoint. A failure is reported in the log, since the next job tries again; the run's results are not lost."""
    try:
        with sd_models.SkipWritingToConfig():
            sd_models.reload_model_weights()
    except Exception:  # whatever the host raises
        errors.report("Instruct edit: the checkpoint from before the edit could not be loaded again", exc_info=True)


def cost() -> str:
    """What a loan costs with this host's settings, in a sentence."""
    kept = int(shared.opts.sd_checkpoints_limit)
    if kept > 1:
        return f"Yours is given back after every edit. The WebUI keeps up to {kept} checkpoints in memory, so only the first edit waits for it."
    return "Yours is given back after every edit: a load each way, unless the setting “Maximum number of checkpoints loaded at the same time” is above 1."
