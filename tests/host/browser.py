"""A real Chromium on the tab "Instruct edit" of a real WebUI."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

try:
    from playwright.sync_api import Page, expect, sync_playwright
except ImportError:
    pytest.skip("browser tests skipped: playwright is not installed", allow_module_level=True)

CACHE = Path(__file__).resolve().parents[2] / ".cache"
PLAYWRIGHTS = CACHE / "chromium"  # `make browser` puts its own first
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the first one has no window to draw
CHROMIUM = next(filter(None, map(shutil.which, (str(PLAYWRIGHTS), *NAMES))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
AXE = Path(os.environ.get("IP2P_AXE", CACHE / "axe" / "node_modules" / "axe-core" / "axe.min.js"))
NO_AXE = "axe-core is not here: make setup fetches it where npm is, or $IP2P_AXE names its axe.min.js"
RESULT = "#ip2p_gallery .preview img, #ip2p_gallery .thumbnail-item img"
WIDE, PHONE = {"width": 1400, "height": 1000}, {"width": 390, "height": 844}
BESIDE = 704  # pixels of a window from which the WebUI sets its two columns beside one another
COLUMNS_ARE = "display => document.querySelector('#tab_ip2p .resize-handle-row').style.display === display"
WAIT = 180_000  # milliseconds: a busy machine is no failure


expect.set_options(timeout=WAIT)

if CHROMIUM is None:
    pytest.skip("browser tests skipped: no Chromium on this machine", allow_module_level=True)


@contextmanager
def chromium_running():
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def expect_choosers(page: Page) -> None:
    """Tells Chromium to hand its dialogs for files to the tests. From the page's beginning: what `expect_file_chooser` alone switches on may
    come after a key that is pressed at once."""
    page.on("filechooser", lambda chooser: None)


def screenshot(tab: Tab, name: str) -> None:
    """Kept where $IP2P_SCREENSHOTS says, to be looked at."""
    if folder := os.environ.get("IP2P_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        tab.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


# What a new page of these tests shows, by control. The others of `NEW` are the tab's own defaults.
SMALL = {"prompt": "make it winter", "longest_side": "64", "steps": "3", "seed": "7"}
NEW = {
    "size_mode": "As the picture",
    **SMALL,
    "neg_prompt": "",
    "text_scale": "7.5",
    "image_scale": "1.5",
    "randomise_scales": False,
    "sampler": "Euler a",
    "scheduler": "Automatic",
    "count": "1",
    "batch_size": "1",
    "speed": "exact",
    "result": "Full size with detail",
    "crop": False,
    "heat_map": False,
    "text_start": "0",
    "text_end": "1",
    "image_start": "0",
    "image_end": "1",
    "denoising_strength": "1",
}
# In one call: the WebUI's page answers each in many milliseconds.
SHOWN = """names => Object.fromEntries(names.map(name => {
    const control = document.getElementById(`ip2p_${name}`), field = control.querySelector('textarea, input');
    const of = {radio: () => control.querySelector('input:checked')?.value, checkbox: () => field.checked};
    return [name, (of[field.type] ?? (() => field.value))()];
}))"""
# What no control takes back, or only with an answer of the WebUI that the next test would have to wait for.
USED = """() => document.querySelector('#ip2p_detail input').value !== '1'
    || document.querySelector('#ip2p_styles .token, #ip2p_picker .label-wrap.open')
    || !document.querySelector('#ip2p_extra_tabs > .tab-nav > button').matches('.selected')"""
RESTORED = "!document.querySelector('#ip2p_history_moves') || document.querySelector('#ip2p_history_moves[aria-busy=false]')"
FORGET = "() => { sessionStorage.clear(); localStorage.removeItem('ip2p_page'); }"
PAINTABLE = """() => {
    const picture = document.querySelector('#ip2p_image [data-testid=image] img');
    if (!picture?.naturalWidth || ip2p_painted_on !== ip2p_shown_picture()) return false;
    const scale = Math.min(IP2P_MASK_SIDE / Math.max(picture.naturalWidth, picture.naturalHeight), 1);
    return ip2p_canvas?.width === Math.max(Math.round(picture.naturalWidth * scale), 1);
}"""
UNPAINT = """() => {
    document.querySelector('#ip2p_mask_accordion .label-wrap.open')?.click();
    document.getElementById('ip2p_clear_mask')?.click();
    ip2p_clear_error();
    ip2p_say_status('');
    Object.assign(document.getElementById('ip2p_erase') ?? {}, {checked: false});
    Object.assign(document.getElementById('ip2p_brush') ?? {}, {value: 12});
}"""


class Tab:
    """The tab as a person meets it: fields by their element id without the prefix ip2p_."""

    def __init__(self, page: Page, url: str, theme: str = "light"):
        self.page, self.url, self.theme = page, url, theme
        self.errors: list[str] = []  # of the page's script
        self.console: list[str] = []  # what the browser says of failures, the network's too
        page.set_default_timeout(WAIT)
        expect_choosers(page)
        page.on("pageerror", lambda error: self.errors.append(str(error.stack)))
        page.on("console", lambda said: self.console.append(said.text) if said.type == "error" else None)
        self.open()

    def open(self) -> Tab:
        self.page.goto(f"{self.url}/?__theme={self.theme}")
        self.page.locator("#tabs > .tab-nav > button", has_text="Instruct edit").click()
        expect(self["generate"]).to_be_visible()
        # The page's script has bound its buttons once the token counter stands above the prompt.
        self.page.wait_for_selector("#ip2p_prompt_row #ip2p_token_counter", state="attached")
        # What a window had before comes back; what a test fills in is no person's input, before which that would stand back.
        self.page.wait_for_function(RESTORED)
        self.page.wait_for_function("document.querySelector('#ip2p_suits textarea').value")  # the answer of what suits the model
        return self

    def open_anew(self) -> Tab:
        """As a window that was not there before, to which nothing comes back."""
        self.page.evaluate(FORGET)
        return self.open()

    def make_ready(self, photo: Path) -> Tab:
        """A new page, small and quick, with a photograph and an instruction in it."""
        self.upload(photo)
        self.photo, self.source = photo, self["image"].locator("img").get_attribute("src")
        self.as_new()
        return self

    def reset(self) -> None:
        """The controls and the picture as `make_ready` left them. Results, history and what stands in other tabs stay."""
        self.resize(WIDE)
        self.page.evaluate(UNPAINT)
        if self.page.evaluate(USED):
            self.open_anew()
        if not self["generate"].is_visible():
            self.page.locator("#tabs > .tab-nav > button", has_text="Instruct edit").click()
            expect(self["generate"]).to_be_visible()
        picture = self["image"].locator("img")
        if not picture.count() or picture.get_attribute("src") != self.source:
            self.upload(self.photo)
            self.source = picture.get_attribute("src")
        self.as_new()
        self.page.evaluate(
            """() => {
                document.querySelectorAll('#tab_ip2p .label-wrap.open').forEach(label => label.click());
                if (selected_gallery_index() > 0) document.querySelector('#ip2p_gallery .thumbnail-item.thumbnail-small').click();
                document.querySelectorAll('#html_log_ip2p .error').forEach(error => error.classList.remove('error'));
            }"""
        )

    def as_new(self) -> None:
        """The controls as `NEW` has them."""
        now = shown(self, NEW)
        for name, value in NEW.items():
            if now[name] != value:
                if not self[name].is_visible():
                    self.open_accordion("schedule")
                self.set(**{name: value})
        wait_for(self, NEW)
        expect(self["longest_side"]).to_be_visible()  # the answer to the size's mode, before which another one is not asked

    def __getitem__(self, name: str):
        return self.page.locator(f"#ip2p_{name}").first  # gr.HTML gives its id to two elements, one in the other

    def resize(self, viewport: dict[str, int]) -> None:
        """Makes the window another size and waits until the WebUI, a tenth of a second later, has set its columns beside or below one another."""
        self.page.set_viewport_size(viewport)
        self.page.wait_for_function(COLUMNS_ARE, arg="flex" if viewport["width"] < BESIDE else "grid")

    def upload(self, file: Path) -> None:
        if self["image"].locator("button[aria-label=Clear]").count():
            self["image"].locator("button[aria-label=Clear]").click()
        self["image"].locator("input[type=file]").set_input_files(file)
        expect(self["image"].locator("img").first).to_be_visible()
        # Else the page would notice only later that the picture is another, which takes an error away, and has another place to paint on.
        self.page.wait_for_function(PAINTABLE)

    def set(self, **controls) -> None:
        """Text, number and slider fields by value, checkboxes by truth, radios and dropdowns by label."""
        for name, value in controls.items():
            control = self[name]
            box = control.locator("textarea, input[type=number]")
            if isinstance(value, bool):
                control.locator("input[type=checkbox]").set_checked(value)
            elif box.count():
                box.first.fill(str(value))
                box.first.blur()
            elif control.locator("input[type=radio]").count():
                control.locator("label", has_text=value).click()
            else:
                field, choice = control.locator("input"), control.locator(f"ul li[aria-label={json.dumps(value)}]")
                field.click()
                field.fill(value)
                deadline = time.monotonic() + WAIT / 1000
                while not choice.count() and time.monotonic() < deadline:  # Gradio filters when the text changes, not when the choices do
                    self.page.wait_for_timeout(100)
                    field.fill("")
                    field.fill(value)
                choice.click()

    def value(self, name: str) -> str:
        return self[name].locator("textarea, input[type=number], input").first.input_value()

    def open_accordion(self, name: str) -> None:
        label = self[name].locator(".label-wrap").first
        if "open" not in label.get_attribute("class").split():
            label.click()

    def generate(self) -> dict:
        """Presses Generate and waits for the end of the job: the host's description of it."""
        self.start()
        return self.finished()

    def start(self) -> None:
        self.forget_job()
        self["generate"].click()

    def forget_job(self) -> None:
        """Before a press: what was said of the job before stays until the answer of the next one, which comes after its bar is gone."""
        self.page.evaluate(
            f"() => {{ {INFO} = ''; document.querySelectorAll('#html_log_ip2p .error').forEach(error => error.dataset.before = 'yes'); }}"
        )

    def finished(self) -> dict:
        error = "document.querySelector('#html_log_ip2p .error:not([data-before])')"
        self.page.wait_for_function(f"({INFO} || {error}) && !document.querySelector('#ip2p_results .progressDiv')")
        info = self.page.evaluate(INFO)
        assert info, f"nothing was made: {self.log}"
        return json.loads(info)

    @property
    def log(self) -> str:
        return self.page.locator("#html_log_ip2p").first.inner_text()

    def pictures(self) -> int:
        return self["gallery"].locator(".thumbnail-item.thumbnail-small").count()

    def pixels(self, selector: str) -> list[int] | None:
        """[width, height, r, g, b, …] of a displayed picture, at 16x16; None: there is none."""
        return self.page.evaluate(
            """async selector => {
                const shown = document.querySelector(selector), img = new Image();
                if (!shown) return null;
                img.src = shown.src;
                await img.decode();
                const canvas = Object.assign(document.createElement('canvas'), {width: 16, height: 16});
                canvas.getContext('2d').drawImage(img, 0, 0, 16, 16);
                return [img.naturalWidth, img.naturalHeight, ...canvas.getContext('2d').getImageData(0, 0, 16, 16).data];
            }""",
            selector,
        )

    def picture(self, selector: str) -> Image.Image:
        """A displayed picture as it was sent."""
        data = self.page.evaluate(
            """async selector => {
                const bytes = new Uint8Array(await (await fetch(document.querySelector(selector).src)).arrayBuffer());
                return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
            }""",
            selector,
        )
        return Image.open(io.BytesIO(base64.b64decode(data)))


