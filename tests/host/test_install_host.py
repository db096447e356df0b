"""The extension in a clean WebUI: installed from a URL, reloaded, updated, deleted; what it costs and what it leaves."""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from webui import HERE, REPOSITORY, WebUI, find_webui, python_of

NAME = "Bilder ändern 1"  # the folder that the person chooses for the extension
UNUSED = ("diffusers", "ray", "av")  # packages of the half that runs without the WebUI
# Writes down that the extension imported it; for everyone else, such as torchvision, it is as absent as it was.
STAND_IN = """
import traceback
if any("ip2p" in frame.filename or "instruct_edit" in frame.filename for frame in traceback.extract_stack()):
    open({!r}, "a").write(__name__)
raise ImportError(__name__)
"""
WRITTEN_BY_THE_HOST = {"config.json", "ui-config.json", "params.txt", "styles.csv"}
RELOADS = 10


def git(*arguments, cwd: Path) -> str:
    identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.com", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *identity, *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A repository to install from: this one as it is now."""
    if not shutil.which("git") or not (REPOSITORY / ".git").exists():
        pytest.skip("installing from a URL needs git and this repository as a clone")
    folder = tmp_path_factory.mktemp("published") / "sd-webui-instruct-edit"
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=REPOSITORY).split("\0"):
        if name and (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    git("init", "--quiet", cwd=folder)
    git("add", "--all", "--force", cwd=folder)
    git("commit", "--quiet", "--message", "first", cwd=folder)
    return folder


def packages(python: Path) -> str:
    done = subprocess.run(
        [python, "-m", "pip", "freeze", "--all", "--disable-pip-version-check"], check=True, capture_output=True, text=True
    )
    return done.stdout


class Clean:
    """A WebUI of one's own without extensions, in a path with spaces and letters beyond ASCII, and restarted as webui.sh does."""

    def __init__(self, folder: Path):
        source, self.folder = find_webui(), folder
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".git", "venv", "repositories", "__pycache__", "tmp", "outputs"))
        for name in ("venv", "repositories"):
            (folder / name).symlink_to(source / name)
        stand_ins = folder.parent / "stand-ins"
        self.imported = folder.parent / "imported.txt"
        for name in UNUSED:
            (stand_ins / name).mkdir(parents=True)
            (stand_ins / name / "__init__.py").write_text(STAND_IN.format(str(self.imported)), encoding="utf8")
        self.environment = {"SD_WEBUI_RESTART": "tmp/restart", "PYTHONPATH": str(stand_ins)}
        for name, repository in (
            ("ASSETS", "stable-diffusion-webui-assets"),
            ("STABLE_DIFFUSION", "stable-diffusion-stability-ai"),
            ("STABLE_DIFFUSION_XL", "generative-models"),
            ("K_DIFFUSION", "k-diffusion"),
            ("BLIP", "BLIP"),
        ):  # what is there is what is wanted: nothing is fetched
            head = git("rev-parse", "HEAD", cwd=source / "repositories" / repository).strip()
            self.environment[f"{name}_COMMIT_HASH"] = head
        self.extension = folder / "extensions" / NAME
        self.files = self.listed()
        self.packages = packages(python_of(folder))
        self.host = None

    def listed(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if ".git" not in path.parts}

    def start(self, *arguments, **options) -> WebUI:
        self.host = WebUI(self.folder, self.folder, *arguments, prepared=True, **options, **self.environment)
        return self.host.wait()

    def stop(self) -> None:
        if self.host:
            self.host.stop()

    def restarts(self, update: str = "[]") -> None:
        """Presses “Apply and restart UI”: the process ends and asks to be started again."""
        with suppress(requests.ConnectionError):  # it ends without an answer
            self.host.press(["[]", update, "none"], value="Apply and restart UI")
        assert self.host.process.wait(30) == 0
        assert (self.folder / "tmp" / "restart").exists()
        (self.folder / "tmp" / "restart").unlink()

    def version_shown(self) -> str:
        return next(t for c in self.host.page()["components"] if "ip2p-version" in (t := str(c["props"].get("value"))))


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    clean = Clean(tmp_path_factory.mktemp("clean") / "Bilder für später" / "stable diffusion webui")
    try:
        yield clean
    finally:
        clean.stop()


@pytest.fixture(scope="module")
def installed(clean, published):
    """Installed through the Extensions tab and restarted. The tests below follow one another in one life of a WebUI."""
    host = clean.start()
    assert "Instruct edit" not in host.get("/config").text
    answer = host.press([NAME, published.as_uri(), ""], value="Install")
    assert f"Installed into {clean.extension}" in answer.json()["data"][2], answer.text
    clean.restarts()
    (clean.folder / "extensions" / "probe").symlink_to(HERE / "probe")
    clean.start()
    return clean


def edit(host, photo):
    return host.edit(image=photo, instruction="make it winter", width=64, height=64, steps=2, seed=7)


