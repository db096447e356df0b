"""The parts of the extension, each registered by itself: one that this host cannot carry says so in the tab and leaves the rest alone.

Extensions like this one died of host updates that renamed what they used. So before a part is registered, every name it uses
of `modules.*` is looked up; they are read from its own source, where they cannot be forgotten.
"""

from __future__ import annotations

import ast
import html
import sys
import traceback
from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from pathlib import Path

import gradio as gr

from .. import __version__
from .names import TAB_ID, TAB_LABEL

TAB = "the tab"
ADVICE = "Update the extension (Extensions → Check for updates), or use AUTOMATIC1111's WebUI v1.10.1."
FORGE = (
    "This is Forge, which has removed edit models from the WebUI: the tab, the API and the Script are not supported here. "
    "Use AUTOMATIC1111's WebUI v1.10.1."
)


class Parts:
    """What was registered. faults: by the name of each part that is off, why."""

    def __init__(self):
        self.faults: dict[str, str] = {}

    def add(self, part: str, module: str, register: Callable[[str], None]) -> None:
        """Registers a part. module: the one of this package that it lives in, which `register(part)` imports once its needs
        were looked up."""
        if missing := lacking(module):
            self.faults[part] = f"this WebUI lacks {', '.join(missing)}"
            print(f"Instruct edit: {part} is off: {self.faults[part]}.", file=sys.stderr)
        else:
            self.guarded(part, register)(part)

    def guarded(self, part: str, function: Callable) -> Callable:
        """`function`, whose failure turns the part off and ends there."""

        @wraps(function)
        def call(*args, **kwargs):
            try:
                return function(*args, **kwargs)
            except Exception as e:
                self.faults[part] = reason_of(e)
                print(f"Instruct edit: {part} is off.", file=sys.stderr)
                traceback.print_exc()

        return call

    def sentence(self) -> str:
        """As HTML, what is off and why; empty when everything works."""
        parts_of: dict[str, list[str]] = {}
        for part, reason in self.faults.items():
            parts_of.setdefault(reason, []).append(part)
        if not parts_of:
            return ""
        lines = [f"Off here: {', '.join(parts)}, because {reason}." for reason, parts in parts_of.items()]
        return f"<div class='error'>{'<br>'.join(map(html.escape, [*lines, ADVICE]))}</div>"

    def tabs(self, build: Callable[[Callable[[], str]], gr.Blocks]) -> list:
        """What the host's `on_ui_tabs` takes: the tab, or a tab that says why there is none. build(faults): builds the tab."""
        blocks = None
        if TAB not in self.faults:
            with_own = bindings()
            blocks = self.guarded(TAB, lambda: build(self.sentence))()
            if blocks is None:
                # What a tab that was given up registered for pasting would end the host's own page.
                for ours, before in with_own:
                    ours.clear()
                    ours.update(before) if isinstance(ours, dict) else ours.extend(before)
        return tab_of(blocks) if blocks else tab_saying(self.sentence)


def tab_of(blocks: gr.Blocks) -> list:
    """What the host's `on_ui_tabs` takes."""
    return [(blocks, TAB_LABEL, TAB_ID)]


def tab_saying(text: str | Callable[[], str]) -> list:
    """A tab of one text. text: HTML, or a function that gives it when the page loads."""
    with gr.Blocks(analytics_enabled=False) as blocks:
        gr.HTML(text, elem_id="ip2p_faults")
        gr.HTML(f"<p class='ip2p-version'>Instruct edit {__version__}</p>")
    return tab_of(blocks)


def bindings() -> list[tuple]:
    """The host's lists of what can be pasted where, each with a copy."""
    from modules import infotext_utils

    lists = (getattr(infotext_utils, name, None) for name in ("registered_param_bindings", "paste_fields"))
    return [(live, live.copy()) for live in lists if live is not None]


def reason_of(error: Exception) -> str:
    """The error, and the line of this package at which it came up: there stands the host's helper that has changed."""
    here = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == Path(__file__).parent]
    place = next((frame for frame in reversed(here) if Path(frame.filename) != Path(__file__)), None)
    where = f" at “{place.line}” ({Path(place.filename).name}, line {place.lineno})" if place else ""
    return f"of {type(error).__name__}: {error}{where}"


def lacking(module: str) -> list[str]:
    """Names of the host that a module of this package, or one it imports from here, uses and the host does not have."""
    return sorted(name for name in needs(module) if not exists(name))


def exists(name: str) -> bool:
    """Whether the host has `modules.….name`. Looks without getting it: getting `shared.sd_model` loads a checkpoint."""
    module, _, attribute = name.rpartition(".")
    try:
        host_module = import_module(module)
    except ImportError:
        return False
    return attribute in vars(host_module) or hasattr(type(host_module), attribute)


@cache
def needs(module: str) -> frozenset[str]:
    """Full names of what a module of this package, and those it imports from here, use of the host."""
    names, reached, waiting = set(), set(), [module]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        used, siblings = names_in(name)
        names |= used
        waiting += siblings
    return frozenset(names)


@cache
def names_in(module: str) -> tuple[set[str], list[str]]:
    """Of one source file: the host's names it uses, and the modules beside it that it imports."""
    tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf8"))
    aliases, used, siblings, attributes = {}, set(), [], []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if node.module == "modules":
                aliases.update({alias.asname or alias.name: f"modules.{alias.name}" for alias in node.names})
            elif not node.level and (node.module or "").startswith("modules."):
                used |= {f"{node.module}.{name}" for name in names}
            elif node.level == 1:
                siblings += [node.module] if node.module else names
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            attributes.append((node.value.id, node.attr))
    used |= {f"{aliases[name]}.{attribute}" for name, attribute in attributes if name in aliases}
    return used, siblings
