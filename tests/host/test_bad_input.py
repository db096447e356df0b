"""Whatever is asked: a sentence or an edit, no traceback in the log, and the host goes on as before."""

import base64
import json
import time

import numpy as np
import pytest
from PIL import Image

from picture_files import black_png, saved
from webui import WebUI, drawn_picture, find_webui, to_base64

NAN, INFINITY = float("nan"), float("inf")
EDIT = "/instruct-edit/v1/edit"
PICTURE = drawn_picture(64, 64)
PHOTO = to_base64(PICTURE)


@pytest.fixture(scope="module")
def good(running_webui):
    """Pixels of the edit that is asked for after everything else."""
    running_webui.probe("clear")  # the last test of another file may have left a switch on
    return running_webui.edit().pixels


@pytest.fixture
def host(host, good):
    """The running WebUI. At the end it has logged no traceback and answers a good edit as before."""
    before = len(host.log)
    yield host
    assert "Traceback" not in host.log[before:], host.log[before:]
    assert (host.edit().pixels == good).all()
    assert host.get("/instruct-edit/v1/status").json()["busy"] is False


@pytest.fixture
def growth(host):
    """The most memory that the host held since the last call, in bytes above what it held then."""
    host.probe("peak")
    start = host.probe("peak")
    return lambda: host.probe("peak") - start


