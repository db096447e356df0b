"""Runs one after another, at once, interrupted, failing, with other models; starting and ending a WebUI."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ip2p.presets import Preset, folder_of, save_own
from webui import HERE, REPOSITORY, WebUI, find_webui


@pytest.fixture
def slow(host):
    """Every call of the network takes long enough to act meanwhile."""
    host.probe("switch", seconds=0.05)
    return host


@pytest.fixture
def background():
    with ThreadPoolExecutor() as threads:
        yield threads


def wait_for(condition, seconds: float = 120):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return value


def calls(host, least: int) -> int:
    """Calls of the denoiser so far, once they are `least`."""
    return wait_for(lambda: (n := len(host.rows())) >= least and n)


@pytest.mark.parametrize("sampler", ("Euler", "Heun", "DDIM", "UniPC", "DPM adaptive"))
def test_an_interrupt_ends_the_run_within_two_steps_with_what_there_is(slow, background, sampler):
    job = background.submit(slow.edit, sampler_name=sampler, steps=60, count=3)
    calls(slow, 3)
    assert slow.post("/sdapi/v1/interrupt").ok
    seen = len(slow.rows())  # as it is taken
    result = job.result()
    assert len(slow.rows()) <= seen + 2
    assert len(result.images) == len(result.infotexts) == 1
    left = slow.probe("denoiser")
    assert not left["class"].startswith("Edit") and "ip2p" not in left["attributes"]
    slow.probe("clear")
    slow.edit()
    assert len(slow.rows()) == 4, "the next run is whole"


def test_a_skip_goes_on_with_the_next_picture(slow, background):
    job = background.submit(slow.edit, steps=40, count=2)
    calls(slow, 3)
    assert slow.post("/sdapi/v1/skip").ok
    seen = len(slow.rows())  # as it is taken
    result = job.result()
    assert len(result.images) == 2
    assert 3 + 40 <= len(slow.rows()) <= seen + 2 + 40
    slow.probe("clear")
    assert abs(slow.edit(steps=40, seed=8).pixels[0] - result.pixels[1]).max() == 0


def test_a_run_shows_its_progress_and_its_preview(slow, background):
    with slow.options(show_progress_every_n_steps=1, show_progress_type="Full"):
        job = background.submit(slow.edit, steps=100)
        calls(slow, 5)
        status = slow.get("/instruct-edit/v1/status").json()
        progress = wait_for(lambda: (p := slow.get("/sdapi/v1/progress").json())["current_image"] and p)
        job.result()
    assert status["busy"] and 0 < status["progress"] < 1
    assert 0 < progress["progress"] < 1 and progress["state"]["sampling_steps"] == 100
    after = slow.get("/instruct-edit/v1/status").json()
    assert not after["busy"] and after["progress"] == 0


def test_requests_at_once_are_all_answered_with_their_own_pictures(host, background):
    requests = [
        dict(instruction="make it winter", seed=1, sampler_name="Euler"),
        dict(instruction="a red hat", seed=2, sampler_name="DDIM"),
        dict(instruction="at night", seed=3, sampler_name="Heun"),
    ]
    alone = [host.edit(**request).pixels for request in requests]
    jobs = [background.submit(host.edit, **request) for request in requests]
    for job, pixels in zip(jobs, alone):
        assert (job.result().pixels == pixels).all()


@pytest.mark.parametrize("sampler", ("Euler", "DDIM"))
def test_another_checkpoint_edits_by_its_own_network_and_gives_way_again(host, deviation, sampler):
    own = host.edit(sampler_name=sampler).pixels
    for checkpoint in ("other-edit", "v-edit"):
        with host.options(sd_model_checkpoint=checkpoint):
            assert host.get("/instruct-edit/v1/status").json()["model"].startswith(checkpoint)
            assert deviation(sampler_name=sampler) <= 1e-4
            assert (host.edit(sampler_name=sampler).pixels != own).any()
    assert (host.edit(sampler_name=sampler).pixels == own).all()


def test_fifty_edits_leave_no_memory_behind(host):
    resident = []
    for k in range(50):
        host.edit(seed=k, instruction=f"make it winter {k}", sampler_name=("Euler", "DDIM")[k % 2], heat_map=True)
        resident.append(host.probe("memory"))
    assert resident[-1] <= resident[9] + 20e6


def test_the_routes_are_in_the_host_s_own_documentation(host):
    paths = host.get("/openapi.json").json()["paths"]
    assert "post" in paths["/instruct-edit/v1/edit"]
    assert "get" in paths["/instruct-edit/v1/status"]
    request = host.get("/openapi.json").json()["components"]["schemas"]["EditRequest"]
    assert request["required"] == ["image"]  # a preset brings the instruction
    assert all("default" not in request["properties"][name] for name in ("text_scale", "image_scale", "steps")), "the model's own"


def test_the_apis_reference_says_what_the_routes_say(host):
    sys.path.insert(0, str(REPOSITORY / "docs"))
    from reference import api_reference

    written = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf8")
    assert written == api_reference(host.get("/openapi.json").json()), "run make docs URL=http://127.0.0.1:7860 with a WebUI at --api"


def test_behind_api_auth_and_without_a_page_the_routes_ask_for_the_credentials(tmp_path, photo):
    host = WebUI(find_webui(), tmp_path / "data", "--nowebui", "--api-auth", "someone:secret,other:secret2")
    try:
        host.wait()
        fields = dict(image=photo, instruction="make it winter", steps=1, width=64, height=64)
        for auth in (None, ("someone", "secret2"), ("nobody", "secret")):
            host.auth = auth
            assert host.get("/instruct-edit/v1/status").status_code == 401
            assert host.ask(**fields).status_code == 401
            assert host.get("/sdapi/v1/options").status_code == 401
        for auth in (("someone", "secret"), ("other", "secret2")):
            host.auth = auth
            assert len(host.edit(**fields).images) == 1
            assert host.get("/instruct-edit/v1/status").json()["is_edit_model"] is True
        kept = tmp_path / "data" / "extensions" / "sd-webui-instruct-edit" / "user"
        save_own(folder_of(kept, "someone"), Preset("Mine", "make it round"))
        save_own(kept, Preset("The machine's", "make it square"))
        for name, password, own in (("someone", "secret", ["mine"]), ("other", "secret2", [])):
            host.auth = name, password
            assert [preset["key"] for preset in host.get("/instruct-edit/v1/presets").json() if preset["own"]] == own
            answer = host.ask(preset="mine", **{name: value for name, value in fields.items() if name != "instruction"})
            assert answer.status_code == (200 if own else 422)
    finally:
        host.stop()
    wait_for(lambda: not processes_of(tmp_path))


def processes_of(folder: Path) -> list[int]:
    """Processes with this folder in their command line; a dead one has none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in (process / "cmdline").read_text(errors="replace"):
                found.append(int(process.name))
        except OSError:  # ended meanwhile
            pass
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_a_killed_test_run_leaves_no_webui_behind(tmp_path):
    program = "import sys, time; from pathlib import Path; from webui import *; WebUI(find_webui(), Path(sys.argv[1])); time.sleep(600)"
    run = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "data")], cwd=HERE)
    try:
        wait_for(lambda: len(processes_of(tmp_path)) == 3, 60)  # the run, the leash, the WebUI
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    wait_for(lambda: not processes_of(tmp_path))
