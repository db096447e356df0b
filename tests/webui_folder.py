"""Where a real WebUI is on this machine."""

import os
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
NONE_FOUND = "no WebUI found at $SD_WEBUI_DIR, ../.. or ~/stable-diffusion-webui"


def webui_folder() -> Path | None:
    """The WebUI at $SD_WEBUI_DIR if that is set, else the one this is an extension of, else ~/stable-diffusion-webui."""
    named = os.environ.get("SD_WEBUI_DIR")
    candidates = [Path(named)] if named else [REPOSITORY.parents[1], Path.home() / "stable-diffusion-webui"]
    return next((folder.resolve() for folder in candidates if (folder / "modules" / "launch_utils.py").is_file()), None)


def webui_python() -> Path | None:
    """The Python of that WebUI's own environment; not resolved, because a venv is known by the link's place."""
    folder = webui_folder()
    python = folder and folder / "venv" / "bin" / "python"
    return python if python and python.exists() else None


def missing_repositories(webui: Path) -> list[str]:
    """Folders below repositories/ that this WebUI clones at its first start and cannot start without, and that are missing or empty."""
    launcher = (webui / "modules" / "launch_utils.py").read_text(encoding="utf8")
    names = re.findall(r"git_clone\(.*repo_dir\('([^']+)'\)", launcher)
    folders = [webui / "repositories" / name for name in names]
    return [folder.name for folder in folders if not folder.is_dir() or not any(folder.iterdir())]
