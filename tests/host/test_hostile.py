"""What a stranger sends and asks for: a sentence in a moment, nothing of other people, and everybody else is answered meanwhile."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import requests
from PIL import Image

from ip2p.checkpoints.packaged import SMALL
from picture_files import DISPLAY_P3, jpeg_of_scans, png, rgb_profile, saved
from test_bad_input import PICTURE, base64_of, good, growth, host, sentence  # noqa: F401  (fixtures)
from test_runs import background, wait_for  # noqa: F401  (fixtures)
from webui import WebUI, checkpoints, find_webui, to_base64

STATUS = "/instruct-edit/v1/status"
WINDOW = "a" * 32
TASK = "task(of-a-person)"
MOMENT = 3  # seconds; on a busy machine


def generate(session, url: str, window: str, **settings) -> requests.Response:
    """Presses Generate as a browser window does."""
    page = session.get(f"{url}/config").json()
    props = {c["id"]: c["props"] for c in page["components"]}
    (button,) = (i for i, p in props.items() if p.get("elem_id") == "ip2p_generate")
    (index,) = (i for i, e in enumerate(page["dependencies"]) if e["targets"] == [button] and e["trigger"] == "click")
    values = {"ip2p_image": to_base64(PICTURE), "ip2p_prompt": "make it winter", "ip2p_longest_side": 64, "ip2p_page": window, **settings}
    _, *inputs = page["dependencies"][index]["inputs"]
    data = [TASK, *(values.get(props[i].get("elem_id"), props[i].get("value")) for i in inputs)]
    return session.post(f"{url}/run/predict", json={"fn_index": index, "data": data, "session_hash": "test"})


# Other people's pictures


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A WebUI of others: with a login on its page and another on its API, whose settings stay as they are."""
    models = tmp_path_factory.mktemp("guarded")  # beside its data folder, whose checkpoints would be listed too
    for suffix in (".safetensors", ".yaml"):
        (models / f"edit{suffix}").symlink_to(checkpoints(find_webui()) / f"edit{suffix}")
    arguments = ("--gradio-auth", "someone:secret", "--api-auth", "program:secret", "--freeze-settings", "--hide-ui-dir-config")
    webui = WebUI(
        find_webui(),
        tmp_path_factory.mktemp("guarded-data") / "data",
        *arguments,
        "--ckpt-dir",
        models,
        "--ckpt",
        models / "edit.safetensors",
        auth=("program", "secret"),
    )
    webui.models = models
    webui.person = requests.Session()
    webui.person.trust_env = False
    try:
        webui.wait()
        assert webui.person.post(f"{webui.url}/login", data={"username": "someone", "password": "secret"}).ok
        yield webui
    finally:
        webui.stop()


def test_frozen_settings_keep_the_small_checkpoint_out(guarded):
    page = guarded.person.get(f"{guarded.url}/config").json()
    props = {c["id"]: c["props"] for c in page["components"]}
    (button,) = (i for i, p in props.items() if p.get("elem_id") == "ip2p_install_small")
    index, event = next((i, e) for i, e in enumerate(page["dependencies"]) if e["targets"] == [button] and e["backend_fn"])
    data = [props[i].get("value") for i in event["inputs"]]
    answer = guarded.person.post(f"{guarded.url}/run/predict", json={"fn_index": index, "data": data, "session_hash": "test"})
    assert "--freeze-settings" in answer.json()["data"][0]
    assert not list(guarded.models.glob(f"{SMALL.in_webui}*"))


def test_folders_are_kept_out_of_a_page_that_hides_them(guarded, tmp_path):
    page = guarded.person.get(f"{guarded.url}/config").json()
    props = {c["id"]: c["props"] for c in page["components"]}
    named = {p.get("elem_id"): i for i, p in props.items()}
    folders = [props[named[name]] for name in ("ip2p_batch_input", "ip2p_batch_output")]
    assert not any(field["visible"] for field in folders) and str(guarded.folder) not in str(folders)
    index, event = next((i, e) for i, e in enumerate(page["dependencies"]) if e["targets"] == [named["ip2p_batch_run"]] and e["backend_fn"])
    values = {"ip2p_prompt": "make it winter", "ip2p_styles": []}
    for field in ("ip2p_batch_input", "ip2p_batch_output"):
        data = [{**values, field: str(tmp_path)}.get(props[i].get("elem_id"), props[i].get("value")) for i in event["inputs"]]
        answer = guarded.person.post(f"{guarded.url}/run/predict", json={"fn_index": index, "data": data, "session_hash": "test"})
        assert "--hide-ui-dir-config" in answer.json()["data"][-1]


