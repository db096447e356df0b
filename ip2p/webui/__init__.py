"""The AUTOMATIC1111 WebUI half: the only place that imports the host (`modules.*`)."""


def register() -> None:
    """Registers the extension's callbacks; called each time the host loads its scripts. Everything else waits to be called."""
    from modules import script_callbacks

    from . import api

    script_callbacks.on_app_started(api.register, name="instruct_edit_api")
