"""The AUTOMATIC1111 WebUI half: the only place that imports the host (`modules.*`)."""

from importlib.util import find_spec


def register():
    """Registers the extension's callbacks; called each time the host loads its scripts. Everything else waits to be called.

    Returns the always-on Script, or None on a host that has no edit models.
    """
    from modules import script_callbacks

    from . import api, configs, infotext, script, settings, tab

    if find_spec("modules_forge"):
        script_callbacks.on_ui_tabs(tab.on_ui_tabs_of_fork, name="instruct_edit_tab")
        return None
    configs.install()
    script_callbacks.on_ui_settings(settings.on_ui_settings, name="instruct_edit_settings")
    script_callbacks.on_before_ui(script.add_axes, name="instruct_edit_axes")
    script_callbacks.on_after_component(infotext.SendButtons().on_after_component, name="instruct_edit_send_to")
    script_callbacks.on_infotext_pasted(infotext.on_infotext_pasted, name="instruct_edit_paste")
    script_callbacks.on_ui_tabs(tab.on_ui_tabs, name="instruct_edit_tab")
    script_callbacks.on_app_started(api.register, name="instruct_edit_api")
    return script.InstructEdit
