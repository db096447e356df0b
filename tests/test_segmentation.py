"""Regions by name: what each provider finds on real photographs, and the sentence where there is none."""

import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("cv2", reason="regions need OpenCV (pip install -e '.[edit]')")

from ip2p.edit import Edit
from ip2p.errors import EditError
from ip2p.segmentation import facexlib_parser, missing, named, regions_named, tflite, u2net
from ip2p.segmentation.parsed_faces import CLOTHES, GLASSES, HAIR, LABELS, LEFT_EYE, NOSE, SKIN, ParsedFaces, mask_of_labels
from ip2p.segmentation.tflite import missing_networks
from ip2p.segmentation.weights import PLACES
from ip2p.where import NAME, NAMES, Where
from portraits import HandMadeParser, by_hand, portrait
from webui_folder import NONE_FOUND, webui_python

ROOT = Path(__file__).resolve().parents[1]
needs_networks = pytest.mark.skipif(bool(missing_networks("")), reason=missing_networks("Finding faces"))
needs_subject = pytest.mark.skipif(u2net.weights() is None, reason=u2net.NEEDS)


def found(image: Image.Image, name: str) -> list:
    return regions_named(Edit(image, "x", region=Where(NAME, name)))


@cache
def of_portrait(name: str) -> np.ndarray:
    (region,) = found(portrait(), name)
    return region.levels()


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


@needs_networks
@pytest.mark.parametrize("name", ("lips", "eyes", "face"))
def test_parts_of_a_face_are_where_a_hand_drew_them(name):
    assert overlap(of_portrait(name), by_hand(name)) >= 0.7


@needs_networks
def test_brows_lie_above_the_eyes_and_a_beard_below_the_nose():
    rows = {name: np.flatnonzero(of_portrait(name).any(1)) for name in ("brows", "eyes", "lips", "beard", "face")}
    assert rows["brows"].mean() < rows["eyes"][0] and rows["beard"][0] > rows["eyes"][-1] + 20
    assert rows["beard"][-1] == pytest.approx(rows["face"][-1], abs=1)
    assert (np.minimum(of_portrait("beard"), of_portrait("lips")) < 0.6).all()


@needs_networks
@needs_subject
def test_the_person_of_a_portrait_is_its_subject():
    assert overlap(of_portrait("person"), of_portrait("subject")) > 0.9
    assert np.allclose(of_portrait("background"), 1 - of_portrait("subject"), atol=0.01)


@needs_networks
def test_several_faces_are_told_apart_from_left_to_right_however_small_they_are():
    """Three faces of 24 to 60 pixels in a picture of 800."""
    picture = Image.new("RGB", (800, 500), (90, 110, 130))
    head = portrait().crop((130, 0, 330, 210))
    places = [(30, 40, 60), (300, 200, 110), (600, 90, 50)]
    for x, y, side in places:
        picture.paste(head.resize((side, side)), (x, y))
    faces = sorted(found(picture, "face"), key=lambda face: face.box)
    assert len(faces) == 3
    for face, (x, y, side) in zip(faces, places):
        left, top, right, bottom = face.box
        assert x < (left + right) / 2 < x + side and y < (top + bottom) / 2 < y + side


@needs_networks
def test_where_there_is_nobody_nothing_is_found():
    assert found(Image.new("RGB", (300, 200), "grey"), "face") == [] == found(Image.new("RGB", (300, 200), "grey"), "person")


@needs_networks
def test_a_region_is_found_at_the_photograph_s_own_size():
    (lips,) = found(portrait().resize((3000, 3000)), "lips")
    assert lips.size == (3000, 3000)
    assert overlap(lips.at((512, 512)).levels(), of_portrait("lips")) > 0.85


@needs_subject
def test_opencv_finds_the_subject_that_onnxruntime_finds(monkeypatch):
    image = np.asarray(portrait().resize((256, 256)), np.float32) / 255
    one = u2net.subject_mask(image)
    monkeypatch.setattr(PLACES, "kept", Path("nowhere"))
    monkeypatch.setattr(PLACES, "others", (u2net.weights().parent,))
    monkeypatch.setattr(u2net, "weights", lambda: None)
    assert np.abs(u2net.subject_mask(image) - one).max() < 1e-3


def test_a_map_of_labels_gives_every_region_that_it_shows(monkeypatch):
    monkeypatch.setattr(named, "PROVIDERS", [ParsedFaces(HandMadeParser())])
    for name in ("hair", "clothes", "lips", "eyes"):
        (region,) = found(portrait(), name)
        assert overlap(region.levels(), by_hand(name)) > 0.8
    (face,), (beard,) = found(portrait(), "face"), found(portrait(), "skin")
    assert overlap(face.levels(), by_hand("face")) > 0.9 and beard.share < face.share


def test_glasses_that_nobody_wears_yet_go_where_they_would_be():
    labels = np.full((20, 20), SKIN)
    labels[5, 3:8], labels[9:12, 9], labels[0] = LEFT_EYE, NOSE, HAIR
    assert np.array_equal(mask_of_labels(labels, "glasses"), labels == LEFT_EYE)
    labels[6, :] = GLASSES
    assert np.array_equal(mask_of_labels(labels, "glasses"), labels == GLASSES)
    assert np.array_equal(np.flatnonzero(mask_of_labels(labels, "beard").any(1)), np.arange(12, 20))
    assert not mask_of_labels(labels, "clothes").any() and CLOTHES in LABELS["clothes"]


def test_what_is_not_installed_is_told_with_its_command_or_another_way(monkeypatch):
    for module in (tflite, u2net, facexlib_parser):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    for name in set(NAMES) - {"sky"}:
        assert "pip install" in missing(name) or "paint the region" in missing(name)
        with pytest.raises(EditError, match=r"needs|paint"):
            found(Image.new("RGB", (64, 64)), name)


def test_facexlib_s_networks_are_filled_from_files_of_tensors_and_of_nothing_else(tmp_path):
    """On the WebUI's Python, with a stand-in for its weights: random tensors in files of their names."""
    python = webui_python()
    if python is None:
        pytest.skip(NONE_FOUND)
    command = [str(python), str(ROOT / "tests" / "facexlib_check.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
