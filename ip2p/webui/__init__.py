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

    from . import parts

    if find_spec("modules_forge"):
        script_callbacks.on_ui_tabs(lambda: parts.tab_saying(f"<div class='error'>{parts.FORGE}</div>"), name="instruct_edit_tab")
        return None

    works = parts.Parts()

    def at(part: str, module: str, event: str, name: str, of):
        """Adds a part that is one callback. of: gives the callback of the part's module."""
        works.add(part, module, lambda m: getattr(script_callbacks, event)(works.guarded(part, of(m)), name=f"instruct_edit_{name}"))

    works.add("SD 2.x and SDXL edit checkpoints", "configs", lambda m: m.install())
    at("the options page", "settings", "on_ui_settings", "settings", lambda m: m.on_ui_settings)
    at("the axes of the X/Y/Z plot", "script", "on_before_ui", "axes", lambda m: m.add_axes)
    at("the buttons “Send to”", "paste", "on_after_component", "send_to", lambda m: m.SendButtons().on_after_component)
    at("pasting from the former extension", "paste", "on_infotext_pasted", "paste", lambda m: m.on_infotext_pasted)
    at("the API", "api", "on_app_started", "api", lambda m: m.register)
    found = []
    works.add("img2img", "script", lambda m: found.append(m.InstructEdit))
    works.add("the tab", "tab", lambda m: None)
    script_callbacks.on_ui_tabs(works.on_ui_tabs, name="instruct_edit_tab")
    return found[0] if found else None
