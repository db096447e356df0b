"""Faces and their parts by MediaPipe's networks: a detector, and a mesh of 468 points on each face it finds.

Sources: BlazeFace (Bazarevsky et al., arXiv 1907.05047), and Real-time Facial Surface Geometry (Kartynnik et al., arXiv 1907.06724). The
weights come in the package mediapipe 0.10.21, under the Apache License 2.0. It is installed without its dependencies, which pin old
releases, and never imported: only its weights are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..filters import ramp
from .tflite import missing_networks, network

Array = np.ndarray

DETECTOR, MESH = "face_detection/face_detection_full_range_sparse.tflite", "face_landmark/face_landmark.tflite"
DETECTOR_SIDE, MESH_SIDE = 192, 192
GRID = 48  # anchors along a side of the detector's picture, one in the middle of each cell
SURE, IS_FACE = 0.6, 0.5  # from which score on the detector, and then the mesh, has seen a face
OVERLAP = 0.3  # of two boxes, intersection over union: beyond it they are one face
MESH_REACH = 1.5  # the side of what the mesh is given, over the longer side of the detector's box
TILES = 2  # the picture is also looked at in so many tiles a side and more, half over one another, for small faces

# Numbers of the mesh's points, round each part.
FACE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93,
    234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
MOUTH = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)  # what is between the lips
EYES = (
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
)
BROWS = ((276, 283, 282, 295, 285, 336, 296, 334, 293, 300), (46, 53, 52, 65, 55, 107, 66, 105, 63, 70))
BELOW_NOSE = 2
RED, DARK = (0.5, 0.9), (0.5, 0.7)  # of the lips' redness over the mouth's, and of their lightness: from where on to where it is lip
GLASSES = 1.3  # size of glasses, over the hull of eyes and brows
SMOOTH = 4  # polygons are drawn this many times larger


@dataclass(frozen=True)
class Detected:
    """box: left, top, right, bottom; eyes: of both (x, y); in pixels."""

    score: float
    box: Array
    eyes: Array


class MeshFaces:
    """The provider of faces and what can be drawn by the mesh's points."""

    names: Sequence[str] = ("face", "lips", "eyes", "brows", "beard", "glasses")

    def missing(self, name: str) -> str:
        return missing_networks("Finding faces")

    def masks(self, image: Array, name: str) -> list[Array]:
        """One mask a face."""
        return [mask_of(points, name, image) for points in meshes(image)]


def meshes(image: Array) -> list[Array]:
    """image: (h, w, 3) in [0, 1] → of every face the mesh's points, (468, 2), x and y in pixels."""
    found = (mesh_of(image, face) for face in detected(image))
    return [points for points in found if points is not None]


def mask_of(points: Array, name: str, image: Array) -> Array:
    """points: as `meshes` gives them of this image → (h, w) in [0, 1], of one of `MeshFaces.names`."""
    h, w = image.shape[:2]

    def filled(*outlines: Sequence[int]) -> Array:
        mask = np.zeros((h * SMOOTH, w * SMOOTH), np.uint8)
        for outline in outlines:
            cv2.fillPoly(mask, [np.round((points[list(outline)] + 0.5) * SMOOTH - 0.5).astype(np.int32)], 255)
        return cv2.resize(mask, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    if name == "eyes":
        return filled(*EYES)
    if name == "brows":
        return filled(*BROWS)
    if name == "face":
        return filled(FACE)
    if name == "glasses":  # where they are, or would be
        hull = cv2.convexHull(points[[point for outline in (*EYES, *BROWS) for point in outline]].astype(np.float32))[:, 0]
        points, outline = GLASSES * (hull - hull.mean(0)) + hull.mean(0), range(len(hull))
        return filled(outline)
    if name == "lips":
        return lips_of(image, filled(LIPS), filled(MOUTH))
    return np.minimum(np.minimum(filled(FACE), lower_half(points, (h, w))), 1 - filled(LIPS))


def lips_of(image: Array, outer: Array, mouth: Array) -> Array:
    """The lips within their outline, without what is between them. The mesh draws an open mouth too large: what is as red there as the
    lips, and no darker, is lip."""
    ring, core = np.minimum(outer, 1 - mouth) > 0.9, cv2.erode(mouth, np.ones((3, 3), np.uint8)) > 0.9
    if not ring.any() or not core.any():
        return np.minimum(outer, 1 - mouth)
    lightness, redness, _ = cv2.split(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB))
    least = np.percentile(redness[core], 25)
    like_lips = ramp((redness - least) / max(np.median(redness[ring]) - least, 1e-3), *RED)
    like_lips *= ramp(lightness / max(np.median(lightness[ring]), 1e-3), *DARK)
    return np.minimum(outer, np.maximum(1 - mouth, like_lips))


