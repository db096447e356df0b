"""A reverse proxy on this machine that serves a WebUI below a subpath: it takes the prefix off and passes bytes on."""

from __future__ import annotations

import re
import socket
import socketserver
import threading


class SubpathProxy(socketserver.ThreadingTCPServer):
    """http://127.0.0.1:port/PREFIX/… → http://127.0.0.1:upstream/…; one request a connection, websockets included."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, prefix: str, upstream: int):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.prefix, self.upstream = prefix, upstream
        self.url = f"http://127.0.0.1:{self.server_address[1]}/{prefix}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        head = b""
        while b"\r\n\r\n" not in head:
            received = self.request.recv(65536)
            if not received:
                return
            head += received
        prefix = re.escape(self.server.prefix.encode())
        stripped, hits = re.subn(rb"^(\w+) /" + prefix + rb"(?=[/ ?])/?", rb"\1 /", head, count=1)
        if not hits:
            self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if not re.search(rb"(?i)\r\nupgrade:", stripped):
            stripped = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", stripped, count=1)
            stripped = stripped.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        with socket.create_connection(("127.0.0.1", self.server.upstream)) as upstream:
            upstream.sendall(stripped)
            threading.Thread(target=_pipe, args=(self.request, upstream), daemon=True).start()
            _pipe(upstream, self.request)


def _pipe(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
