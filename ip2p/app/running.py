"""The edits that run on the page, and how each is stopped: by nobody but the session that began it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock


class Running:
    """The edits that run, by session."""

    def __init__(self) -> None:
        self.stops: dict[str, list[Event]] = {}
        self.lock = Lock()

    @contextmanager
    def edit(self, session: str | None) -> Iterator[Event]:
        """What is set when the edit within the block is to stop. An edit without a session can't be stopped: any visitor may come
        without one."""
        stop = Event()
        if not session:
            yield stop
            return
        with self.lock:
            self.stops.setdefault(session, []).append(stop)
        try:
            yield stop
        finally:
            with self.lock:
                self.stops[session].remove(stop)
                if not self.stops[session]:
                    del self.stops[session]

    def stop(self, session: str | None) -> None:
        with self.lock:
            for stop in self.stops.get(session or "", ()):
                stop.set()
