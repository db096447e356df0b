"""The edit checkpoints that come with the package: where they lie, what they are good for, and putting them into a WebUI."""

from __future__ import annotations

import filecmp
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..errors import EditError
from .defaults import PACKAGED, ModelDefaults, defaults_for
from .recognise import CLIP_FILES, CLIP_PLACE
from .together import written_together

OFFICIAL = "official"  # what --model takes beside a file, a folder, a name on the hub and those of the package
HUB = "timbrooks/instruct-pix2pix"  # the published checkpoint
PUBLISHED = "The published one, 7.7 GB, does far more"


@dataclass(frozen=True)
class Packaged:
    """name: what --model takes. Its file is an LDM one, with its yaml beside it."""

    name: str

    @property
    def file(self) -> Path:
        return PACKAGED[self.name]

    @property
    def clip(self) -> Path:
        """The text encoder's configuration and vocabulary, which all of them share."""
        return PACKAGED[SMALL.name].with_suffix(".clip")

    @property
    def in_webui(self) -> str:
        """Its name there, without a suffix."""
        return f"instruct-edit-{self.name}"

    @cached_property
    def defaults(self) -> ModelDefaults:
        return defaults_for(self.name)

    @property
    def called(self) -> str:
        return "the small checkpoint" if self.defaults.passes > 1 else "the small checkpoint's fast version"

    @property
    def about(self) -> str:
        """What it is good for, in a sentence."""
        pace = "" if self.defaults.passes > 1 else f" in {self.defaults.steps} steps of one pass"
        return f"It edits at {self.defaults.longest_side} pixels{pace} and {KNOWS}"

    @property
    def parts(self) -> list[Path]:
        """Every file that it is read from."""
        return [self.file, self.file.with_suffix(".yaml"), *sorted(self.clip.iterdir())]

    def place_in(self, folder: Path) -> Path:
        """Where `install` puts it in a WebUI's folder of checkpoints."""
        return (folder / f"{self.in_webui}.safetensors").absolute()

    def is_copy(self, path: Path) -> bool:
        """Whether the file is the package's checkpoint."""
        return path.is_file() and filecmp.cmp(self.file, path, shallow=False)

    def install(self, folder: Path, force: bool = False) -> Path:
        """Copies the checkpoint into a WebUI's folder of checkpoints, whole or not at all, with a yaml that names its text encoder's folder there.

        Where it is already nothing is done but to put its yaml right, after a move. Raises EditError when another file of its name is
        there and not `force`, and when the folder can't be written to.
        """
        from omegaconf import OmegaConf

        target = self.place_in(folder)
        yaml, clip = target.with_suffix(".yaml"), target.with_suffix(".clip")
        config = OmegaConf.load(self.file.with_suffix(".yaml"))
        OmegaConf.update(config, CLIP_PLACE, str(clip), force_add=True)
        same = self.is_copy(target)
        if target.exists() and not same and not force:
            raise EditError(f"{target} is there already and is another file: move it away, or overwrite it with --force.")
        targets = [clip, yaml] if same else [clip, yaml, target]  # the checkpoint last, since a WebUI lists what has its suffix
        with written_together(targets, force=True, ours=CLIP_FILES) as places:
            shutil.copytree(self.clip, places[0])
            places[1].write_text(OmegaConf.to_yaml(config), encoding="utf8")
            if not same:
                shutil.copyfile(self.file, places[2])
        return target


KNOWS = "changes a photograph's season, weather, light, colours and style; it does not add, remove or replace things."
SMALL, FAST = OWN = tuple(map(Packaged, PACKAGED))  # of three passes a step, and its student, of one and few steps
BY_NAME = {one.name: one for one in OWN}
CHOICES = f"{' or '.join(BY_NAME)}, which come with the package, {OFFICIAL}, a checkpoint file, a diffusers folder, or a name on the hub"
