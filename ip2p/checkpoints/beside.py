"""What lies beside a checkpoint file of its name: the yaml with its configuration and the folder with its text encoder's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from ..errors import EditError
from .clip import clip_folder, copy_tokenizer
from .recognise import CLIP_FILES, CLIP_PLACE
from .together import written_together


@contextmanager
def written_beside(output: Path, sources: Iterable[Path], force: bool, yaml: bool, clip: bool) -> Iterator[list[Path]]:
    """Within the block places for the .clip folder, the .yaml and the file itself, all three written or none, the file last.

    sources: the files it is made from. yaml, clip: whether there will be one. Raises EditError when there would be none and one of
    that name is there, since it would be read as the checkpoint's, and as `files.refuse_existing` does.
    """
    sources = list(sources)
    read = [source.with_suffix(suffix) for source in sources if source.is_file() for suffix in (".yaml", ".clip")]
    beside = {output.with_suffix(".clip"): clip, output.with_suffix(".yaml"): yaml}
    with written_together([*beside, output], force, sources=[*sources, *read], ours=CLIP_FILES) as places:
        for path, wanted in beside.items():
            if path.exists() and not wanted:
                raise EditError(f"{path} would be read as the new checkpoint's: move it away, or choose another name.")
        yield places


@contextmanager
def with_configuration_of(source: Path, params: Mapping, output: Path, force: bool, sources: Iterable[Path]) -> Iterator[Path]:
    """Within the block a place for a checkpoint file of the same networks as `source`, whose yaml and text encoder come along.

    params: the yaml's `model.params`, else SD 1.x's.
    """
    yaml, clip = source.with_suffix(".yaml"), clip_folder(source, params)
    if output.with_suffix(".yaml").resolve() == yaml.resolve():  # model.ckpt to model.safetensors: they are there
        with written_together([output], force, sources=sources) as (place,):
            yield place
        return
    with written_beside(output, sources, force, yaml.is_file(), clip is not None) as (clip_place, yaml_place, place):
        if clip is not None:
            copy_tokenizer(clip, clip_place)
        if yaml.is_file():
            yaml_place.write_text(yaml_for(yaml, output if clip else None), encoding="utf8")
        yield place


def yaml_for(yaml: Path, checkpoint: Path | None) -> str:
    """The yaml's text as it is or, for a checkpoint with a text encoder of its own, with the folder's place in it."""
    if checkpoint is None:
        return yaml.read_text(encoding="utf8")
    config = OmegaConf.load(yaml)
    OmegaConf.update(config, CLIP_PLACE, str(checkpoint.with_suffix(".clip").resolve()), force_add=True)
    return OmegaConf.to_yaml(config)