def test_frozen_settings_lend_no_checkpoint(guarded):
    copy = guarded.models / "another.safetensors"
    copy.symlink_to(checkpoints(find_webui()) / "edit.safetensors")
    assert guarded.post("/sdapi/v1/refresh-checkpoints").ok
    try:
        assert "--freeze-settings" in guarded.refusal(image=to_base64(PICTURE), instruction="make it winter", model="another")
    finally:
        copy.unlink()
        assert guarded.post("/sdapi/v1/refresh-checkpoints").ok


def test_a_checkpoint_that_unpacks_to_gigabytes_costs_the_status_nothing(guarded):
    with ZipFile(guarded.models / "packed.ckpt", "w", ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as file:
        for _ in range(64):
            file.write(bytes(2**24))
    (guarded.models / "marks.ckpt").write_bytes(b"\x80\x02" + b"(" * 31_000_000)
    assert guarded.post("/sdapi/v1/refresh-checkpoints").ok
    guarded.probe("peak")
    before, start = guarded.probe("peak"), time.monotonic()
    found = guarded.get(STATUS).json()["edit_checkpoints"]
    assert time.monotonic() - start < 3 * MOMENT
    assert guarded.probe("peak") - before < 200e6
    assert [title.split()[0] for title in found] == ["edit.safetensors"]


# Small pictures of great cost


def jpeg_2000() -> bytes:
    return saved(Image.new("RGB", (64, 64), "orange"), "JPEG2000")


COSTLY = {
    "a column": (png(1, 64_000_000, b"", 0), "too long and thin"),
    "a strip": (saved(Image.new("1", (20_000, 64)), "PNG"), "over HTTP a side has at most 16384 pixels"),
    "a thread": (saved(Image.new("1", (8000, 64)), "PNG"), "at most 64 times"),
    "JPEG 2000": (jpeg_2000(), "JPEG 2000 file, which is not taken over HTTP"),
    "scans": (jpeg_of_scans(400, (3000, 2000)), "scans"),
}


@pytest.mark.parametrize("kind", COSTLY)
def test_a_costly_picture_is_a_sentence_in_a_moment_and_stops_no_other_answer(host, growth, background, kind):  # noqa: F811
    data, said = COSTLY[kind]
    growth()
    start = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(host.refusal, **{field: base64_of(data)}) for field in ("image", "mask") * 4]
        assert host.get(STATUS).ok
        answered = time.monotonic() - start
        assert all(said in job.result() for job in jobs)
    assert answered < MOMENT and time.monotonic() - start < 8 * MOMENT
    assert growth() < 150e6


@pytest.mark.parametrize("field", ("ip2p_image", "ip2p_mask"))
def test_a_costly_picture_in_the_tab_is_a_sentence(host, field):  # noqa: F811
    costly = base64_of(COSTLY["JPEG 2000"][0])
    answer = generate(host.session, host.url, WINDOW, **{field: costly, "ip2p_steps": 2})
    assert answer.ok, answer.text
    assert "not taken over HTTP" in answer.json()["data"][3]


def test_what_was_converted_is_among_the_comments(host):  # noqa: F811
    wide = saved(PICTURE, "PNG", icc_profile=rgb_profile("Display P3", DISPLAY_P3))
    assert "converted from Display P3 to sRGB" in host.edit(image=base64_of(wide)).info["comments"]
    assert "no white" in host.edit(mask=Image.new("L", PICTURE.size)).info["comments"]
    assert host.edit().info["comments"] == ""


def test_transparency_lies_on_the_host_s_own_colour(host):  # noqa: F811
    clear = Image.new("RGBA", (64, 64), (0, 0, 255, 0))
    with host.options(img2img_background_color="#ff0000"):
        kept = host.edit(image=clear, mask=Image.new("L", (64, 64)), steps=1).pixels
    assert (kept == (255, 0, 0)).all()


# Fields of great cost


