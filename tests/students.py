"""Made students of the three passes: a checkpoint with a random matrix. They prove that the scales are told, never quality."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ip2p.checkpoints.beside import with_configuration_of
from ip2p.checkpoints.ldm import read_yaml
from ip2p.checkpoints.packaged import SMALL
from ip2p.checkpoints.student import FIRST
from ip2p.scale_input import FEATURES, KEY

SAID = {"passes": "1", "steps": "4", "sampler": "Euler", "scheduler": "Automatic", "text_scale": "2.5", "image_scale": "1.5", "size": "64"}


def student_file(target: Path, source: Path = SMALL.file, **said: str) -> Path:
    """`source` with a matrix and what a student says of itself, of which `said` has its own; what lies beside it comes along."""
    state = load_file(source)
    width = len(state[f"{FIRST}.bias"]) // 4
    state[KEY] = torch.randn(width, FEATURES, generator=torch.Generator().manual_seed(1)).mul_(0.2).to(state[f"{FIRST}.bias"].dtype)
    with safe_open(source, "pt") as file:
        metadata = file.metadata() or {}
    metadata |= {f"instruct_edit.{name}": value for name, value in (SAID | said).items()}
    with with_configuration_of(source, read_yaml(source.with_suffix(".yaml")), target, True, [source]) as place:
        save_file(state, place, metadata)
    return target


def without_mark(student: Path, target: Path) -> Path:
    """The same networks as any loader sees them, which knows of no student."""
    state = load_file(student)
    del state[KEY]
    with with_configuration_of(student, read_yaml(student.with_suffix(".yaml")), target, True, [student]) as place:
        save_file(state, place)
    return target
