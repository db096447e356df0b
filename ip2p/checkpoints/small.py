"""The small edit checkpoint that comes with the package: where it lies, what it is good for, and putting it into a WebUI."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

from ..errors import EditError
from .defaults import PACKAGED, defaults_for
from .recognise import CLIP_FILES, CLIP_PLACE
from .together import written_together

NAME, OFFICIAL = "small", "official"  # what --model takes beside a file, a folder and a name on the hub
HUB = "timbrooks/instruct-pix2pix"  # the published checkpoint
FILE = PACKAGED[NAME]
IN_WEBUI = "instruct-edit-small"  # its name there, without a suffix
DEFAULTS = defaults_for(NAME)
ABOUT = (
    f"It edits at {DEFAULTS.longest_side} pixels and changes a photograph's season, weather, light, colours and style; "
    "it does not add, remove or replace things."
)
CHOICES = f"{NAME}, which comes with the package, {OFFICIAL}, a checkpoint file, a diffusers folder, or a name on the hub"
PUBLISHED = "The published one, 7.7 GB, does far more"


def place_in(folder: Path) -> Path:
    """Where `install` puts it in a WebUI's folder of checkpoints."""
    return (folder / f"{IN_WEBUI}.safetensors").absolute()


def install(folder: Path, force: bool = False) -> Path:
    """Copies the checkpoint into a WebUI's folder of checkpoints, whole or not at all, with a yaml that names its text encoder's folder there.

    Where it is already nothing is done but to put its yaml right, after a move. Raises EditError when another file of its name is
    there and not `force`, and when the folder can't be written to.
    """
    from omegaconf import OmegaConf

    target = place_in(folder)
    yaml, clip = target.with_suffix(".yaml"), target.with_suffix(".clip")
    config = OmegaConf.load(FILE.with_suffix(".yaml"))
    OmegaConf.update(config, CLIP_PLACE, str(clip), force_add=True)
    same = is_copy(target)
    if target.exists() and not same and not force:
        raise EditError(f"{target} is there already and is another file: move it away, or overwrite it with --force.")
    targets = [clip, yaml] if same else [clip, yaml, target]  # the checkpoint last, since a WebUI lists what has its suffix
    with written_together(targets, force=True, ours=CLIP_FILES) as places:
        shutil.copytree(FILE.with_suffix(".clip"), places[0])
        places[1].write_text(OmegaConf.to_yaml(config), encoding="utf8")
        if not same:
            shutil.copyfile(FILE, places[2])
    return target


def is_copy(path: Path) -> bool:
    """Whether the file is the package's checkpoint."""
    return path.is_file() and filecmp.cmp(FILE, path, shallow=False)
