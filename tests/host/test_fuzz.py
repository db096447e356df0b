"""Random requests, the same ones every time. `IP2P_FUZZ=2000 pytest -s tests/host/test_fuzz.py` asks as many and prints what came back."""

import os
import random
import time
from collections import Counter

import numpy as np
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from PIL import Image

from ip2p.presets import shipped
from picture_files import saved
from test_bad_input import EDIT, INFINITY, NAN, base64_of, good, host, sentence, strict_json  # noqa: F401  (fixtures)
from test_hostile import COSTLY
from test_samplers import K_DIFFUSION, SCHEDULES, TIMESTEPS

FUZZ = int(os.environ.get("IP2P_FUZZ", "60"))  # 2000 are the promise


@st.composite
def picture_files(draw) -> tuple[bytes, tuple[int, int]]:
    """A small picture of any mode and format, and its size."""
    mode, formats = draw(
        st.sampled_from((
            ("RGB", ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")), ("L", ("PNG", "JPEG", "GIF", "TIFF")), ("RGBA", ("PNG", "WEBP", "TIFF")),
            ("LA", ("PNG",)), ("P", ("PNG", "GIF")), ("1", ("PNG", "TIFF")), ("I;16", ("PNG", "TIFF")), ("F", ("TIFF",)), ("CMYK", ("JPEG",)),
        ))
    )  # fmt: skip
    size = draw(st.tuples(st.integers(1, 80), st.integers(1, 80)) | st.just((64, 64)))
    noise = random.Random(draw(st.integers(0, 9)))
    picture = Image.frombytes("RGB", size, noise.randbytes(3 * size[0] * size[1]))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L"), dtype=np.uint16) * 257)
    return saved(picture if mode == "I;16" else picture.convert(mode), draw(st.sampled_from(formats))), size


@st.composite
def damaged_files(draw) -> bytes:
    data = bytearray(draw(picture_files())[0])
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


def as_text(data: bytes, as_url: bool) -> str:
    return "data:image/png;base64," * as_url + base64_of(data)


WORDS = (
    "winter", "make it", "a red hat", "AND", "BREAK", "\n", " ", ":", "(", ")", "[", "]", "|", "\\", "{", "}", ":0.5", " :0.7", ":1.2)", ":3]", "::2]",
    ":nan", ":1e999]", ":1.2.3)", " :" + "9" * 310, "<lora:testlora:0.5>", "<lora:testlora:", "<lora:missing:1>", "<", ">", "testembedding",
    "\0", "\ud800", "🎿", "شتاء", "\u2028",
)  # fmt: skip
prompts = st.one_of(
    st.just("make it winter"),
    st.lists(st.sampled_from(WORDS), max_size=12).map("".join),
    st.lists(st.sampled_from(WORDS[:6]), max_size=6).map(" ".join),
    st.text(max_size=40),
)
shares = st.sampled_from((0.0, 0.3, 0.5, 1.0)) | st.floats(0, 1)
WRONG = st.one_of(
    st.sampled_from((None, True, False, NAN, INFINITY, -INFINITY, -1, 0, -2, 2.5, -0.0, 1e-300, 1e9, 10**6, 2**60, 10**400, "", "x", "nan", "\ud800", "\0")),
    st.sampled_from(([], {}, [1], [None], {"a": None}, {"": ""}, ["watercolour"], [[[]]])),
    st.text(max_size=5),
    st.floats(max_value=0.99),
    st.integers(max_value=0),
)  # fmt: skip
VALID = {
    "instruction": prompts,
    "negative_prompt": prompts,
    "text_scale": st.sampled_from((0, 1, 1.5, 7.5)) | st.floats(0, 100),
    "image_scale": st.sampled_from((0, 1, 1.5, 7.5)) | st.floats(0, 100),
    "text_start": shares,
    "text_end": shares,
    "image_start": shares,
    "image_end": shares,
    "randomise_scales": st.booleans(),
    "steps": st.integers(1, 3) | st.integers(1, 8),
    "sampler_name": st.sampled_from(K_DIFFUSION + TIMESTEPS),
    "scheduler": st.sampled_from(SCHEDULES),
    "seed": st.integers(-1, 2**53),
    "count": st.integers(1, 2),
    "batch_size": st.integers(1, 2),
    "width": st.none() | st.integers(64, 128),
    "height": st.none() | st.integers(64, 128),
    "longest_side": st.integers(64, 128),
    "result": st.sampled_from(("working", "own-size", "full")),
    "detail": shares,
    "crop": st.none() | st.booleans(),
    "denoising_strength": shares,
    "heat_map": st.booleans(),
    "styles": st.lists(st.just("watercolour"), max_size=2),
    "preset": st.sampled_from(sorted(shipped())),
}  # fmt: skip
FIELDS = (*VALID, "image", "mask", "choices", "no such field")


# What is small to send and would be dear to answer.
costly = st.one_of(
    st.tuples(st.sampled_from(("image", "mask")), st.sampled_from(sorted(COSTLY)).map(lambda kind: base64_of(COSTLY[kind][0]))),
    st.tuples(st.sampled_from(("preset", "sampler_name", "scheduler", "instruction")), st.integers(150, 50_000).map("a".__mul__)),
    st.tuples(st.just("styles"), st.integers(1, 60_000).map([{}].__mul__)),
    st.tuples(st.just("choices"), st.integers(1, 30_000).map(lambda number: {str(i): i for i in range(number)})),
    st.tuples(st.sampled_from(("instruction", "negative_prompt")), st.sampled_from((" BREAK" * 1600, " AND ".join("a" * 1000), "[" + "a " * 1900 + "|b]", "🎿" * 9000))),
).map(lambda pair: dict([pair]))  # fmt: skip


@st.composite
def requests_to_edit(draw) -> dict:
    """Mostly right, with up to three fields wrong or dear; small and of few steps."""
    data, size = draw(picture_files())
    request = {"image": as_text(data, draw(st.booleans())), "instruction": "make it winter", "longest_side": 64, "steps": 2}
    for name in draw(st.lists(st.sampled_from(sorted(VALID)), min_size=2, max_size=8, unique=True)):
        request[name] = draw(VALID[name])
    if draw(st.integers(0, 4)) == 0:
        request["mask"] = base64_of(saved(Image.new("L", size, draw(st.integers(0, 255))), "PNG"))
    if "preset" in request and draw(st.booleans()):
        preset = shipped()[request["preset"]]
        request["choices"] = {word: draw(st.sampled_from((*preset.choices.get(word, ()), "a thing"))) for word in preset.words}
    wrong = draw(st.sampled_from((0, 1, 1, 2, 3)))
    for name in draw(st.lists(st.sampled_from(FIELDS), min_size=wrong, max_size=wrong, unique=True)):
        if name in ("image", "mask") and draw(st.booleans()):
            request[name] = as_text(draw(damaged_files()), draw(st.booleans()))
        elif draw(st.integers(0, 9)) == 0 and name != "longest_side":
            request.pop(name, None)
        else:
            request[name] = draw(WRONG)
    if draw(st.integers(0, 3)) == 0:
        request.update(draw(costly))
    request.setdefault("steps", 2)
    return request


def test_random_requests_get_an_edit_or_a_sentence(host):  # noqa: F811
    answers, start = Counter(), time.monotonic()

    @settings(
        max_examples=FUZZ, deadline=None, database=None, derandomize=True, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(requests_to_edit())
    def ask(request):
        before = len(host.log)
        answer = host.post(EDIT, request)
        answers[answer.status_code] += 1
        note(f"{answer.status_code}: {answer.text[:500]}\n{host.log[before:][-2000:]}")
        assert "Traceback" not in host.log[before:]
        if answer.status_code == 200:
            assert strict_json(answer.text)["images"]
        else:
            assert sentence(answer, 422)

    try:
        ask()
    finally:
        print(f"{sum(answers.values())} requests in {time.monotonic() - start:.0f} s: {dict(answers)}")