@pytest.mark.parametrize(
    "fields, said",
    (
        (dict(preset="a" * 20_000_000), "preset is 20000000 characters long"),
        (dict(sampler_name="a" * 20_000_000), "sampler name is 20000000 characters long"),
        (dict(scheduler="a" * 20_000_000), "scheduler is 20000000 characters long"),
        (dict(styles=[{}] * 1_000_000), "commas and brackets; 50000 are allowed"),
        (dict(styles=[{}] * 20_000), "20000 entries, and 100 are allowed"),
        (dict(styles=["a" * 10_000_000]), "a text of 10000000 characters"),
        (dict(choices={str(i): [] for i in range(300_000)}), "commas and brackets; 50000 are allowed"),
        (dict(preset="change-weather", choices={str(i): "a" for i in range(20_000)}), "20000 entries, and 10 are allowed"),
        (dict(preset="change-weather", choices={"a" * 10_000_000: "a"}), "a text of 10000000 characters"),
        ({f"field {i}": i for i in range(40_000)}, "no field “field 0”"),
        ({f"field {i}": i for i in range(400_000)}, "commas and brackets; 50000 are allowed"),
        (dict(image=" ".join(["AA"] * 10_000_000)), "not a picture"),
    ),
    ids=lambda value: repr(value)[:40],
)
def test_a_costly_field_is_a_sentence_in_a_moment(host, growth, background, fields, said):  # noqa: F811
    body = json.dumps(host._fields(fields)).encode()
    growth()
    start = time.monotonic()
    job = background.submit(host.request, "POST", "/instruct-edit/v1/edit", data=body, headers={"Content-Type": "application/json"})
    assert said in sentence(job.result())
    assert time.monotonic() - start < MOMENT
    assert growth() < 8 * len(body) + 50e6


@pytest.mark.parametrize("text, said", ((" BREAK" * 1600, "120000 tokens"), (" AND ".join("a" * 1000), "1000 parts"), ("[" + "a " * 1900 + "|b]", "changes so often")), ids=("BREAK", "AND", "alternating"))  # fmt: skip
def test_a_text_that_would_hold_the_queue_is_a_sentence_in_a_moment(host, text, said):  # noqa: F811
    start = time.monotonic()
    assert said in host.refusal(instruction=text, steps=60)
    assert time.monotonic() - start < MOMENT


# Results of great cost


def test_results_at_the_picture_s_own_size_are_finished_one_after_another(host, growth):  # noqa: F811
    megapixels = 6
    large = base64_of(saved(Image.new("RGB", (3000, 2000), "orange"), "JPEG"))
    ask = dict(image=large, result="full", width=None, height=None, longest_side=64, steps=1)
    host.edit(**ask)
    peaks = []
    for count in (1, 8):
        growth()
        assert len(host.edit(**ask, batch_size=count).images) == count
        peaks.append(growth())
    assert (peaks[1] - peaks[0]) / 7 < megapixels * 12e6, f"{peaks}: eight bytes a pixel are the picture and its PNG"


def test_more_results_than_memory_should_hold_are_a_sentence(host):  # noqa: F811
    large = base64_of(saved(Image.new("RGB", (8000, 8000), "orange"), "JPEG"))
    assert "16 results of 8000x8000 are too large together: ask for 15" in host.refusal(image=large, result="full", batch_size=16)


def test_memory_that_is_full_is_a_sentence(host):  # noqa: F811
    host.probe("switch", no_memory=True)
    assert "not enough memory" in host.refusal()
    host.probe("clear")


# Interrupted, and pasted


def test_an_interrupted_edit_says_so(host, background):  # noqa: F811
    host.probe("switch", seconds=0.05)
    job = background.submit(host.edit, steps=60, count=3)
    wait_for(lambda: len(host.rows()) >= 3)
    assert host.post("/sdapi/v1/interrupt").ok
    result = job.result()
    assert result.info["interrupted"] is True and "interrupted: 0 of 3 results are finished" in result.info["comments"]
    host.probe("clear")
    assert host.edit().info["interrupted"] is False


@pytest.mark.parametrize("seed", ("12345678901234567890123", "many"))
def test_a_seed_that_no_field_holds_is_left_out_of_a_paste(host, seed):  # noqa: F811
    page = host.page()
    props = {c["id"]: c["props"] for c in page["components"]}
    ids = {p.get("elem_id"): i for i, p in props.items()}
    (index,) = (i for i, e in enumerate(page["dependencies"]) if e["inputs"] == [ids["ip2p_prompt"]] and ids["ip2p_seed"] in e["outputs"])
    infotext = (
        f"make it night\nSteps: 33, Sampler: Euler, CFG scale: 4.5, Image CFG scale: 1.2, Seed: {seed}, Size: 64x64, Instruct edit: 1"
    )
    answer = host.post("/run/predict", {"fn_index": index, "data": [infotext], "session_hash": "test"})
    assert answer.ok, answer.text
    values = dict(zip(page["dependencies"][index]["outputs"], answer.json()["data"]))
    assert values[ids["ip2p_steps"]]["value"] == 33 and values[ids["ip2p_prompt"]]["value"] == "make it night"
    assert "value" not in values[ids["ip2p_seed"]]