def lower_half(points: Array, size: tuple[int, int]) -> Array:
    """What lies on the chin's side of the lower end of the nose: (h, w) of 0 and 1."""
    chin, forehead, nose = points[152], points[10], points[BELOW_NOSE]
    y, x = np.mgrid[: size[0], : size[1]]
    axis = chin - forehead
    return (((x - nose[0]) * axis[0] + (y - nose[1]) * axis[1]) > 0).astype(np.float32)


def detected(image: Array) -> list[Detected]:
    """Every face once, the surest first."""
    faces: list[Detected] = []
    for face in sorted((face for place in tiles(image.shape[:2]) for face in detected_in(image, place)), key=lambda face: -face.score):
        if all(overlap(face.box, other.box) < OVERLAP for other in faces):
            faces.append(face)
    return faces


def tiles(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """The whole picture and overlapping squares of it, as left, top, right, bottom."""
    h, w = size
    yield 0, 0, w, h
    side = max(min(h, w) // TILES, min(DETECTOR_SIDE, h, w))
    for top in steps(h, side):
        for left in steps(w, side):
            yield left, top, left + side, top + side


def steps(length: int, side: int) -> list[int]:
    """Where stretches of `side` begin that lie half over one another and end where `length` does."""
    count = max(-(-2 * (length - side) // side), 0)
    return [round(i * (length - side) / max(count, 1)) for i in range(count + 1)]


def detected_in(image: Array, place: tuple[int, int, int, int]) -> Iterator[Detected]:
    left, top, right, bottom = place
    part = image[top:bottom, left:right]
    side = max(part.shape[:2])
    square = np.zeros((side, side, 3), np.float32)
    square[: part.shape[0], : part.shape[1]] = part
    small = cv2.resize(square, (DETECTOR_SIDE, DETECTOR_SIDE), interpolation=cv2.INTER_AREA)
    boxes, scores = network(DETECTOR)(small * 2 - 1)
    sure = 1 / (1 + np.exp(-scores[0, :, 0].clip(-60, 60)))
    corner = np.array([left, top])
    for i in np.flatnonzero(sure > SURE):
        anchor = (np.array([i % GRID, i // GRID]) + 0.5) / GRID
        at = (boxes[0, i].reshape(-1, 2) / DETECTOR_SIDE + [anchor if pair != 1 else (0, 0) for pair in range(8)]) * side
        middle, size = at[0], at[1]
        box = np.concatenate([middle - size / 2, middle + size / 2])
        yield Detected(float(sure[i]), box + np.tile(corner, 2), at[2:4] + corner)


def overlap(one: Array, other: Array) -> float:
    """Intersection over union, or over the smaller where one holds the other."""
    width, height = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = max(width, 0) * max(height, 0)
    return float(common / min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2])))


def mesh_of(image: Array, face: Detected) -> Array | None:
    """None where the mesh sees no face."""
    right_eye, left_eye = face.eyes
    angle = np.arctan2(*(left_eye - right_eye)[::-1])
    middle, side = (face.box[:2] + face.box[2:]) / 2, MESH_REACH * max(face.box[2:] - face.box[:2])
    along = np.array([np.cos(angle), np.sin(angle)]) * side / MESH_SIDE
    back = np.array([[along[0], -along[1], 0], [along[1], along[0], 0]])  # from the mesh's picture to ours
    back[:, 2] = middle - back[:, :2] @ np.full(2, MESH_SIDE / 2)
    given = cv2.warpAffine(
        image, back, (MESH_SIDE, MESH_SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    points, is_face = network(MESH)(given)
    if 1 / (1 + np.exp(-is_face.ravel()[0])) < IS_FACE:
        return None
    return points.reshape(-1, 3)[:, :2] @ back[:, :2].T + back[:, 2]
