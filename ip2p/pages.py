"""Pages with everything inside them, readable in light and dark: what the reports of runs share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

SHELL = Path(__file__).with_name("page.html")


def page(title: str, parts: Iterable[str], style: Path) -> str:
    """title: a plain text; parts: HTML, one under the other; style: a file of CSS with what this page has beyond the others."""
    template = Template(SHELL.read_text(encoding="utf8"))
    return template.substitute(title=escape(title), style=style.read_text(encoding="utf8"), body="\n".join(parts))


def definitions(facts: Iterable[tuple[str, object]]) -> str:
    return '<dl class="facts">' + "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>" for name, text in facts) + "</dl>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """header: plain texts; rows: cells as HTML, each with its own tag."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
