"""The published checkpoint is fetched whole or not at all, whatever the connection does. The server is on this machine."""

import hashlib
import os
import random
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ip2p.checkpoints import fetch as module
from ip2p.checkpoints.fetch import fetch, place_in_webui
from ip2p.errors import EditError
from ip2p.files import take_lock

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT. cuts: after how many bytes of each answer the connection breaks; ranges: what was asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/model.safetensors"
        self.cuts, self.ranges, self.takes_ranges = [], [], True

    def handle_error(self, request, address):
        """A client that went away is what some tests do."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/model.safetensors":
            return self.send_error(404, "Not Found")
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked[6:-1]) if asked and self.server.takes_ranges else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cuts.pop(0)] if self.server.cuts else body)
        self.close_connection = True
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "model.safetensors"


def test_a_file_is_fetched_with_progress(server, target):
    told = []
    assert fetch(target, server.url, SHA256, lambda done, total: told.append((done, total))) == target
    assert target.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told == sorted(told)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_cut_connection_is_taken_up_where_it_broke(server, target):
    server.cuts = [1_000_000, 500_000]
    fetch(target, server.url, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_later_run_goes_on_where_the_first_stopped(server, target):
    server.cuts = [700_000, 0, 0]
    with pytest.raises(EditError, match="goes on where it stopped"):
        fetch(target, server.url, SHA256)
    assert not target.exists() and target.with_name("model.safetensors.part").stat().st_size == 700_000
    server.cuts = []
    fetch(target, server.url, SHA256)
    assert target.read_bytes() == CONTENT and server.ranges[-1] == "bytes=700000-"


def test_a_server_without_ranges_sends_it_all_again(server, target):
    server.takes_ranges, server.cuts = False, [1_000_000]
    fetch(target, server.url, SHA256)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("there", [CONTENT, CONTENT + b"more"], ids=["whole", "too long"])
def test_a_part_with_nothing_to_follow_is_checked(server, target, there):
    target.parent.mkdir()
    target.with_name("model.safetensors.part").write_bytes(there)
    fetch(target, server.url, SHA256)
    assert target.read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_removed(server, target):
    with pytest.raises(EditError, match="SHA-256 000000"):
        fetch(target, server.url, "0" * 64)
    assert not any(target.parent.iterdir())


def test_a_file_that_is_there_stays(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert fetch(target, server.url, SHA256) == target and not server.ranges
    target.write_bytes(b"mine")
    with pytest.raises(EditError, match="--force"):
        fetch(target, server.url, SHA256)
    assert target.read_bytes() == b"mine"
    fetch(target, server.url, SHA256, force=True)
    assert target.read_bytes() == CONTENT


def test_a_full_disk_is_said_before_the_download(server, target, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(EditError, match=r"no space left.*make room"):
        fetch(target, server.url, SHA256)
    assert not target.exists()


def test_a_disk_that_fills_up_is_a_sentence(server, target, monkeypatch):
    def full(done, total):
        raise OSError(28, "No space left on device")

    with pytest.raises(EditError, match="no space left on device; make room"):
        fetch(target, server.url, SHA256, full)
    assert target.with_name("model.safetensors.part").exists(), "what is there already is kept"


def test_no_network_or_no_such_file_is_a_sentence(server, target):
    with pytest.raises(EditError, match="404 Not Found"):
        fetch(target, server.url + "x", SHA256)
    with pytest.raises(EditError, match=r"is there a network"):
        fetch(target, "http://127.0.0.1:1/model.safetensors", SHA256)


def test_a_webuis_model_folder_is_found(tmp_path):
    with pytest.raises(EditError, match="holds no WebUI"):
        place_in_webui(tmp_path)
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    assert place_in_webui(tmp_path) == folder


@pytest.mark.skipif(os.name != "posix", reason="locks of files are Unix's here")
def test_a_second_run_is_told_that_one_is_under_way_and_takes_nothing_from_it(server, target):
    part = target.with_name(target.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with open(part, "wb") as other:
        other.write(CONTENT[:1000])
        other.flush()
        take_lock(other)
        with pytest.raises(EditError, match=r"Another run fetches .*: wait"):
            fetch(target, server.url, SHA256)
    assert part.read_bytes() == CONTENT[:1000] and not target.exists() and server.ranges == []
    fetch(target, server.url, SHA256)
    assert target.read_bytes() == CONTENT and server.ranges == ["bytes=1000-"]
