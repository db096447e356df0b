"""The AUTOMATIC1111 WebUI half: the only place that imports the host (`modules.*`)."""

from importlib.util import find_spec


def register() -> None:
    """Registers the extension's callbacks; called each time the host loads its scripts. Everything else waits to be called."""
    from modules import script_callbacks

    from . import api, configs, tab

    if find_spec("modules_forge"):
        script_callbacks.on_ui_tabs(tab.on_ui_tabs_of_fork, name="instruct_edit_tab")
        return
    configs.install()
    script_callbacks.on_ui_tabs(tab.on_ui_tabs, name="instruct_edit_tab")
    script_callbacks.on_app_started(api.register, name="instruct_edit_api")
