"""Who may ask for what belongs to the page: the WebUI's own rule."""

from __future__ import annotations

from fastapi import HTTPException, Request


def check_page_login(request: Request) -> None:
    """The page's own rule, Gradio's: with --gradio-auth a cookie that its login has given. Raises HTTPException."""
    cookies = (request.cookies.get(name) for name in ("access-token", "access-token-unsecure"))
    if getattr(request.app, "auth", None) and not any(request.app.tokens.get(cookie) for cookie in cookies):
        raise HTTPException(401, "Not authenticated")
