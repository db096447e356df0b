"""The texts: their links and commands work, the references say what the code says, the workflows do what the Makefile does."""

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from test_house import ROOT, project

sys.path.insert(0, str(ROOT / "docs"))
from reference import cli_reference, with_tree

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE))
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf8"))
SOURCES = "\n".join(path.read_text(encoding="utf8") for path in [*(ROOT / "ip2p").rglob("*.py"), ROOT / "colab.ipynb"])


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(page: Path) -> set[str]:
    """As GitHub makes them into anchors."""
    found = re.findall(r"^#+ (.*)", without_code(text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@EACH_PAGE
def test_every_internal_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page))):
        if link.startswith(("http://", "https://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists() and target.is_relative_to(ROOT), link
        assert not anchor or anchor in headings(target), link


def commands(page: Path) -> list[str]:
    """Of shell blocks every line, of the running text every piece of code that begins like a command."""
    text = text_of(page)
    lines = []
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines += [re.sub(r"\s+#\s.*", "", line) for line in block.replace("\\\n", " ").splitlines()]
    pieces = [" ".join(piece.split()) for piece in re.findall(r"`([^`]+)`", without_code(text))]
    lines += [piece for piece in pieces if re.fullmatch(r"(python -m|pip|git) \S.*|make [a-z-]+( [A-Z]+=\S+)*", piece)]
    return [line.strip() for line in lines if line.strip()]


@EACH_PAGE
def test_every_command_exists_with_the_options_it_is_given(page):
    for command in commands(page):
        try:
            check(command)
        except AssertionError as e:
            raise AssertionError(f"{page.name}: {command}: {e}") from e


def check(command: str) -> None:
    words = shlex.split(command)
    if words[:3] == ["python", "-m", "ip2p"]:
        assert parses(words[3:]), "its arguments are none that it takes"
    elif words[0] == "make":
        for word in words[1:]:
            assert "=" in word or word in TARGETS, f"the Makefile has no {word}"
    elif words[:2] == ["pip", "install"]:
        for extras in re.findall(r"\[([a-z,]+)\]", command):
            assert set(extras.split(",")) <= project()["optional-dependencies"].keys(), f"there is no extra {extras}"
    else:
        known = ("git clone", "python3.11 -m venv", ". .venv/bin/activate", "pytest", "(printf", "curl", ".ci/run")
        assert command.startswith(known), "no check knows this command: add one"


def parses(arguments: list[str]) -> bool:
    """Whether the command line takes these; an ellipsis stands for more."""
    from ip2p.__main__ import VERBS, parser_for

    if not arguments or arguments[0] not in VERBS:
        return arguments in ([], ["--version"])
    if "|" in arguments[-1]:  # verbs to choose from
        return all(parses([*arguments[:-1], choice, "--help"]) for choice in arguments[-1].split("|"))
    parser = parser_for(arguments[0])
    if len(arguments) == 1 or "…" in arguments:
        return True
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(arguments[1:])
    except SystemExit as e:
        return e.code == 0
    return True


def test_the_check_of_commands_can_fail():
    for wrong in (
        "python -m ip2p edit --no-such-option",
        "python -m ip2p nothing",
        "make nothing",
        "pip install -e '.[nothing]'",
        "rm -rf /",
    ):
        with pytest.raises(AssertionError):
            check(wrong)


def test_the_command_lines_reference_says_what_its_parsers_say():
    assert text_of(ROOT / "docs" / "cli.md") == cli_reference(), "run make docs"


def test_troubleshooting_quotes_sentences_that_the_program_says():
    page = text_of(ROOT / "docs" / "troubleshooting.md")
    quoted = re.findall(r"^\| (.+?) \|", page, re.MULTILINE)[2:]
    assert len(quoted) >= 8
    plain = " ".join(SOURCES.split())
    for sentence in quoted:
        for part in re.split(r"…", sentence):
            assert part.strip() in plain, f"nothing says “{part.strip()}”"


def test_the_notebook_and_the_set_up_of_host_tests_pin_the_same_webui():
    commits = {re.search(r"[0-9a-f]{40}(?=\b)", text)[0] for text in (
        re.search(r"COMMIT = .*", text_of(ROOT / "colab.ipynb"))[0],
        re.search(r"^commit=.*", text_of(ROOT / "tests" / "host" / "set_up_webui.sh"), re.MULTILINE)[0],
    )}  # fmt: skip
    assert len(commits) == 1


def test_the_readme_is_short():
    assert len(text_of(ROOT / "README.md").splitlines()) < 200


def test_the_tree_in_the_readme_is_the_tree():
    block = text_of(ROOT / "README.md").partition("## How it is built")[2].split("```")[1]
    assert all(
        (ROOT / path).exists() for path in re.findall(r"^(?:scripts|javascript|tests)/\S*|style\.css|install\.py", block, re.MULTILINE)
    )
    inside = block.partition("ip2p/\n")[2].partition("\ntests/")[0]
    listed = {name.rstrip("/") for line in inside.splitlines() for name in line[2:30].split()}
    there = {path.name for path in (ROOT / "ip2p").iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert listed == there


def test_the_tree_of_all_files_is_the_tree():
    page = text_of(ROOT / "docs" / "architecture.md")
    assert page == with_tree(page), "run make docs"
    assert "guidance.py" in page


def test_layers_are_told_as_they_are_checked():
    layers = project("tool")["importlinter"]["contracts"][0]["layers"]
    checked = [{name.strip(" ()") for name in layer.split("|")} for layer in layers[3:] if not layer.startswith("(")]
    listed = re.findall(r"^\d+\. (.*)", text_of(ROOT / "docs" / "architecture.md"), re.MULTILINE)[1:]
    assert [{name.removesuffix("/").removesuffix(".py") for name in re.findall(r"`(.+?)`", line)} for line in listed] == checked


def runs(job: str) -> list[str]:
    return [re.sub(r"\$\{\{.*?\}\}", "…", step["run"]) for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def test_the_workflows_run_the_makefiles_commands_and_no_others():
    wanted = {
        "lint": ["lint"],
        "types": ["types"],
        "test": ["browser", "test"],
        "oldest": ["oldest-test"],
        "shared": ["shared-test"],
        "host": ["webui", "browser", "host-test"],
        "build": ["build"],
    }
    assert WORKFLOW["jobs"].keys() == {*wanted, "windows", "macos"}
    for job, targets in wanted.items():
        assert runs(job) == [f"make {target}" for target in targets] and set(targets) <= TARGETS
    for job in ("windows", "macos"):  # no make there
        assert runs(job) == ["python -m pip install -e .[test]", "python -m pytest -n 2 --dist loadgroup --ignore tests/host"]
        assert job in WORKFLOW["jobs"][job]["runs-on"]


def test_what_looks_at_the_code_needs_no_torch():
    makefile = text_of(ROOT / "Makefile")
    for target in ("lint", "format", "build"):
        assert re.search(rf"^{target}: (.*)", makefile, re.MULTILINE)[1] == "$(LINT_READY)"
    linters = re.search(r"^LINTERS := (.*)", makefile, re.MULTILINE)[1].split()
    assert {linter.partition("==")[0] for linter in linters} == {"ruff", "import-linter"}
    hooks = yaml.safe_load(text_of(ROOT / ".pre-commit-config.yaml"))["repos"][0]["hooks"]
    pinned = {package for hook in hooks for package in hook["additional_dependencies"]}
    assert set(linters) <= pinned, "the hooks have the Makefile's versions"
    assert {package for package in pinned if package.startswith("ruff")} <= set(linters)


def test_the_workflows_cover_the_supported_pythons():
    assert WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    (shared,) = (step["with"]["python-version"] for step in WORKFLOW["jobs"]["shared"]["steps"] if "with" in step)
    assert shared == "3.10"


def test_contributing_has_one_command_each():
    text = text_of(ROOT / "CONTRIBUTING.md")
    for command in ("make setup", "make test", "make host-test", "make lint", "make types"):
        assert f"| `{command}` |" in text


@pytest.mark.parametrize("script", [".ci/run", "tests/host/set_up_webui.sh"])
def test_scripts_are_sound_bash(script):
    subprocess.run(["bash", "-n", script], cwd=ROOT, check=True)
