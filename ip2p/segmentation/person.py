"""People, by MediaPipe's network for selfies."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..filters import guided, light, ramp, unit
from .tflite import missing_networks, network

NETWORK, SIDE = "selfie_segmentation/selfie_segmentation.tflite", 256
LEAST = 0.005  # share of the picture: less of it is nobody


class PersonNetwork:
    """The provider of the region “person”."""

    names: Sequence[str] = ("person",)

    def missing(self, name: str) -> str:
        return missing_networks("Finding people")

    def masks(self, image: np.ndarray, name: str) -> list[np.ndarray]:
        """One mask for everybody who stands apart."""
        h, w = image.shape[:2]
        (found,) = network(NETWORK)(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
        mask = cv2.resize(found[0, ..., 0], (w, h), interpolation=cv2.INTER_LINEAR)
        mask = ramp(guided(light(image), mask, 3 * unit(image), 1e-4), 0.2, 0.8).astype(np.float32)
        count, labels, stats, _ = cv2.connectedComponentsWithStats((mask > 0.5).astype(np.uint8))
        people = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] > LEAST * h * w]
        if len(people) < 2:
            return [mask] if people else []
        near = cv2.distanceTransformWithLabels(1 - np.isin(labels, people).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)[1]
        owner = {near[labels == i][0]: i for i in people}
        return [mask * (near == place) for place in owner]
