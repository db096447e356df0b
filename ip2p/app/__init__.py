"""The standalone page: one picture or many, masks, ready instructions and a chain of edits. Ready to be a hosted Space.

    python -m ip2p app [--model …] [--port …]

As a Space: `app.py` with `from ip2p.app import build; build("timbrooks/instruct-pix2pix").launch()`, and `requirements.txt`
with this package and its extra `edit`.
"""

from .layout import CSS, build

__all__ = ["CSS", "build"]
