"""A server with OpenAI's API that answers as it is told to, once or always, and remembers what it was asked."""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EDIT = {"edit": "make it winter", "output": "{} in winter"}


class Server(ThreadingHTTPServer):
    """behaviour(caption, time) → (status, headers, body): for the n-th time that a caption is asked about, from 0; a body that is a text
    is sent as it is, and a dict as JSON. asked: bodies of requests. most: requests under way at a time."""

    daemon_threads = True

    def __init__(self, behaviour):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour, self.asked, self.keys, self.times = behaviour, [], set(), Counter()
        self.lock, self.under_way, self.most = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, address):
        """A client that did not wait."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        caption = said(body["messages"][-1]["content"]) if "messages" in body else None
        with server.lock:
            server.asked.append(body)
            server.keys.add(self.headers["Authorization"])
            number = server.times[caption]
            server.times[caption] += 1
            server.under_way += 1
            server.most = max(server.most, server.under_way)
        try:
            status, headers, answer = server.behaviour(caption, number) if caption is not None else moderated(body["input"])
        finally:
            with server.lock:
                server.under_way -= 1
        data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


def said(content):
    """The text of a message, which may have pictures too."""
    return content if isinstance(content, str) else content[0]["text"]


def moderated(text):
    return 200, {}, {"id": "m", "model": "m", "results": [{"flagged": "knife" in text, "categories": {}, "category_scores": {}}]}


def reply(content, finish="stop", tokens=(100, 20)):
    """As a chat completion."""
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    return 200, {}, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def edit_of(caption):
    return reply(json.dumps({"edit": EDIT["edit"], "output": EDIT["output"].format(caption)}))


def error(status, headers=None, message="no"):
    return status, headers or {}, {"error": {"message": message, "type": "error"}}


def slow(seconds, then):
    time.sleep(seconds)
    return then


@contextmanager
def serving(behaviour):
    server = Server(behaviour)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
