"""A real WebUI on the CPU, in a throw-away folder, spoken to over HTTP."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests
import torch
from filelock import FileLock
from PIL import Image
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
START_SECONDS = 600

CHECKPOINTS = {
    "edit": [],
    "other-edit": ["--seed", "1"],
    "v-edit": ["--seed", "2", "--parameterization", "v"],
    "plain": ["--in-channels", "4", "--seed", "3"],
    "sdxl-edit": ["--sdxl", "--seed", "4"],
}
TEXT_WIDTH = 64  # of the networks that make_checkpoint.py builds


def find_webui() -> Path | None:
    """$SD_WEBUI_DIR; the WebUI this repository is installed in; ~/stable-diffusion-webui."""
    named = os.environ.get("SD_WEBUI_DIR")
    places = [Path(named)] if named else [REPOSITORY.parents[1], Path("~/stable-diffusion-webui").expanduser()]
    return next((place.resolve() for place in places if (place / "launch.py").is_file() and python_of(place)), None)


def python_of(webui: Path) -> Path | None:
    """The Python of the WebUI's own environment."""
    places = (webui / "venv" / "bin" / "python", webui / "venv" / "Scripts" / "python.exe")
    return next((place for place in places if place.exists()), None)


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "COMMANDLINE_ARGS": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # the WebUI's folder and this one stay as they are
        "PYTHONUNBUFFERED": "1",
    }


def checkpoints(webui: Path) -> Path:
    """Folder of the small random checkpoints, built when make_checkpoint.py has changed."""
    maker = HERE / "make_checkpoint.py"
    cache = REPOSITORY / ".cache" / "host-tests"
    # A checkpoint's configuration names its folder, so a moved repository builds them again.
    state = [maker.read_text(encoding="utf8"), str(webui), str(cache), json.dumps(CHECKPOINTS)]
    folder = cache / hashlib.sha256("\n".join(state).encode()).hexdigest()[:12]
    complete = folder / "complete"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):  # another process of the tests may be building them
        if not complete.exists():
            makers = [
                subprocess.Popen(
                    [python_of(webui), maker, webui, folder / f"{name}.safetensors", *options], env=environment(), stdout=subprocess.DEVNULL
                )
                for name, options in CHECKPOINTS.items()
            ]
            failed = [process.args for process in makers if process.wait()]
            if failed:
                raise RuntimeError(f"checkpoints could not be built: {failed}")
            complete.touch()
    return folder


def make_data_folder(folder: Path, neighbours: tuple[Path, ...] = ()) -> None:
    """What a person's own folder holds: this extension, the tests' probe and other extensions, a LoRA, an embedding, styles."""
    (folder / "extensions").mkdir(parents=True)
    own = folder / "extensions" / "sd-webui-instruct-edit"
    own.mkdir()  # a folder of its own, since that is where the extension keeps what a person leaves
    for name in ("ip2p", "scripts", "javascript", "style.css", "install.py"):
        (own / name).symlink_to(REPOSITORY / name)
    for extension in (HERE / "probe", *neighbours):
        (folder / "extensions" / extension.name).symlink_to(extension, target_is_directory=True)

    (folder / "models" / "Lora").mkdir(parents=True)
    random = torch.Generator().manual_seed(0)
    lora = {}
    for layer, width in (
        ("lora_te_text_model_encoder_layers_0_self_attn_q_proj", TEXT_WIDTH),
        ("diffusion_model_middle_block_1_proj_in", 64),
    ):
        shape = (1, 1) if "proj_in" in layer else ()
        lora[f"{layer}.lora_down.weight"] = torch.randn(4, width, *shape, generator=random)
        lora[f"{layer}.lora_up.weight"] = torch.randn(width, 4, *shape, generator=random) * 0.1
        lora[f"{layer}.alpha"] = torch.tensor(4.0)
    save_file(lora, folder / "models" / "Lora" / "testlora.safetensors")

    (folder / "embeddings").mkdir()
    save_file({"emb_params": torch.randn(2, TEXT_WIDTH, generator=random)}, folder / "embeddings" / "testembedding.safetensors")
    (folder / "styles.csv").write_text(
        "name,prompt,negative_prompt\nwatercolour,as a watercolour of {prompt},photograph\n", encoding="utf8"
    )


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@dataclass
class Result:
    """The answer to an edit."""

    images: list[Image.Image]
    infotexts: list[str]
    seeds: list[int]
    heat_maps: list[Image.Image | None]
    info: dict

    @property
    def pixels(self) -> np.ndarray:
        """(pictures, h, w, 3) in [0, 255]."""
        return np.stack([np.asarray(image, dtype=np.int16) for image in self.images])


