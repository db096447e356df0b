"""How a run stands, finished or not, whether it is still written to or not."""

from __future__ import annotations

from pathlib import Path

from . import page
from .figures import Figures
from .make import verdicts
from .run_folder import PAGE, read_request, read_settings


def told(folder: Path) -> list[str]:
    """Lines for the terminal; writes the page as well. Raises EditError where the folder is no run's."""
    settings = read_settings(folder)
    total, rules = read_request(folder)
    figures = Figures()
    for row, reason in verdicts(folder, rules):
        figures.count(row, reason)
    page.write_page(folder / PAGE, folder.name, settings, figures)
    return [f"{'wanted':<26}{total:,}", *page.lines(settings, figures), f"Page: {folder / PAGE}"]