def sentence(answer, status: int = 422) -> str:
    """The sentence with which a request is refused."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:2000]}"
    detail = strict_json(answer.text)["detail"]
    assert isinstance(detail, str) and detail
    return detail


def strict_json(text: str):
    """JSON without the NaN and Infinity that only Python reads."""

    def refuse(constant):
        raise AssertionError(f"{constant} in the answer")

    return json.loads(text, parse_constant=refuse)


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


# Pictures


CUT = {"PNG": saved(PICTURE, "PNG")[:200], "JPEG": saved(PICTURE, "JPEG")[:700]}


@pytest.mark.parametrize(
    "image, said",
    (
        (None, "“image” is missing"),
        ("", "There is no picture"),
        (base64_of(CUT["PNG"]), "damaged or not a picture"),
        (base64_of(CUT["JPEG"]), "damaged or not a picture"),
        (base64_of(b"%PDF-1.7 and so on"), "damaged or not a picture"),
        ("this is no base64!", "not valid base64"),
        ("half", "damaged or not a picture"),
        ("data:image/png;base64", "damaged or not a picture"),
        ("data:image/png;base64,", "damaged or not a picture"),
        ("/etc/passwd", "not valid base64"),
        ("https://example.org/a.png", "not valid base64"),
        (5, "not valid base64"),
        ([to_base64(PICTURE)], "“image” can't be taken"),
    ),
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_picture_is_a_sentence(host, image, said):
    assert said in host.refusal(image=image)


def test_a_mask_that_is_no_picture_is_called_a_mask(host):
    assert "The mask is not valid base64" in host.refusal(mask="no mask!")
    assert "The mask can't be read" in host.refusal(mask=base64_of(CUT["PNG"]))
    assert "The mask is 13000x13000" in host.refusal(mask=base64_of(black_png(13_000)))
    assert "64x65 but the picture is 64x64" in host.refusal(mask=Image.new("L", (64, 65)))


@pytest.mark.parametrize("painted", ["", None, to_base64(Image.new("RGBA", (9, 9)))])
def test_nothing_painted_is_no_mask(host, painted):
    inputs = {"ip2p_image": PHOTO, "ip2p_prompt": "make it winter", "ip2p_steps": 2, "ip2p_longest_side": 64, "ip2p_mask": painted}
    answer = host.press(inputs, elem_id="ip2p_generate")
    assert answer.ok, answer.text
    _, info, _, log = answer.json()["data"]
    assert info and "mask" not in json.loads(info)["infotexts"][0], log


@pytest.mark.parametrize("size", ((1, 1), (1, 64), (64, 1)))
def test_the_smallest_picture_is_edited(host, size):
    picture = Image.new("RGB", size, "orange")
    assert host.edit(image=picture).images[0].size == (64, 64)
    whole = dict(image=picture, width=None, height=None, longest_side=64, result="full")
    if max(size) > 16 * min(size):
        assert "beyond 16:1" in host.refusal(**whole)
    else:
        assert host.edit(**whole).images[0].size == size


@pytest.mark.parametrize("size", ((1, 65), (300, 1)))
def test_a_strip_is_refused(host, size):
    assert "at most 64 times the shorter one" in host.refusal(image=Image.new("RGB", size, "orange"))


@pytest.mark.parametrize("side", (30_000, 13_000))
def test_a_decompression_bomb_is_refused_before_it_is_decoded(host, growth, side):
    bomb = base64_of(black_png(side))
    growth()
    start = time.monotonic()
    assert "64 megapixels" in host.refusal(image=bomb)
    assert time.monotonic() - start < 2
    assert growth() < 50e6


# Bodies


def megabytes(number: int):
    yield b'{"instruction": "make it winter", "image": "'
    for _ in range(number):
        yield b"A" * 10**6
    yield b'"}'


@pytest.mark.parametrize("length", (True, False), ids=("its length told", "in chunks"))
def test_a_body_without_end_is_refused_and_not_kept(host, growth, length):
    body = b"".join(megabytes(450)) if length else megabytes(450)
    answer = host.request("POST", EDIT, data=body, headers={"Content-Type": "application/json"})
    assert "450 MB; 400 are allowed" in sentence(answer, 413)
    assert growth() < 700e6, "no JSON was made of it"


def test_two_hundred_megabytes_of_base64_are_a_sentence(host):
    answer = host.request("POST", EDIT, data=megabytes(200), headers={"Content-Type": "application/json"})
    assert "damaged or not a picture" in sentence(answer)


@pytest.mark.parametrize("field", ("image", "no such field"))
def test_what_was_sent_with_a_refused_request_is_forgotten(host, field):
    host.refusal(**{field: "A" * 20_000_000})
    before = host.probe("memory")
    for _ in range(8):
        host.refusal(**{field: "A" * 20_000_000})
    assert host.probe("memory") < before + 80e6, "of the last one or two is left what the allocator keeps"


@pytest.mark.parametrize(
    "body, kind, said",
    (
        (b"", "application/json", "no JSON object"),
        (b"{", "application/json", "no JSON object"),
        (b'"image"', "application/json", "no JSON object"),
        (b"NaN", "application/json", "no JSON object"),
        (b"\xff\xfe", "application/json", "no JSON object"),
        (b"[]", "application/json", "“image” is missing"),
        (b'{"image": "a"}', "text/plain", "no JSON object"),
        (b"image=a", "application/x-www-form-urlencoded", "no JSON object"),
        (b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\na\r\n--x--\r\n', "multipart/form-data; boundary=x", "no JSON object"),
    ),
    ids=str,
)
def test_what_is_no_json_object_is_a_sentence(host, body, kind, said):
    assert said in sentence(host.request("POST", EDIT, data=body, headers={"Content-Type": kind}))


@pytest.mark.parametrize("body", (b"[" * 40_000, b'{"steps": ' + b"9" * 5000 + b"}"), ids=("deep", "long number"))
def test_json_that_python_can_t_read_is_a_sentence(host, body):
    assert sentence(host.request("POST", EDIT, data=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("method", ("GET", "PUT", "DELETE"))
def test_another_method_is_refused(host, method):
    assert sentence(host.request(method, EDIT), 405)


def test_other_routes_of_the_host_keep_their_list_of_faults(host):
    answer = host.post("/sdapi/v1/img2img", {"steps": "many"})
    assert answer.status_code == 422 and isinstance(answer.json()["detail"], list)


# Fields


@pytest.mark.parametrize(
    "fields, said",
    (
        *(
            (dict(text_scale=value), "text scale must be a number between 0 and 100")
            for value in (NAN, INFINITY, -1, 1e9, 10**400, "nan", True)
        ),
        *((dict(image_scale=value), "image scale must be a number between 0 and 100") for value in (NAN, -INFINITY, -0.1, 1e9, "much")),
        *((dict(steps=value), "steps must be a whole number between 1 and 200") for value in (0, -1, 201, 2.5, "many", NAN, True, 10**400)),
        *((dict(count=value), "count must be a whole number between 1 and 64") for value in (0, -1, 65, INFINITY)),
        *((dict(batch_size=value), "batch size must be a whole number between 1 and 16") for value in (0, -1, 17, 1.5)),
        *((dict(width=value), "width must be a whole number between 64 and 4096") for value in (63, 4097, "x", -64, NAN)),
        *((dict(longest_side=value), "longest side must be a whole number between 64 and 4096") for value in (63, 4097)),
        *((dict(seed=value), "seed must be a whole number between -1 and") for value in (-2, 2**60, 0.5, NAN)),
        *((dict(denoising_strength=value), "denoising strength must be a number between 0 and 1") for value in (-0.1, 1.1, NAN)),
        *((dict(text_end=value), "text end must be a number between 0 and 1") for value in (-0.1, 1.1, NAN)),
        (dict(text_start=0.8, text_end=0.2), "schedule is wrong"),
        *((dict(instruction=value), "instruction is empty") for value in ("", " \n\t", "\n\n")),
        (dict(sampler_name="Eulerr"), "no sampler “Eulerr”. Known ones: DPM++ 2M"),
        (dict(sampler_name="e" * 200), "no sampler “eee"),
        (dict(sampler_name="e" * 201), "sampler name is 201 characters long; 200 are allowed"),
        (dict(sampler_name=10**400), "sampler name is 401 characters long"),
        (dict(scheduler="Karas"), "no schedule type “Karas”. Known ones: Automatic"),
        (dict(styles=["watercolor"]), "no style “watercolor”. Known ones: watercolour"),
        (dict(styles="watercolour"), "“styles” can't be taken"),
        (dict(preset="change-weatherx"), "no preset “change-weatherx”. Near ones: change-weather"),
        (dict(choices={"season": "winter"}), "name one, or leave them out"),
        (dict(preset="change-weather", choices={"\ud800": "a"}), "has no choice"),
        (dict(own_size="maybe"), "“own_size” can't be taken"),
        (dict(text_scal=3), "no field “text_scal”. Known ones: image, instruction"),
        ({"\ud800": 3}, "no field “?”"),
        (dict(sampler_name="DDIM", steps=1), "needs at least 2 steps"),
        (dict(instruction="a line\n" * 65), "at most 64 instructions"),
    ),
    ids=lambda value: repr(value)[:40],
)
def test_a_wrong_field_is_a_sentence_that_names_it(host, fields, said):
    answer = host.ask(**fields)
    assert said in sentence(answer)
    assert len(answer.text) < 2500, "what was sent isn't sent back"


@pytest.mark.parametrize(
    "fields", (dict(steps=3.0), dict(steps="3"), dict(width=None, height=None, longest_side=64), dict(text_scale=0)), ids=str
)
def test_what_can_be_read_is_edited(host, fields):
    assert host.edit(**fields).images


# Prompts


TEXTS = (
    "AND", "AND AND", " AND ", "a :nan", "a:1e999 AND b", "a :0 AND b :0", "a :-3 AND b :3", "(((((", ")]:|", "[a:b:0.5", "[:]", "[|]", "[::0]",
    "[a::-1]", "(:1)", "(a:0)", "(a:-1)", "[[[a]:b:1]|c]", "BREAK BREAK AND BREAK", "a\\", "<lora:missing:1>", "<hypernet:missing>",
    "<nonsense:x:y>", "\u0000", "\u001b[0m", "\ufffe", "🎿🏔️👩‍👩‍👧", "اجعله شتاء", "\u202eretniw ti ekam", "冬にする", "{a|b}", "%s %(x)s {0} ${a}",
    "[" * 100, "(" * 100 + "a" + ")" * 100, "word " * 1999,
)  # fmt: skip


@pytest.mark.parametrize("side", ("instruction", "negative_prompt"))
@pytest.mark.parametrize("text", TEXTS, ids=lambda value: ascii(value)[:30])
def test_any_text_is_an_instruction(host, side, text):
    pictures = host.edit(**{side: text}).pixels
    assert np.isfinite(pictures).all()


@pytest.mark.parametrize("side", ("instruction", "negative_prompt"))
@pytest.mark.parametrize(
    "text, said",
    (
        ("word " * 10_000, "50000 characters long; 10000 are allowed"),
        ("winter \ud800", "has a broken character at place 8"),
        ("(" * 201, "201 brackets, colons and bars; 200 are allowed"),
        ("(a:1.2.3)", "a number or a bracket in it is wrong"),
        ("(a:.)", "a number or a bracket in it is wrong"),
        ("[a:b:1e999]", "a number or a bracket in it is wrong"),
        ("(a:" + "9" * 400 + ")", "emphasis in the"),
        ("((((a:" + "9" * 300 + "))))", "emphasis in the"),
    ),
    ids=lambda value: ascii(value)[:30],
)
def test_a_text_that_the_host_can_t_read_is_a_sentence(host, side, text, said):
    assert said in sentence(host.ask(**{side: text}))


@pytest.mark.parametrize("text", ("a :" + "9" * 400, "a AND b :-" + "9" * 300, "a :101"), ids=lambda value: value[:15])
def test_a_weight_without_measure_is_a_sentence(host, text):
    assert "weight of a part of the instruction must be between" in host.refusal(instruction=text)


@pytest.mark.parametrize(
    "network",
    (
        "lora:testlora:abc",
        "lora:testlora:nan",
        "lora:testlora:1e999",
        "lora:te=1",
        "lora:testlora:te=x",
        "lora:testlora:1:1:x",
        "hypernet:x:y",
    ),
)
def test_an_extra_network_with_a_weight_that_is_none_is_a_sentence(host, network):
    assert f"“<{network}>” can't be used" in host.refusal(instruction=f"make it winter <{network}>")


# Checkpoints


def test_a_checkpoint_that_does_not_edit_is_a_sentence(host):
    with host.options(sd_model_checkpoint="plain.safetensors"):
        assert "“plain” is not an edit model" in host.refusal()


def test_after_the_checkpoint_was_unloaded_an_edit_is_the_same(host, good):
    assert host.post("/sdapi/v1/unload-checkpoint").ok
    assert (host.edit().pixels == good).all()


def test_without_any_checkpoint_it_is_a_sentence(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    host = WebUI(find_webui(), tmp_path / "data", "--ckpt-dir", str(empty), "--ckpt", str(empty / "none.safetensors"))
    try:
        host.wait()
        start = len(host.log)
        for _ in range(2):
            assert "No checkpoint is loaded" in host.refusal(image=PICTURE, instruction="make it winter")
        status = host.get("/instruct-edit/v1/status").json()
        assert (status["model"], status["is_edit_model"], status["edit_checkpoints"], status["busy"]) == (None, False, [], False)
        assert "Traceback" not in host.log[start:]
    finally:
        host.stop()


# The host's own routes with an edit checkpoint


@pytest.mark.parametrize(
    "fields, said",
    (
        (dict(steps=0), "needs at least 1 steps"),
        (dict(steps=-1), "needs at least 1 steps"),
        (dict(steps=1, sampler_name="DDIM"), "needs at least 2 steps"),
        (dict(cfg_scale=NAN), "must be a finite number"),
        (dict(image_cfg_scale=INFINITY), "must be a finite number"),
        (dict(prompt="(a:1.2.3)"), "a number or a bracket in it is wrong"),
        (dict(prompt="a :" + "9" * 400), "weight of a part of the instruction"),
        (dict(alwayson_scripts={"Instruct edit": {"args": [True, True, 0.8, 0.2]}}), "from a start to a later end"),
    ),
    ids=lambda value: repr(value)[:40],
)
def test_img2img_with_an_edit_checkpoint_is_refused_with_a_sentence(host, fields, said):
    request = dict(
        init_images=[to_base64(PICTURE)], prompt="make it winter", steps=2, width=64, height=64, sampler_name="Euler", denoising_strength=1,
        alwayson_scripts={"Instruct edit": {"args": [True, True]}},
    )  # fmt: skip
    assert said in sentence(host.post("/sdapi/v1/img2img", {**request, **fields}))


def test_txt2img_with_an_edit_checkpoint_is_refused_with_a_sentence(host):
    assert "needs a picture" in sentence(host.post("/sdapi/v1/txt2img", dict(prompt="a house", steps=2, width=64, height=64)))