def test_install_from_url_and_apply_and_restart_give_a_working_tab(installed, photo):
    assert len(installed.host.components(elem_id="ip2p_generate")) == 1
    assert installed.host.components(elem_id="ip2p_faults")[0]["props"]["value"] == ""
    assert len(edit(installed.host, photo).images) == 1
    assert "Traceback" not in installed.host.log


def test_the_tab_and_the_status_tell_the_version(installed):
    version = installed.host.get("/instruct-edit/v1/status").json()["version"]
    assert f"Instruct edit {version}<" in installed.version_shown()


def test_the_start_costs_little_and_imports_nothing_of_the_other_half(installed):
    """A quarter of a second, and a page of a thousand sliders a tenth, where both have a processor to themselves."""
    ours, sliders = (min(seconds) for seconds in zip(*(installed.host.probe("startup") for _ in range(5))))
    assert ours <= 5 * sliders, (ours, sliders)
    assert not installed.imported.exists()


def test_the_installer_costs_little_beyond_the_import_of_the_webui_s_launcher(installed):
    """It runs at every start, in a process of its own, which the host waits for."""
    env = {**os.environ, "PYTHONPATH": str(installed.folder), "COMMANDLINE_ARGS": "", "PYTHONDONTWRITEBYTECODE": "1"}

    def seconds(*arguments) -> float:
        before = os.times()
        subprocess.run([python_of(installed.folder), *arguments], check=True, env=env)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    ours, launcher = (
        min(seconds(*arguments) for _ in range(3)) for arguments in ((installed.extension / "install.py",), ("-c", "import launch"))
    )
    assert ours <= 1.5 * launcher + 0.05, (ours, launcher)


def test_ten_reloads_leave_one_of_everything(installed, photo):
    host = installed.host
    state = lambda: (  # noqa: E731
        {k: v for k, v in host.probe("registered").items() if k != "imported"},
        sorted(str(c["props"].get("elem_id")) for c in host.page()["components"] if "ip2p" in str(c["props"].get("elem_id"))),
        sorted(path for path in host.get("/openapi.json").json()["paths"]),
    )
    before = state()
    for k in range(RELOADS):
        host.press([], elem_id="settings_restart_gradio")
        deadline = time.monotonic() + 60
        while host.log.count("Startup time") < 2 + k:
            assert time.monotonic() < deadline, host.log[-2000:]
            time.sleep(0.1)
        host.wait()
    assert state() == before
    assert len(edit(host, photo).images) == 1
    assert "Traceback" not in host.log


def test_an_update_from_the_extensions_tab_is_the_version_after_the_restart(installed, published, photo):
    """Started anew with --skip-install and the WebUI's own preparation."""
    source = published / "ip2p" / "__init__.py"
    text = source.read_text(encoding="utf8")
    now = installed.host.get("/instruct-edit/v1/status").json()["version"]
    source.write_text(text.replace(now, "99.0.0"), encoding="utf8")
    git("commit", "--quiet", "--all", "--message", "second", cwd=published)
    kept = installed.extension / "user" / "presets.yaml"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine:\n  name: Mine\n  instruction: make it mine\n", encoding="utf8")

    table = installed.host.press(["", "[]"], value="Check for updates").json()["data"][0]
    assert f'name="update_{NAME}"' in table
    installed.restarts(update=f'["{NAME}"]')
    host = installed.start("--skip-install", prepare=True)
    assert host.get("/instruct-edit/v1/status").json()["version"] == "99.0.0"
    assert "Instruct edit 99.0.0<" in installed.version_shown()
    assert len(edit(host, photo).images) == 1
    assert "mine" in [preset["key"] for preset in host.get("/instruct-edit/v1/presets").json()], "what a person saved stays"


def test_the_hosts_packages_are_the_same_before_and_after(installed):
    assert packages(python_of(installed.folder)) == installed.packages


def test_deleting_the_folder_leaves_nothing_behind(installed):
    installed.stop()
    shutil.rmtree(installed.extension)
    (installed.folder / "extensions" / "probe").unlink()
    host = installed.start()
    assert "Traceback" not in host.log
    assert "ip2p" not in host.get("/config").text and "instruct" not in host.get("/config").text.lower()
    assert not [path for path in host.get("/openapi.json").json()["paths"] if "instruct" in path]
    left = {path for path in installed.listed() - installed.files if "__pycache__" not in path}
    ours = [path for path in left if any(word in path.lower() for word in ("instruct", "ip2p", NAME.lower()))]
    assert ours == []
    new_folders = {Path(path).parts[0] for path in left} - WRITTEN_BY_THE_HOST
    assert new_folders <= {
        "cache",
        "cache.json",
        "config_states",
        "tmp",
        "webui.log",
        "log",
        "outputs",
        "localizations",
        "models",
        "embeddings",
    }
    assert packages(python_of(installed.folder)) == installed.packages
