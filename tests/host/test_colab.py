"""colab.ipynb, its cells run in order as Colab runs them; what it clones and downloads lies on this machine."""

import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import types
import urllib.request
from pathlib import Path

import pytest

from ip2p.checkpoints.recognise import sha256
from test_install_host import git, published  # noqa: F401
from webui import REPOSITORY, checkpoints, environment, find_webui, free_port, to_base64

NOTEBOOK = json.loads((REPOSITORY / "colab.ipynb").read_text(encoding="utf8"))
CELLS = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"}
SKIPPED = {"log": "it shows the WebUI's log until a person stops it"}
OFFICIAL = "instruct-pix2pix-00-22000"


def test_at_most_two_cells_are_skipped_and_they_are_there():
    assert len(SKIPPED) <= 2 and SKIPPED.keys() <= CELLS.keys()


def test_the_notebook_is_stored_without_outputs_and_every_cell_has_a_title_and_its_form():
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            assert cell["source"][0].startswith("# @title") and cell["metadata"]["cellView"] == "form"
            compile("".join(cell["source"]), cell["id"], "exec")


def test_the_warning_about_free_runtimes_comes_first():
    first = "".join(NOTEBOOK["cells"][0]["source"])
    assert "free runtimes" in first.splitlines()[0]


def filled_in(code: str, **fields) -> str:
    """A cell with its form filled in."""
    for name, value in fields.items():
        code, found = re.subn(rf"^{name} = .*?( +# ?@param)", lambda match: f"{name} = {value!r}{match[1]}", code, flags=re.MULTILINE)  # noqa: B023
        assert found == 1, name
    return code


@pytest.fixture
def machine(tmp_path, monkeypatch, published, chosen_webui):  # noqa: F811
    """A machine like Colab's as far as the notebook looks: git, uv and cloudflared that find everything here, and no network."""
    download = tmp_path / "download"
    download.mkdir()
    checkpoint = checkpoints(chosen_webui) / "edit.safetensors"
    shutil.copy(checkpoint, download / f"{OFFICIAL}.safetensors")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(download)))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    extension = tmp_path / "published" / "sd-webui-instruct-edit"
    shutil.copytree(published, extension)
    fetch = extension / "ip2p" / "checkpoints" / "fetch.py"
    text = fetch.read_text(encoding="utf8")
    for name, value in (("URL", f"http://127.0.0.1:{server.server_port}/{OFFICIAL}.safetensors"), ("SHA256", sha256(checkpoint))):
        text, found = re.subn(rf"^{name} = .*", f"{name} = {value!r}", text, flags=re.MULTILINE)
        assert found == 1
    fetch.write_text(text, encoding="utf8")
    git("commit", "--quiet", "--all", "--message", "the download is here", cwd=extension)

    (tmp_path / "git").write_text(
        f'[url "{chosen_webui.as_uri()}"]\n  insteadOf = https://github.com/AUTOMATIC1111/stable-diffusion-webui.git\n'
    )
    tools = tmp_path / "tools"
    tools.mkdir()
    linked = f'for last; do :; done\ncase "$1" in venv) mkdir -p "$last" && ln -sfn {chosen_webui}/venv/* "$last"/ ;; esac'
    tunnel = "echo 'Your quick tunnel: https://a-few-words.trycloudflare.com' >&2; exec sleep 600"
    for name, script in (("uv", linked), ("cloudflared", tunnel)):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/asked\n{script}\n')
        (tools / name).chmod(0o755)

    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.update(environment())
    os.environ.update(
        PATH=f"{tools}{os.pathsep}{os.environ['PATH']}",
        GIT_CONFIG_GLOBAL=str(tmp_path / "git"),
        MPLBACKEND="module://matplotlib_inline.backend_inline",  # as Colab sets it; it would end the WebUI
        PIP_NO_INDEX="1",
        https_proxy="http://127.0.0.1:9",
        HTTPS_PROXY="http://127.0.0.1:9",
        no_proxy="127.0.0.1,localhost",
        COMMANDLINE_ARGS="--disable-console-progressbars",
    )
    monkeypatch.chdir(tmp_path)
    drive = types.SimpleNamespace(mount=lambda place: Path(place, "MyDrive").mkdir(parents=True, exist_ok=True))
    for name, module in (("google", types.ModuleType("google")), ("google.colab", types.ModuleType("google.colab"))):
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["google.colab"].drive = drive
    yield types.SimpleNamespace(extension=extension, folder=tmp_path, yaml=checkpoint.with_suffix(".yaml"))
    server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def chosen_webui():
    webui = find_webui()
    if not (webui / ".git").exists():
        pytest.skip("the notebook's test clones the WebUI from the one found, which is no clone itself")
    return webui


