"""What the photograph's detail is kept away from: paintings, and what is new; and what it is not."""

import numpy as np
import pytest
from PIL import Image

from ip2p import detail

cv2 = pytest.importorskip("cv2", reason="the transfer of detail needs OpenCV (pip install -e '.[edit]')")
SIZE = 192, 256  # (h, w) at working size; the photograph is four times as large


def photograph() -> np.ndarray:
    """Soft colours under fine texture, (H, W, 3) in [0, 255]."""
    rng = np.random.default_rng(1)
    soft, texture = (cv2.GaussianBlur(rng.normal(size=(4 * SIZE[0], 4 * SIZE[1], 3)).astype(np.float32), (0, 0), s) for s in (60, 2.5))
    return (128 + 45 * soft / soft.std() + 16 * texture / texture.std()).clip(0, 255).astype(np.float32)


def small(pixels: np.ndarray) -> np.ndarray:
    """At working size, as the loss of an autoencoder leaves it: a little softer."""
    return cv2.GaussianBlur(cv2.resize(pixels, SIZE[::-1], interpolation=cv2.INTER_AREA), (0, 0), 0.6)


def error(image: Image.Image, truth: np.ndarray) -> float:
    return float(np.sqrt(np.square(np.asarray(image, np.float32) - truth).mean()))


def painted(pixels: np.ndarray) -> np.ndarray:
    """In four levels a channel, as posterised."""
    return np.round(cv2.GaussianBlur(pixels, (0, 0), 6) / 85) * 85


def test_a_painting_gets_nothing_of_the_photograph():
    source = photograph()
    image, target = Image.fromarray(source.astype(np.uint8)), painted(source)
    result, decoded = small(target), small(source)
    full, enlarged = (detail.transfer(image, result, decoded, strength) for strength in (1, 0))
    assert error(full, target) <= error(enlarged, target) * 1.02


def glowing(pixels: np.ndarray) -> np.ndarray:
    """Lines of light along the picture's shades, on black, as neon has them along its outlines."""
    lines = np.square(np.sin(cv2.GaussianBlur(pixels, (0, 0), 8).mean(-1) / 8))
    return lines[..., None] * np.float32([60, 230, 255])


def test_lines_that_are_nowhere_the_photograph_s_get_nothing_of_it():
    source = photograph()
    image, target = Image.fromarray(source.astype(np.uint8)), glowing(source)
    result, decoded = small(target), small(source)
    full, enlarged = (np.asarray(detail.transfer(image, result, decoded, strength)) for strength in (1, 0))
    assert np.array_equal(full, enlarged)


def test_one_large_new_thing_does_not_cost_the_rest_its_detail():
    source = photograph()
    target = source * 0.6
    target[:, : source.shape[1] // 2] = glowing(source)[:, : source.shape[1] // 2]
    image = Image.fromarray(source.astype(np.uint8))
    full, enlarged = (detail.transfer(image, small(target), small(source), strength) for strength in (1, 0))
    rest = np.s_[:, 5 * source.shape[1] // 8 :]
    assert error(Image.fromarray(np.asarray(full)[rest]), target[rest]) < 0.5 * error(
        Image.fromarray(np.asarray(enlarged)[rest]), target[rest]
    )


@pytest.mark.parametrize(
    "edit",
    [
        lambda x: x * 0.5,
        lambda x: 255 - x,
        lambda x: 0.4 * x + 150,
        lambda x: x @ np.float32([[0.3] * 3, [0.6] * 3, [0.1] * 3]),
    ],
    ids=["darker", "inverted", "fog", "grey"],
)
def test_what_keeps_the_structure_gets_its_detail(edit):
    source = photograph()
    target = edit(source).clip(0, 255)
    image = Image.fromarray(source.astype(np.uint8))
    full, enlarged = (detail.transfer(image, small(target), small(source), strength) for strength in (1, 0))
    assert error(full, target) < 0.5 * error(enlarged, target)


def test_a_blurred_background_is_no_painting():
    source = photograph()
    target = source.copy()
    target[:, : target.shape[1] // 2] = cv2.GaussianBlur(source, (0, 0), 12)[:, : target.shape[1] // 2]
    image = Image.fromarray(source.astype(np.uint8))
    full, enlarged = (detail.transfer(image, small(target), small(source), strength) for strength in (1, 0))
    sharp = np.s_[:, 5 * target.shape[1] // 8 :]
    assert error(Image.fromarray(np.asarray(full)[sharp]), target[sharp]) < 0.5 * error(
        Image.fromarray(np.asarray(enlarged)[sharp]), target[sharp]
    )


def test_the_photograph_itself_comes_back():
    source = photograph()
    image, decoded = Image.fromarray(source.astype(np.uint8)), small(source)
    assert error(detail.transfer(image, decoded, decoded), np.floor(source)) < 255 * 10 ** (-38 / 20)


def test_what_is_new_stays_as_it_is_enlarged():
    source = photograph()
    decoded = small(source)
    result = decoded.copy()
    result[60:130, 90:170] = decoded[60:130, 90:170][::-1, ::-1, ::-1] * 0.5 + 110 * np.indices((70, 80)).sum(0)[..., None] % 120
    full, enlarged = (np.asarray(detail.transfer(Image.fromarray(source.astype(np.uint8)), result, decoded, s), np.float32) for s in (1, 0))
    new, old = np.s_[280:480, 400:640], np.s_[:, 760:]
    assert np.abs(full - enlarged)[new].mean() < 0.5 * np.abs(full - enlarged)[old].mean()
