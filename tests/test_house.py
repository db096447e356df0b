"""The rules of the house: who may import what, and that nothing happens on import."""

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from ip2p import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for folder in ("ip2p", "scripts", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
SOURCES.append(ROOT / "install.py")
HOST_SIDE = ("ip2p/webui", "scripts", "tests/host", "install.py")
SHARED = [
    path
    for name in (
        "guidance",
        "passes",
        "relevance",
        "acting",
        "pixels",
        "images",
        "edit",
        "where",
        "region",
        "located",
        "errors",
        "infotext",
        "presets",
        "wording",
        "files",
        "chain",
        "batch",
        "checkpoints/fingerprint",
        "checkpoints/recognise",
        "checkpoints/header",
        "checkpoints/lora",
        "checkpoints/pickles",
    )
    for path in (
        [ROOT / "ip2p" / f"{name}.py"] if (ROOT / "ip2p" / f"{name}.py").exists() else sorted((ROOT / "ip2p" / name).rglob("*.py"))
    )
]
HEAVY = {"torch", "numpy", "PIL", "gradio", "omegaconf", "diffusers", "transformers", "accelerate", "datasets", "fastapi", "requests"}
MAX_LINES = 400


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere in it; relative imports are "." and the module."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." + (node.module or "") if node.level else node.module.split(".")[0])
    return names


def on_host_side(path: Path) -> bool:
    return any(named(path) == place or named(path).startswith(place + "/") for place in HOST_SIDE)


# Who in ip2p imports whom is in [tool.importlinter] of pyproject.toml; `make lint` runs it.


@pytest.mark.parametrize("path", [path for path in SOURCES if named(path).startswith("tests/") and not on_host_side(path)], ids=named)
def test_tests_outside_tests_host_need_no_host(path):
    assert not imports(path) & {"modules", "modules_forge", "scripts", "ldm", "k_diffusion"}
    assert "launch" not in imports(path) or "stand_ins" in named(path)


@pytest.mark.parametrize(
    "module, allowed",
    [
        ("guidance", {"torch"}),
        ("passes", {"torch", ".guidance", ".scale_input"}),
        ("scale_input", {"torch", ".errors"}),
        ("relevance", {"torch", ".passes"}),
        ("pixels", {"torch", "numpy", "einops", "PIL"}),
    ],
)
def test_the_maths_imports_nothing_beyond(module, allowed):
    assert imports(ROOT / "ip2p" / f"{module}.py") <= allowed | sys.stdlib_module_names


def hidden_imports(source: str) -> list[str]:
    """Calls of import_module and __import__ that may name a module of ours, which import-linter can't see."""
    hidden = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
            module = node.args[0] if node.args else None
            literal = module.value if isinstance(module, ast.Constant) else ast.unparse(module).lstrip("f'\"") if module else ""
            relative = len(node.args) + len(node.keywords) > 1 or literal.startswith((".", "ip2p"))
            if relative:
                hidden.append(ast.unparse(node))
    return hidden


@pytest.mark.parametrize("path", [path for path in SOURCES if named(path).startswith("ip2p/")], ids=named)
def test_modules_of_ours_are_imported_by_statements_that_tools_see(path):
    hidden = hidden_imports(path.read_text(encoding="utf8"))
    # The table of verbs, at the top of everything: nothing can be above it.
    allowed = ["import_module(f'.cli.{module}', __package__)"] if named(path) == "ip2p/__main__.py" else []
    assert [call for call in hidden if call not in allowed] == []


@pytest.mark.parametrize(
    "call",
    [
        "import_module('.tab', __package__)",
        "importlib.import_module(f'ip2p.{name}')",
        "__import__('ip2p.edit')",
        "import_module(name, 'ip2p')",
    ],
)
def test_a_hidden_import_is_seen(call):
    assert hidden_imports(f"x = {call}")


def test_what_the_host_has_may_be_imported_by_its_name():
    assert not hidden_imports("import_module('modules.shared'); import_module(name)")


def test_entry_points_that_people_import_are_there():
    pytest.importorskip("diffusers", reason="the editor needs diffusers (pip install -e '.[app]')")
    from ip2p.app import build
    from ip2p.edit import Edit
    from ip2p.editor import Editor
    from tiny_model import tiny_editor

    assert all(map(callable, (build, Edit, Editor.load, tiny_editor)))


def test_the_autoencoder_that_peoples_yamls_name_is_there():
    """`first_stage_config.target: ip2p.webui.autoencoder.AutoencoderKL`: read, because it needs the host to import."""
    tree = ast.parse((ROOT / "ip2p" / "webui" / "autoencoder.py").read_text(encoding="utf8"))
    assert "AutoencoderKL" in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert "ip2p.webui.autoencoder.AutoencoderKL" in (ROOT / "ip2p" / "small" / "small.yaml").read_text(encoding="utf8")


@pytest.mark.parametrize("path", [path for path in SOURCES if named(path).startswith("ip2p/")], ids=named)
def test_a_file_can_be_held_in_the_head(path):
    assert len(path.read_text(encoding="utf8").splitlines()) <= MAX_LINES


def test_a_file_name_means_one_thing():
    names = Counter(path.name for path in SOURCES if named(path).startswith("ip2p/") and not named(path).startswith("ip2p/cli/"))
    assert {name for name, count in names.items() if count > 1} <= {"__init__.py", "__main__.py"}


