"""Writes the settings that suit a model into the header of its file; the weights stay as they are, bit for bit.

    python docs/defaults.py ip2p/small/small.safetensors text_scale=2.5 image_scale=1.5 steps=20 size=256 instructions="make it winter"

Several instructions: one a line. A setting without a value is taken out.
"""

import sys
from pathlib import Path

from ip2p.checkpoints.defaults import KEYS, PREFIX
from ip2p.checkpoints.header import safetensors_metadata
from ip2p.checkpoints.tensors import Weights, write_safetensors
from ip2p.files import written_whole


def main(model: str, *settings: str) -> None:
    said = dict(setting.split("=", 1) for setting in settings)
    if unknown := [key for key in said if key not in KEYS]:
        sys.exit(f"There is no setting “{unknown[0]}”. Known ones: {', '.join(KEYS)}.")
    path = Path(model)
    metadata = safetensors_metadata(path) | {PREFIX + key: value for key, value in said.items()}
    metadata = {key: value for key, value in metadata.items() if value}
    with Weights(path) as weights, written_whole(path, force=True) as beside:
        write_safetensors(beside, weights.tensors, weights.read, metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
