"""Writes docs/cli.md from the command line's parsers, the tree in docs/architecture.md from the files' docstrings, and docs/api.md
from the routes of a running WebUI.

    python docs/reference.py [http://127.0.0.1:7860]

Without the address of a WebUI that was started with --api, docs/api.md stays as it is. Tests compare them with the code.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/reference.py from the code: change it there, then run make docs. -->\n\n"


def cli_reference() -> str:
    """docs/cli.md: every verb with its arguments."""
    from ip2p.__main__ import VERBS, parser_for

    text = (
        NOTE
        + "# The command line\n\nExit status 0; 1 when some of the pictures could not be done; 2 for input that can't be used, with one line that says why; 130 after Ctrl-C.\n"
    )
    for verb, summary in VERBS.items():
        text += f"\n## python -m ip2p {verb}\n\n{summary[0].upper()}{summary[1:]}.\n"
        text += described(parser_for(verb), f"python -m ip2p {verb}")
    return text


def described(parser: argparse.ArgumentParser, command: str) -> str:
    """A parser's arguments as a table, then those of its verbs."""
    rows, verbs = [], []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            verbs += [(name, sub, helps.get(name)) for name, sub in action.choices.items()]
            continue
        rows.append((argument(action), default(action), meaning(action)))
    text = "\n" + table(("argument", "default", ""), rows) if rows else ""
    for name, sub, summary in verbs:
        text += f"\n### {command} {name}\n" + (f"\n{summary[0].upper()}{summary[1:]}.\n" if summary else "")
        text += described(sub, f"{command} {name}")
    return text


def argument(action: argparse.Action) -> str:
    value = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper())
    value = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return f"`{value}`" + (" …" if action.nargs in ("*", "+") else "")
    more = "" if action.nargs == 0 else f" {value}" + (" …" if action.nargs in ("*", "+") else "")
    return ", ".join(f"`{option}{more}`" for option in action.option_strings)


def default(action: argparse.Action) -> str:
    value = action.default
    if action.required:
        return "required"
    if value in (None, "", [], argparse.SUPPRESS) or isinstance(value, bool) or action.nargs == 0:
        return "–"
    return f"`{value}`"


def meaning(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": ""} if action.help else ""


def tree() -> str:
    """The modules of ip2p, each with the first sentence of its docstring."""
    lines = []
    for path in sorted((HERE.parent / "ip2p").rglob("*.py"), key=lambda path: (path.parent.as_posix(), path.name)):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf8"))) or ""
        sentence = re.split(r"(?<=\.)\s", " ".join(docstring.partition("\n\n")[0].split()))[0]
        name = path.relative_to(HERE.parent).as_posix()
        if path.name == "__init__.py":
            lines.append(f"\n{name.removesuffix('__init__.py')}    {sentence}")
        else:
            lines.append(f"    {path.name:20}  {sentence}")
    return "```" + "\n".join(lines) + "\n```\n"


def with_tree(page: str) -> str:
    """docs/architecture.md with the tree as it is now."""
    before, _, rest = page.partition("<!-- tree -->\n")
    return before + "<!-- tree -->\n" + tree() + "<!-- /tree -->\n" + rest.partition("<!-- /tree -->\n")[2]


def api_reference(openapi: dict) -> str:
    """docs/api.md: the extension's routes as the WebUI's own description of its API has them."""
    text = NOTE + (
        "# The API\n\nThe WebUI serves it when started with `--api`; `--api-auth` holds for it too. What can't be done is answered with "
        "status 422 and one sentence in `detail`, a request of more than 400 MB with 413.\n"
    )
    schemas = openapi["components"]["schemas"]
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            if not path.startswith("/instruct-edit/"):
                continue
            text += f"\n## {method.upper()} {path}\n\n{route['description']}\n"
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            answer = route["responses"]["200"]["content"]["application/json"]["schema"]
            for name, schema in (("Request", body), ("Reply", answer)):
                if schema is None:
                    continue
                listed = "a list of objects" if schema.get("type") == "array" else "an object"
                fields = schemas[schema.get("items", schema)["$ref"].rpartition("/")[2]]
                text += f"\n{name}: {listed}.\n\n" + fields_table(fields, request=name == "Request")
                for field, kind in fields["properties"].items():
                    for part in kind.get("allOf", ()):
                        inner = schemas[part["$ref"].rpartition("/")[2]]
                        text += f"\n`{field}`: an object.\n\n" + fields_table(inner, request=name == "Request")
    return text


def fields_table(schema: dict, request: bool) -> str:
    required, rows = set(schema.get("required", ())), []
    for name, field in schema["properties"].items():
        kind = field.get("type", "object")
        if kind == "array":
            kind = f"list of {field['items'].get('type', 'object')}s"
        limits = [f"{field[key]:.17g}" for key in ("minimum", "maximum") if key in field]
        kind += f", {' to '.join(limits)}" if limits else ""
        given = "required" if name in required else f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else "–"
        rows.append(
            (f"`{name}`", kind, given, field.get("description", "")) if request else (f"`{name}`", kind, field.get("description", ""))
        )
    return table(("field", "type", "default", "") if request else ("field", "type", ""), rows)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main(arguments: list[str]) -> None:
    (HERE / "cli.md").write_text(cli_reference(), encoding="utf8")
    page = HERE / "architecture.md"
    page.write_text(with_tree(page.read_text(encoding="utf8")), encoding="utf8")
    if arguments:
        with urllib.request.urlopen(f"{arguments[0].rstrip('/')}/openapi.json") as answer:
            (HERE / "api.md").write_text(api_reference(json.load(answer)), encoding="utf8")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    main(sys.argv[1:])