def modules_after(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "\n" not in out.stdout.strip() and not out.stderr, "it says nothing"
    return {name.split(".")[0] for name in out.stdout.split()}


def test_importing_the_package_loads_nothing_heavy():
    assert not modules_after("import ip2p") & HEAVY


def test_recognising_checkpoints_needs_no_torch():
    assert not modules_after("import ip2p.checkpoints.recognise") & HEAVY


def test_the_file_the_webui_loads_registers_and_does_nothing_else():
    docstring, *rest = ast.parse((ROOT / "scripts" / "instruct_edit.py").read_text(encoding="utf8")).body
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant)
    calls = [node for node in rest if not isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in calls] == ["InstructEdit = register()"]


@pytest.mark.parametrize("path", [path for path in SOURCES if named(path).startswith("ip2p/webui/")], ids=named)
def test_importing_the_webui_half_calls_nothing_of_the_host(path):
    """Reloading the page clears the host's callbacks but keeps modules: what registers on import is lost."""
    loose = [
        ast.unparse(node)
        for node in ast.parse(path.read_text(encoding="utf8")).body
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
    ]
    assert loose == []


@pytest.mark.parametrize("path", [*SHARED, *(path for path in SOURCES if on_host_side(path))], ids=named)
def test_what_runs_in_the_webui_is_written_in_python_3_10(path):
    ast.parse(path.read_text(encoding="utf8"), feature_version=(3, 10))


def project(table: str = "project") -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))[table]


def package_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0]


def bounds(lines: list[str]) -> dict[str, str]:
    """Package: its lower bound, of requirements that have one and of constraints."""
    return {package_of(line): re.split(r"[>=]=", line)[1] for line in lines if re.search(r"[>=]=", line)}


OF_PACKAGES = {
    "PIL": "Pillow",
    "yaml": "PyYAML",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "huggingface_hub": "huggingface-hub",
}
# What a declared package or the WebUI brings, and what a sentence asks for where it is missing.
BROUGHT = {"tqdm", "tokenizers", "fastapi", "open_clip", "rembg", "facexlib"}


@pytest.mark.parametrize("path", [path for path in SOURCES if named(path).startswith("ip2p/") and not on_host_side(path)], ids=named)
def test_what_is_imported_is_declared(path):
    core = {package_of(line) for line in project()["dependencies"]}
    extras = {package_of(line) for lines in project()["optional-dependencies"].values() for line in lines}
    outside = {name for name in imports(path) if not name.startswith(".")} - sys.stdlib_module_names - {"ip2p"} - BROUGHT
    declared = core if path in SHARED else core | extras
    assert {OF_PACKAGES.get(name, name.replace("_", "-")) for name in outside} <= declared


def test_dependencies_allow_the_pins_of_the_webui():
    """The core's bounds are those pins exactly, because the shared modules' tests run on them."""
    pins = dict(
        re.findall(r"([A-Za-z]+)==([0-9.]+)", (ROOT / "Makefile").read_text(encoding="utf8").partition("PINNED :=")[2].partition("\n")[0])
    )
    core = bounds(project()["dependencies"])
    assert {name: core[name] for name in pins} == pins and core.keys() - pins == {"gradio", "PyYAML", "tqdm"}
    for line in project()["dependencies"] + [
        line for name, extra in project()["optional-dependencies"].items() if name != "test" for line in extra
    ]:
        assert not set("<~!") & set(line), f"{line}: only a lower bound leaves the choice to the host"


def test_the_extras_lower_bounds_are_what_the_oldest_job_installs():
    oldest = bounds((ROOT / "tests" / "oldest.txt").read_text(encoding="utf8").splitlines()[1:])
    wanted = bounds(project()["dependencies"])
    for extra in ("edit", "app", "train", "evaluate", "photos"):
        wanted |= bounds(project()["optional-dependencies"][extra])
    assert oldest == wanted


def test_the_wheel_says_under_which_licences_it_is():
    assert project()["license"] == "MIT AND CC-BY-SA-4.0"
    for file in project()["license-files"]:
        assert (ROOT / file).is_file()
    assert "CC-BY-SA 4.0" in (ROOT / "LICENSE").read_text(encoding="utf8")


def test_the_console_command_is_named_in_its_usage(monkeypatch, capsys):
    from ip2p.__main__ import main

    module, _, function = project()["scripts"]["instruct-edit"].partition(":")
    assert (module, function) == (main.__module__, main.__name__)
    for started_as, name in (
        ("/usr/bin/instruct-edit", "instruct-edit"),
        ("instruct-edit.exe", "instruct-edit"),
        ("__main__.py", "python -m ip2p"),
    ):
        monkeypatch.setattr(sys, "argv", [started_as])
        with pytest.raises(SystemExit):
            main(["edit"])
        assert capsys.readouterr().err.startswith(f"{name} edit: ")


def test_the_version_is_told_once():
    assert "version" in project()["dynamic"] and __version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE"])
def test_a_newcomer_finds_what_to_read(name):
    assert len((ROOT / name).read_text(encoding="utf8").split()) > 10


@pytest.mark.parametrize("path", sorted((ROOT / "ip2p" / "webui").glob("*.py")), ids=named)
def test_what_the_webui_half_imports_of_the_package_is_there(path):
    """The WebUI half is not imported without a WebUI, and types are not checked in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            package = import_module(".".join(filter(None, ("ip2p", node.module))))
            for alias in node.names:
                assert hasattr(package, alias.name) or find_spec(f"{package.__name__}.{alias.name}"), f"{package.__name__}.{alias.name}"