INFO = "document.querySelector('#generation_info_ip2p textarea').value"
MASK = "document.querySelector('#ip2p_mask textarea').value"


def drop(tab: Tab, *files: Path) -> None:
    """Drops pictures to be edited one after another, and waits until they are sent: a file on its way has no link."""
    tab["batch_files"].locator("input[type=file]").set_input_files(list(files))
    expect(tab["batch_files"].locator("tr a[href*='file=']")).to_have_count(len(files))


def paint(tab: Tab) -> None:
    """Paints a stroke on the left half of the picture, as where it may be edited."""
    stroke(tab)
    tab.page.wait_for_function(MASK)


def stroke(tab: Tab) -> None:
    tab.open_accordion("mask_accordion")
    canvas = tab["paint"]
    tab.page.wait_for_function("document.getElementById('ip2p_paint').width > 1")
    canvas.scroll_into_view_if_needed()
    shown = tab.page.evaluate(
        """() => {
            const canvas = document.getElementById('ip2p_paint'), box = canvas.getBoundingClientRect();
            const scale = Math.min(box.width / canvas.width, box.height / canvas.height);
            const [width, height] = [canvas.width * scale, canvas.height * scale];
            return [box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height];
        }"""
    )
    x, y, width, height = shown
    tab.page.mouse.move(x + width * 0.2, y + height * 0.5)
    tab.page.mouse.down()
    tab.page.mouse.move(x + width * 0.3, y + height * 0.5, steps=5)
    tab.page.mouse.up()


def shown(tab: Tab, names) -> dict:
    """What the controls show, by name."""
    return tab.page.evaluate(SHOWN, list(names))


def wait_for(tab: Tab, expected: dict, seconds: float = WAIT / 1000) -> None:
    """Until the controls show these values; else the assertion that names the ones that don't."""
    deadline = time.monotonic() + seconds
    while (now := shown(tab, expected)) != expected and time.monotonic() < deadline:
        tab.page.wait_for_timeout(100)
    assert now == expected
