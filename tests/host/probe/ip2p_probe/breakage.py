"""The extension loaded once more beside the one in use: timed, counted, and with parts of the host taken away."""

import gc
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from fastapi import Body, FastAPI
from pydantic.class_validators import _FUNCS

from modules import extensions, infotext_utils, script_callbacks, script_loading, scripts
from modules.call_queue import queue_lock

BYTECODE = tempfile.TemporaryDirectory()


def registered():
    """What of the extension is in the host now."""
    ours = [
        (category, c.name) for category, callbacks in script_callbacks.enumerate_callbacks() for c in callbacks if "instruct_edit" in c.name
    ]
    plot = next(x.module for x in scripts.scripts_data if x.script_class.__module__ == "xyz_grid.py")
    return {
        "callbacks": sorted("/".join(c) for c in ours),
        "scripts": [x.script_class.__name__ for x in scripts.scripts_data if x.script_class.__module__.startswith("ip2p")],
        "axes": [axis.label for axis in plot.axis_options if axis.label.startswith("[Instruct edit]")],
        "paste": [str(b.tabname) for b in infotext_utils.registered_param_bindings if b.tabname == "ip2p"],
        "imported": sorted({name.partition(".")[0] for name in sys.modules}),
    }


def needs():
    """Every name of the host that the extension uses."""
    from ip2p.webui import parts

    files = Path(parts.__file__).parent.glob("[a-z]*.py")
    return sorted(set().union(*(parts.needs(file.stem) for file in files)))


def without(name: str = Body(embed=True), changed: bool = Body(False, embed=True)):
    """Loads the extension while the host lacks a name, or while what it names has changed."""
    with hidden(name, changed):
        return load()


def startup():
    """Seconds of a processor that loading the extension and building its tab take, and what a page of a thousand sliders takes."""
    gc.disable()  # looking through the whole of the host takes longer than either
    try:
        start = time.process_time()
        with gr.Blocks():
            for _ in range(1000):
                gr.Slider()
        sliders = time.process_time() - start
        return load()["seconds"], sliders
    finally:
        gc.enable()


def load() -> dict:
    """Does with the extension what the host does at its start, and puts everything back."""
    script = next(e for e in extensions.extensions if (Path(e.path) / "scripts" / "instruct_edit.py").exists())
    with queue_lock, own_world():
        start, path = time.process_time(), sys.path
        sys.path = [script.path, *sys.path]
        try:
            module = script_loading.load_module(str(Path(script.path) / "scripts" / "instruct_edit.py"))
        finally:
            sys.path = path
        script_callbacks.before_ui_callback()
        script_callbacks.ui_settings_callback()
        tabs = script_callbacks.ui_tabs_callback()
        script_callbacks.app_started_callback(None, app := FastAPI())
        seconds = time.process_time() - start
        texts = [str(c["props"].get("value")) for blocks, _, _ in tabs for c in blocks.get_config_file()["components"]]
        return {
            "tabs": [label for _, label, _ in tabs],
            "texts": [text for text in texts if text not in ("None", "")],
            "routes": [route.path for route in app.routes],
            "script": module.InstructEdit is not None,
            "bindings": len(infotext_utils.registered_param_bindings),
            "seconds": seconds,
        }


@contextmanager
def own_world():
    """Within the block the host knows no callback, and the extension is not imported; after it all is as before."""
    callbacks = {category: list(given) for category, given in script_callbacks.callback_map.items()}
    bound, fields = list(infotext_utils.registered_param_bindings), dict(infotext_utils.paste_fields)
    imported = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "ip2p"}
    script_callbacks.clear_callbacks()
    infotext_utils.registered_param_bindings.clear()
    for name in imported:
        del sys.modules[name]
    _FUNCS.difference_update([name for name in _FUNCS if name.startswith("ip2p.")])  # pydantic refuses to see a validator twice
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    prefix, sys.pycache_prefix = sys.pycache_prefix, BYTECODE.name  # as quick as any start but the first, and nothing beside the source
    try:
        yield
    finally:
        sys.dont_write_bytecode, sys.pycache_prefix = writes, prefix
        for name in [name for name in sys.modules if name.partition(".")[0] == "ip2p"]:
            del sys.modules[name]
        sys.modules.update(imported)
        script_callbacks.clear_callbacks()
        for category, given in callbacks.items():
            script_callbacks.callback_map[category].extend(given)
        infotext_utils.registered_param_bindings[:] = bound
        infotext_utils.paste_fields.clear()
        infotext_utils.paste_fields.update(fields)


@contextmanager
def hidden(name: str, changed: bool = False):
    """Within the block the extension, and nobody else, sees a host without this name, or with another helper under it."""
    module, _, attribute = name.rpartition(".")
    module = sys.modules[module]
    stock = type(module)

    class Changed(stock):
        def __getattribute__(self, asked):
            if sys._getframe(1).f_globals.get("__name__", "").partition(".")[0] == "ip2p":
                if asked == attribute and changed:
                    return other
                if asked == attribute:
                    raise AttributeError(f"module {module.__name__!r} has no attribute {attribute!r}")
                if asked == "__dict__" and not changed:
                    return {k: v for k, v in stock.__getattribute__(self, "__dict__").items() if k != attribute}
            return stock.__getattribute__(self, asked)

    module.__class__ = Changed
    try:
        yield
    finally:
        module.__class__ = stock


def other(*, renamed_argument):
    """What stands for a helper whose arguments have changed."""
