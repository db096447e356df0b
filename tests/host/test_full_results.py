"""Results at the photograph's own size with its own detail, through the API and img2img: nothing cropped, nothing outside the mask touched."""

import base64
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from test_runs import wait_for
from test_script import img2img, pixels  # noqa: F401
from webui import drawn_picture

# 1:1, 3:2, 16:9, 2:3, 3:1, 12:1 and odd sizes.
SIZES = ((400, 400), (300, 200), (320, 180), (200, 300), (450, 150), (960, 80), (301, 203), (97, 255), (641, 57))
WHOLE = dict(width=None, height=None, longest_side=128)


def borders_of(size) -> dict:
    wide = min(size) // 8
    return {
        "top": np.s_[:wide, wide:-wide], "bottom": np.s_[-wide:, wide:-wide],
        "left": np.s_[wide:-wide, :wide], "right": np.s_[wide:-wide, -wide:],
    }  # fmt: skip


def painted(size, colours=((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))) -> Image.Image:
    """A picture with borders of these colours."""
    pixels = np.asarray(drawn_picture(*size)).copy()
    for place, colour in zip(borders_of(size).values(), colours):
        pixels[place] = colour
    return Image.fromarray(pixels)


@pytest.mark.parametrize("result", ("full", "own-size"))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_with_a_black_mask_the_photograph_comes_back_whole(host, size, result):
    picture = painted(size)
    edited = host.edit(image=picture, mask=Image.new("L", size, 0), result=result, **WHOLE)
    assert (edited.pixels[0] == np.asarray(picture)).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_border_of_the_photograph_is_in_the_result(host, size):
    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0))
    pictures = [painted(size, colours[turn:] + colours[:turn]) for turn in (0, 1)]
    # From the picture with next to no noise, so that what a random network leaves of it can be told from what it was not shown.
    one, other = (host.edit(image=picture, result="full", denoising_strength=0, steps=20, **WHOLE) for picture in pictures)
    assert one.images[0].size == size and "Instruct edit result: full" in one.infotexts[0]
    # Whatever a random network makes of a border, it makes something else of one in another colour.
    for name, place in borders_of(size).items():
        difference = abs(one.pixels[0][place] - other.pixels[0][place]).max(-1).mean()
        assert difference > 15, f"{name}: {difference}"


@pytest.mark.parametrize("size", ((300, 200), (960, 80)), ids=str)
def test_the_working_result_is_cropped_unless_the_whole_is_asked_for(host, size):
    picture = painted(size)
    paper = host.edit(image=picture, steps=1, **WHOLE).images[0].size
    whole = host.edit(image=picture, steps=1, crop=False, **WHOLE)
    assert paper[0] % 64 == paper[1] % 64 == 0
    width, height = whole.images[0].size
    assert abs(width / height / (size[0] / size[1]) - 1) < 0.03 and "Instruct edit crop: False" in whole.infotexts[0]


def test_a_cropped_full_result_is_the_middle_of_the_photograph(host):
    picture = drawn_picture(300, 100)
    mask = Image.new("L", picture.size, 0)
    edited = host.edit(image=picture, mask=mask, result="full", crop=True, width=128, height=128)
    assert (edited.pixels[0] == np.asarray(picture.crop((100, 0, 200, 100)))).all()


@pytest.mark.parametrize(
    "fields, said",
    (
        (dict(result="full", own_size=True), "“own_size” is the former name of the result “own-size”, and “full” is asked for"),
        (dict(result="working", own_size=True), "“working” is asked for"),
        (dict(result="own-size", own_size=False), "leave one of them out"),
        (dict(result="huge"), "no result “huge”. Known ones: working, own-size, full"),
        (dict(result="full", detail=1.5), "detail must be a number between 0 and 1"),
        (dict(result="full", detail=True), "detail must be a number between 0 and 1, not True"),
        (dict(result="full", crop="maybe"), "“crop” can't be taken"),
        (dict(result="full", image=Image.new("RGB", (1700, 100))), "beyond 16:1"),
    ),
)
def test_what_can_t_be_given_back_is_a_sentence(host, fields, said):
    assert said in host.refusal(**fields)


def test_the_former_name_still_means_the_enlarged_result(host):
    picture = drawn_picture(150, 90)
    former, named, working = (host.edit(image=picture, **WHOLE, **fields) for fields in (dict(own_size=True), dict(result="own-size"), {}))
    assert former.pixels.shape == (1, 90, 150, 3) and (former.pixels == named.pixels).all()
    assert "Instruct edit result: own-size" in former.infotexts[0]
    unasked = host.edit(image=picture, own_size=False, **WHOLE)
    assert (unasked.pixels == working.pixels).all()


def test_detail_goes_from_the_enlarged_result_to_the_photograph_s_own(host):
    ask = dict(image=drawn_picture(600, 400), denoising_strength=0, steps=20, **WHOLE)
    enlarged = host.edit(result="own-size", **ask).pixels
    none, half, full = (host.edit(result="full", detail=detail, **ask) for detail in (0, 0.5, 1))
    assert (none.pixels == enlarged).all() and "detail: 0.5" in half.infotexts[0]
    away = [abs(one.pixels - enlarged).mean() for one in (half, full)]
    assert 0 < away[0] < away[1]


