"""The face parser of facexlib, which the WebUI has: RetinaFace finds faces, ParseNet labels them in 19 classes.

Sources: RetinaFace (Deng et al., arXiv 1905.00641), ParseNet of PSFR-GAN (Chen et al., arXiv 2009.08709). facexlib's own loader unpickles
whatever is in a file; here only tensors are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..errors import EditError
from .weights import PLACES, Weights

Array = np.ndarray

RELEASES = "https://github.com/xinntao/facexlib/releases/download"
DETECTOR = Weights(
    "detection_Resnet50_Final.pth", f"{RELEASES}/v0.1.0/detection_Resnet50_Final.pth",
    "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d", 109_497_761, "RetinaFace is under the MIT License.",
)  # fmt: skip
PARSER = Weights(
    "parsing_parsenet.pth", f"{RELEASES}/v0.2.2/parsing_parsenet.pth",
    "3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2", 85_331_193,
    "ParseNet comes from PSFR-GAN, under CC BY-NC-SA 4.0, and has learned from CelebAMask-HQ: both for non-commercial use.",
)  # fmt: skip
SIDE, CLASSES = 512, 19
REACH = 2.2  # the side of what is parsed, over the longer side of the face: with its hair and its collar
SURE = 0.8
DETECTED_AT = 640  # pixels of the longest side that faces are looked for at


class FacexlibParser:
    """A `Parser`."""

    def missing(self) -> str:
        if not find_spec("facexlib"):
            return (
                "Hair, skin, clothes and the like are found by facexlib, which the WebUI has: use the extension there, or paint the region."
            )
        if PLACES.kept is None and not (PLACES.found(DETECTOR) and PLACES.found(PARSER)):
            return "There is no folder for the weights of facexlib's face parser: paint the region."
        return ""

    def label_maps(self, image: Array) -> list[Array]:
        return [labelled(image, box) for box in faces_in(image)]


def faces_in(image: Array) -> list[Array]:
    """image: (h, w, 3) in [0, 1] → of every face its box, (left, top, right, bottom) in pixels."""
    scale = min(DETECTED_AT / max(image.shape[:2]), 1)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    with torch.inference_mode():
        found = detector().detect_faces(small[..., ::-1] * 255, SURE)  # BGR
    return [face[:4] / scale for face in found]


def labelled(image: Array, box: Array) -> Array:
    """The labels of one face's surroundings, (h, w), in a map of the whole picture that is 0 elsewhere."""
    h, w = image.shape[:2]
    side = max(round(REACH * max(box[2:] - box[:2])), 16)
    left, top = (round(float(middle - side / 2)) for middle in (box[:2] + box[2:]) / 2)
    to_face = np.array([[SIDE / side, 0, -left * SIDE / side], [0, SIDE / side, -top * SIDE / side]])
    given = cv2.warpAffine(image, to_face, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    pixels = torch.from_numpy(given.transpose(2, 0, 1)[None] * 2 - 1)
    with torch.inference_mode():
        labels = parser()(pixels)[0][0].argmax(0).to(torch.uint8).numpy()
    return cv2.warpAffine(labels, to_face, (w, h), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderValue=0)


@cache
def detector() -> Any:
    from facexlib.detection.retinaface import RetinaFace

    return filled(RetinaFace("resnet50", device=torch.device("cpu")), PLACES.of(DETECTOR))


@cache
def parser() -> Any:
    from facexlib.parsing.parsenet import ParseNet

    return filled(ParseNet(in_size=SIDE, out_size=SIDE, parsing_ch=CLASSES), PLACES.of(PARSER))


def filled(network: torch.nn.Module, file: Path) -> torch.nn.Module:
    """The network with the tensors of a file, on the CPU. Raises EditError for a file that has others, or something else than tensors."""
    try:
        tensors = dict(named(torch.load(file, map_location="cpu", weights_only=True)))
        network.load_state_dict(tensors)
    except Exception as e:  # whatever a damaged file makes torch raise
        raise EditError(
            f"{file} does not hold the weights of facexlib's {type(network).__name__}: delete it, and it is fetched again."
        ) from e
    return network.eval()


def named(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """Without what several GPUs put before a name."""
    for name, tensor in tensors.items():
        yield name.removeprefix("module."), tensor