def drawn_picture(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x // 8 + y // 8) % 2 * 200], -1).astype(np.uint8))


def to_base64(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def to_array(given: dict) -> np.ndarray:
    """A tensor as the probe sends it."""
    return np.frombuffer(base64.b64decode(given["data"]), dtype=np.float32).reshape(given["shape"])


class WebUI:
    """One running WebUI. `defaults`: fields of every edit that a test doesn't name; neighbours: folders of other extensions.

    prepared: the data folder is there already, and is started with as it is. prepare: run the WebUI's own preparation too.
    """

    def __init__(
        self,
        webui: Path,
        folder: Path,
        *arguments: str,
        path: str = "",
        auth: tuple[str, str] | None = None,
        neighbours: tuple[Path, ...] = (),
        prepared: bool = False,
        prepare: bool = False,
        **more_environment: str,
    ):
        self.webui, self.folder, self.auth = webui, folder, auth
        self.log_file = folder / "webui.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{path}"
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy stands between a test and its own machine
        self.defaults: dict = {}
        models = checkpoints(find_webui())
        if not prepared:
            make_data_folder(folder, neighbours)
        command = [
            python_of(webui), "launch.py", *([] if prepare else ["--skip-prepare-environment"]), "--skip-torch-cuda-test", "--no-half", "--precision", "full",
            "--use-cpu", "all", "--api", "--no-download-sd-model", "--disable-console-progressbars", "--data-dir", folder,
            "--ckpt-dir", models, "--ckpt", models / "edit.safetensors", "--port", str(self.port), *arguments,
        ]  # fmt: skip
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "leash.py", *map(str, command)],
                cwd=webui, env=environment() | more_environment, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf8", errors="replace")

    def wait(self) -> WebUI:
        """Until it serves. A request before its middleware is set up would kill the start, so its log is read first."""
        deadline = time.monotonic() + START_SECONDS
        while "Startup time" not in self.log:
            self._still_starting(deadline)
        while True:
            try:
                if self.get("/openapi.json").ok:
                    return self
            except requests.ConnectionError:
                pass
            self._still_starting(deadline)

    def _still_starting(self, deadline: float) -> None:
        if self.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the WebUI did not start:\n{self.log[-4000:]}")
        time.sleep(0.1)

    def stop(self) -> None:
        self.process.stdin.close()  # lets go of the leash
        self.process.wait()

    def request(self, method: str, path: str, **arguments) -> requests.Response:
        return self.session.request(method, self.url + path, auth=self.auth, timeout=300, **arguments)

    def get(self, path: str, **arguments) -> requests.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, fields: dict | None = None) -> requests.Response:
        # Not requests' own `json`, which refuses to send NaN.
        return self.request("POST", path, data=json.dumps(fields or {}), headers={"Content-Type": "application/json"})

    def _fields(self, fields: dict) -> dict:
        """A request as JSON: a picture may be given as a PIL image, and None stands for a field left out."""
        fields = {**self.defaults, **fields}
        return {k: to_base64(v) if isinstance(v, Image.Image) else v for k, v in fields.items() if v is not None}

    def ask(self, **fields) -> requests.Response:
        """The raw answer to an edit."""
        return self.post("/instruct-edit/v1/edit", self._fields(fields))

    def reference(self, **fields) -> dict:
        """Latents of the same request by the probe's plain three-pass edit."""
        return self.probe("reference", **self._fields(fields))

    def edit(self, **fields) -> Result:
        answer = self.ask(**fields)
        assert answer.status_code == 200, answer.text[:2000]
        content = answer.json()
        for name in ("images", "heat_maps"):
            content[name] = [image and Image.open(io.BytesIO(base64.b64decode(image))) for image in content[name]]
        return Result(**content)

    def refusal(self, **fields) -> str:
        """The sentence with which an edit is refused."""
        answer = self.ask(**fields)
        assert answer.status_code == 422, f"{answer.status_code}: {answer.text[:2000]}"
        return answer.json()["detail"]

    def probe(self, what: str, **fields):
        """Asks the probe extension (probe/scripts/probe.py)."""
        answer = self.post(f"/probe/{what}", fields)
        assert answer.status_code == 200, answer.text[:2000]
        return answer.json()

    def rows(self) -> list[int]:
        """Of every call of the denoiser, how many rows the UNet was given."""
        return [sum(call) for call in self.probe("records")["calls"]]

    def page(self) -> dict:
        """What the page is made of: Gradio's description of its components and events."""
        answer = self.get("/config")
        assert answer.ok, answer.text
        return answer.json()

    def components(self, **props) -> list[dict]:
        """Those of the page with these properties."""
        return [c for c in self.page()["components"] if all(c["props"].get(k) == v for k, v in props.items())]

    def press(self, inputs: list | dict, **props) -> requests.Response:
        """Clicks the one button with these properties, as the page does once its own script has given the inputs: all of them, or
        by element id those that differ from the page's first ones."""
        (button,) = self.components(**props)
        page = self.page()
        events = page["dependencies"]
        (index,) = (i for i, e in enumerate(events) if e["targets"] == [button["id"]] and e["trigger"] == "click" and e["backend_fn"])
        if isinstance(inputs, dict):
            fields = {c["id"]: c["props"] for c in page["components"]}
            inputs = [inputs.get(fields[i].get("elem_id"), fields[i].get("value")) for i in events[index]["inputs"]]
        return self.post("/run/predict", {"fn_index": index, "data": inputs, "session_hash": "test"})

    @contextmanager
    def options(self, **options):
        """Within the block the host's settings are these."""
        # The host answers whole numbers as 3.0, and as such its UniPC can't take them back.
        before = self.get("/sdapi/v1/options").json()
        before = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in before.items()}
        self._set(options)
        try:
            yield
        finally:
            self._set({name: before[name] for name in options})

    def _set(self, options: dict) -> None:
        answer = self.post("/sdapi/v1/options", options)
        assert answer.ok, answer.text