def test_a_ready_instruction_brings_its_own_detail(host):
    presets = {preset["key"]: preset["detail"] for preset in host.get("/instruct-edit/v1/presets").json()}
    paint, keep = (next(key for key, detail in presets.items() if detail == wanted) for wanted in (0, 1))
    ask = dict(result="full", instruction=None, steps=2)
    assert "Instruct edit detail: 0.0" in host.edit(preset=paint, **ask).infotexts[0]
    assert "Instruct edit detail" not in host.edit(preset=keep, **ask).infotexts[0]
    assert "Instruct edit detail: 0.25" in host.edit(preset=paint, detail=0.25, **ask).infotexts[0]


def test_results_of_a_job_share_one_decode_of_the_photograph(host):
    ask = dict(image=drawn_picture(150, 90), count=2, batch_size=2, steps=1, **WHOLE)
    for result, decodes in (("own-size", 4), ("full", 5)):
        host.probe("clear")
        host.edit(result=result, **ask)
        records = host.probe("records")
        assert (sum(records["decodes"]), records["encodes"]) == (decodes, [1])


def test_a_chain_works_from_full_result_to_full_result(host):
    picture = drawn_picture(150, 90)
    ask = dict(result="full", seed=7, **WHOLE)
    chain = host.edit(image=picture, instruction="make it winter\nadd a hat", **ask)
    first = host.edit(image=picture, **ask)
    second = host.edit(image=first.images[0], instruction="add a hat", **ask)
    assert [image.size for image in chain.images] == [picture.size] * 2
    assert (chain.pixels == np.concatenate([first.pixels, second.pixels])).all()


@pytest.fixture(scope="module")
def large() -> Image.Image:
    """12 megapixels."""
    return drawn_picture(4000, 3000)


def test_an_interrupted_transfer_gives_the_result_enlarged_and_says_so(host, large):
    def is_said() -> bool:
        return "Full size" in (host.get("/sdapi/v1/progress?skip_current_image=true").json()["textinfo"] or "")

    for _ in range(5):  # a second's work: a busy machine may let the moment slip
        with ThreadPoolExecutor() as threads:
            job = threads.submit(host.edit, image=large, result="full", steps=1, width=None, height=None, longest_side=256)
            wait_for(lambda: job.done() or is_said())  # noqa: B023
            assert host.post("/sdapi/v1/interrupt").ok
            result = job.result()
        if result.info["interrupted"]:
            break
    assert result.images[0].size == large.size and result.info["interrupted"] is True
    assert "Instruct edit result: own-size" in result.infotexts[0] and "interrupted: 0 of 1 results" in result.info["comments"]
    assert host.get("/sdapi/v1/progress?skip_current_image=true").json()["textinfo"] is None
    small = dict(image=large.resize((400, 300)), steps=1, **WHOLE)
    assert "Instruct edit result: full" in host.edit(result="full", **small).infotexts[0]


# img2img's Script


def script(result, detail=1.0) -> list:
    return [True, True, 0, 1, 0, 1, result, detail]


@pytest.mark.parametrize("result", ("full", "Full size with detail"))
def test_a_cropped_full_result_of_img2img_is_the_tab_s(host, img2img, result):  # noqa: F811
    ask = dict(image=drawn_picture(300, 200), width=128, height=128)
    answer = img2img(script(result, 0.5), resize_mode=1, image_scale=1.5, **ask)
    ours, theirs = host.edit(result="full", crop=True, detail=0.5, **ask).pixels, pixels(answer)
    assert ours.shape == theirs.shape == (1, 200, 200, 3)
    assert abs(ours - theirs).max() <= 4, "of img2img's picture the host has cut the fractions off before"
    assert "Instruct edit result: full, Instruct edit detail: 0.5" in answer.json()["info"]


@pytest.mark.parametrize("mode", (0, 2, 3))
def test_img2img_brings_a_whole_picture_to_its_own_size(img2img, mode):  # noqa: F811
    one, other = (
        pixels(img2img(script("full"), image=painted((300, 200), colours), width=128, height=128, resize_mode=mode))
        for colours in (((255, 0, 0),) * 4, ((0, 255, 0),) * 4)
    )
    assert one.shape == (1, 200, 300, 3)
    for name, place in borders_of((300, 200)).items():
        assert abs(one[0][place] - other[0][place]).max(-1).mean() > 5, name


def test_img2img_s_results_stay_at_working_size_by_default_and_with_a_mask(host, img2img):  # noqa: F811
    picture = drawn_picture(300, 200)
    assert pixels(img2img((True, True), image=picture)).shape == pixels(img2img(None, image=picture)).shape == (1, 64, 64, 3)
    buffer = io.BytesIO()
    Image.new("L", picture.size, 255).save(buffer, "PNG")
    answer = img2img(script("full"), image=picture, mask=base64.b64encode(buffer.getvalue()).decode(), inpaint_full_res=False)
    assert pixels(answer).shape == (1, 64, 64, 3) and "Instruct edit result" not in answer.json()["info"]


def test_img2img_refuses_a_result_that_there_is_not(img2img):  # noqa: F811
    answer = img2img(script("huge"))
    assert answer.status_code == 422 and "no result “huge”" in answer.json()["detail"]