def test_the_cells_run_from_top_to_bottom_and_again(machine, photo, capsys):
    port = free_port()
    kernel = {"__name__": "__main__"}
    content = machine.folder / "stable-diffusion-webui"

    def run_all():
        for name, cell in CELLS.items():
            if name in SKIPPED:
                continue
            if name == "settings":
                cell = filled_in(cell, EXTENSION=machine.extension.as_uri(), MODEL="official", DRIVE=True, PORT=port)
            if name == "python":  # the WebUI's other repositories, which its installer would clone
                (content / "repositories").mkdir(exist_ok=True)
                for repository in (find_webui() / "repositories").iterdir():
                    link = content / "repositories" / repository.name
                    link.exists() or link.symlink_to(repository)
            exec(compile(cell, name, "exec"), kernel)
            if name == "settings":
                kernel["ENVIRONMENT"].update(heads())
            if name == "checkpoint":  # a checkpoint as small as this needs its own description beside it
                shutil.copy(machine.yaml, content / "models" / "Stable-diffusion" / f"{OFFICIAL}.yaml")

    try:
        run_all()
        said = capsys.readouterr().out
        assert "Open this link, and there the tab Instruct edit: https://a-few-words.trycloudflare.com" in said
        assert "Gradio's tunnel can't be had" in said
        kept = machine.folder / "drive" / "MyDrive" / "Instruct edit" / "checkpoints"
        assert (kept / f"{OFFICIAL}.safetensors").is_file()
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=content, capture_output=True, text=True).stdout.strip()
        assert head == "82a973c04367123ae98bd9abdf80d9eda9b910e2"
        asked = (machine.folder / "asked").read_text()
        assert "--python 3.10" in asked and "setuptools==69.5.1" in asked and "--no-build-isolation" in asked

        request = {"image": to_base64(photo), "instruction": "make it winter", "steps": 2, "width": 64, "height": 64}
        answer = post(port, "/instruct-edit/v1/edit", request)
        assert len(answer["images"]) == 1

        first = kernel["webui"]
        run_all()
        said = capsys.readouterr().out
        assert "$ git clone" not in said and "$ git fetch" not in said and "uv venv" not in said, "nothing that is done is done again"
        assert first.poll() is not None and kernel["webui"].poll() is None
        assert (machine.folder / "asked").read_text().count("uv pip") == asked.count("uv pip")
    finally:
        for name in ("webui", "tunnel"):
            if (process := kernel.get(name)) is not None and process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def heads() -> dict[str, str]:
    """For the WebUI's installer: the commits of its other repositories are those that are here."""
    places = {
        "ASSETS": "stable-diffusion-webui-assets",
        "STABLE_DIFFUSION": "stable-diffusion-stability-ai",
        "STABLE_DIFFUSION_XL": "generative-models",
        "K_DIFFUSION": "k-diffusion",
        "BLIP": "BLIP",
    }
    return {f"{n}_COMMIT_HASH": git("rev-parse", "HEAD", cwd=find_webui() / "repositories" / place).strip() for n, place in places.items()}


def post(port: int, path: str, fields: dict) -> dict:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(fields).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as answer:
        return json.load(answer)


def test_without_an_address_the_first_cell_says_what_to_fill_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="address of the extension's repository"):
        exec(CELLS["settings"], {})


def test_keeping_results_in_a_drive_that_has_such_folders_loses_nothing(tmp_path):
    kernel = {"DRIVE": False, "filecmp": __import__("filecmp"), "shutil": shutil}
    exec(CELLS["drive"], kernel)

    def fill(folder, files):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

    session, drive = tmp_path / "outputs", tmp_path / "drive" / "results"
    fill(drive, {"img2img-images/2026-01-01/00000-1.png": "earlier", "same.png": "same"})
    fill(session, {"img2img-images/2026-01-01/00000-1.png": "today", "img2img-images/2026-01-02/00001-2.png": "today", "same.png": "same"})
    for _ in range(2):
        kernel["keep"](session, drive)
        assert {path.relative_to(drive).as_posix(): path.read_text() for path in drive.rglob("*") if path.is_file()} == {
            "img2img-images/2026-01-01/00000-1.png": "earlier",
            "img2img-images/2026-01-01/00000-1 (2).png": "today",
            "img2img-images/2026-01-02/00001-2.png": "today",
            "same.png": "same",
        }
        assert session.resolve() == drive.resolve()
