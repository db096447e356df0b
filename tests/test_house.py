"""The rules of the house: who may import what, and that nothing happens on import."""

import ast
import subprocess
import sys
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
    for name in ("guidance", "passes", "images", "pixels", "edit", "errors", "infotext", "presets", "checkpoints/recognise")
    if (path := ROOT / "ip2p" / f"{name}.py").exists()
]
HEAVY = {"torch", "numpy", "PIL", "gradio", "omegaconf", "diffusers", "transformers", "accelerate", "datasets", "fastapi", "requests"}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere in it; relative imports are "." and the module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." + (node.module or "") if node.level else node.module.split(".")[0])
    return found


def on_host_side(path: Path) -> bool:
    return any(named(path) == place or named(path).startswith(place + "/") for place in HOST_SIDE)


@pytest.mark.parametrize("path", [path for path in SOURCES if not on_host_side(path)], ids=named)
def test_only_the_host_side_imports_the_host(path):
    assert not imports(path) & {"modules", "modules_forge", "launch", "scripts", "ldm", "k_diffusion"}
    if named(path).startswith("ip2p/"):
        assert not any(name.startswith(".webui") for name in imports(path))


def test_the_check_of_imports_sees_the_host():
    assert "modules" in imports(ROOT / "ip2p" / "webui" / "denoiser.py")


def test_the_guidance_imports_torch_and_the_standard_library_only():
    assert imports(ROOT / "ip2p" / "guidance.py") <= {"torch"} | sys.stdlib_module_names


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


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]


def package_of(requirement: str) -> str:
    return requirement.partition(">=")[0].partition("==")[0].partition("[")[0].strip()


def test_the_package_depends_on_five_packages_and_nothing_else():
    assert {package_of(line) for line in project()["dependencies"]} == {"torch", "safetensors", "gradio", "einops", "omegaconf"}


def test_dependencies_allow_the_pins_of_the_webui():
    pins = {
        "torch": (2, 1, 2),
        "gradio": (3, 41, 2),
        "safetensors": (0, 4, 2),
        "einops": (0, 4, 1),
        "omegaconf": (2, 2, 3),
        "Pillow": (9, 5, 0),
    }
    lines = project()["dependencies"] + [line for extra in project()["optional-dependencies"].values() for line in extra]
    for line in lines:
        name, bound, version = line.partition(">=")
        assert bound or not set("=<~!") & set(line), f"{line}: only a lower bound leaves the choice to the host"
        if name in pins and version:
            assert tuple(map(int, version.split("."))) <= pins[name], line


def test_the_version_is_told_once():
    assert "version" in project()["dynamic"] and __version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf8")


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE"])
def test_a_newcomer_finds_what_to_read(name):
    assert len((ROOT / name).read_text(encoding="utf8").split()) > 10
