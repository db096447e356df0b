"""The AUTOMATIC1111 WebUI half: the only place that imports the host (`modules.*`)."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec


def register():
    """Registers the extension's callbacks; called each time the host loads its scripts. Everything else waits to be called.

    Returns the always-on Script, or None on a host that has no edit models or lacks what the Script needs.
    """
    # With every callback the host reads the source of every frame of the stack: some 50 ms in its start, next to nothing in a thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(register_parts).result()


def register_parts():
    from modules import script_callbacks

    from .parts import FORGE, TAB, Parts, tab_saying

    if find_spec("modules_forge"):
        script_callbacks.on_ui_tabs(lambda: tab_saying(f"<div class='error'>{FORGE}</div>"), name="instruct_edit_tab")
        return None

    works = Parts()
    scripts = []

    def on(event: str, name: str, part: str, callback) -> None:
        """Registers a callback of a part with the host."""
        getattr(script_callbacks, f"on_{event}")(works.guarded(part, callback), name=f"instruct_edit_{name}")

    def checkpoints(part: str) -> None:
        from . import configs

        configs.install()

    def options(part: str) -> None:
        from . import settings

        on("ui_settings", "settings", part, settings.on_ui_settings)

    def axes(part: str) -> None:
        from . import script

        on("before_ui", "axes", part, script.add_axes)

    def send_buttons(part: str) -> None:
        from . import paste

        on("after_component", "send_to", part, paste.SendButtons().on_after_component)

    def former_infotext(part: str) -> None:
        from . import paste

        on("infotext_pasted", "paste", part, paste.on_infotext_pasted)

    def names(part: str) -> None:
        from . import file_names

        on("before_image_saved", "file_names", part, file_names.name_result)

    def api(part: str) -> None:
        from . import api

        on("app_started", "api", part, api.register)

    def regions(part: str) -> None:
        from . import finders

        finders.name_places()

    def img2img(part: str) -> None:
        from .script import InstructEdit

        scripts.append(InstructEdit)

    def tab(faults):
        from .tab import build

        return build(faults)

    works.add("SD 2.x and SDXL edit checkpoints", "configs", checkpoints)
    works.add("the options page", "settings", options)
    works.add("the axes of the X/Y/Z plot", "script", axes)
    works.add("the buttons “Send to”", "paste", send_buttons)
    works.add("pasting from the former extension", "paste", former_infotext)
    works.add("the file name pattern", "file_names", names)
    works.add("regions by name", "finders", regions)
    works.add("the API", "api", api)
    works.add("img2img", "script", img2img)
    works.add(TAB, "tab", lambda part: None)  # built when the page is
    script_callbacks.on_ui_tabs(lambda: works.tabs(tab), name="instruct_edit_tab")
    return scripts[0] if scripts else None
