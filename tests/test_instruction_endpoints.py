"""`dataset instructions --writer endpoint`: what is asked, what comes of each failure, and a real server."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("openai", reason="endpoints need openai (pip install -e '.[data]')")
pytest.importorskip("rapidfuzz", reason="instructions need rapidfuzz (pip install -e '.[data]')")

from endpoint_server import edit_of, error, reply, serving, slow
from instruction_cases import CAPTIONS, THINGS, write_captions
from ip2p.__main__ import main
from ip2p.dataset.instructions.endpoint_writer import Asking, EndpointWriter, from_json
from ip2p.dataset.instructions.few_shot import seed_rows
from ip2p.dataset.instructions.triplets import Caption, asks_of
from ip2p.endpoint import Service, pause, retry_after
from test_cli_dataset import ran

KEY = "sk-very-secret"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("ip2p.endpoint.FIRST_WAIT", 0.01)


@pytest.fixture
def captions(tmp_path):
    return write_captions(tmp_path / "captions.txt")


def made(capsys, server, captions, folder, *options):
    url = server if isinstance(server, str) else server.url
    arguments = ("instructions", captions, "--output", folder, "--writer", "endpoint", "--model", "m", "--url", url, *options)
    status, out, err = ran(capsys, *arguments)
    return status, out, err[1:] if err and err[0].endswith("are to be written.") else err


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf8").splitlines()]


def answers(server, captions, **settings):
    settings = {"url": server.url, "requests": 1, "timeout": 5.0, **settings}
    writer = EndpointWriter("m", Service(**settings), Asking())
    return [answer for _, answer in writer.write([asks_of(Caption(caption), 1, 0)[0] for caption in captions], ())]


def test_every_caption_is_asked_with_its_own_rows_that_people_wrote_and_a_schema(captions, tmp_path, capsys):
    with serving(lambda caption, _: edit_of(caption)) as server:
        status, _, err = made(capsys, server, captions, tmp_path / "run", "--examples", 9, "--price", "1,10")
    assert (status, err) == (0, []) and len(lines(tmp_path / "run" / "rows.jsonl")) == len(CAPTIONS)
    written = {(row["input"], row["edit"], row["output"]) for row in seed_rows()}
    shown = set()
    for body in server.asked:
        system, *examples, last = body["messages"]
        pairs = [(user["content"], *json.loads(assistant["content"]).values()) for user, assistant in zip(examples[::2], examples[1::2])]
        assert len(pairs) == 9 and set(pairs) <= written and last["content"] in CAPTIONS and "JSON" in system["content"]
        assert body["response_format"]["json_schema"]["strict"] and body["max_tokens"] == 256
        shown.add(tuple(pairs))
    assert len(shown) == len(CAPTIONS)
    assert server.keys == {f"Bearer {KEY}"}


def test_the_key_is_in_no_file_and_no_sentence(captions, tmp_path, capsys):
    with serving(lambda caption, _: edit_of(caption)) as server:
        said = made(capsys, server, captions, tmp_path / "run")
    with serving(lambda *_: error(400, message=f"the key {KEY} may not do this")) as server:
        said += made(capsys, server, captions, tmp_path / "refused", "--answer", "text")
    with serving(lambda *_: error(401, message=f"Incorrect API key provided: {KEY}")) as server:
        said += made(capsys, server, captions, tmp_path / "unknown")
    assert said[0] == 0 and said[3] == said[6] == 2 and "refuses the key in OPENAI_API_KEY" in said[8][0]
    assert KEY not in repr(said)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def after(*failures):
    """These, one each time, and then an edit."""
    return lambda caption, number: failures[number] if number < len(failures) else edit_of(caption)


@pytest.mark.parametrize(
    "failure",
    [
        error(429),
        error(429, {"Retry-After": "0.05"}),
        error(429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        error(500),
        error(503, {"Retry-After": "0"}),
        (200, {}, '{"id": "1", "choices": [{"mess'),
        (200, {}, "<html>busy</html>"),
        (200, {}, {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []}),
        reply(None),
        reply('{"edit": "make it winter", "outp'),
        reply('{"edit": "make it winter"}'),
        reply('{"edit": 7, "output": "a dog"}'),
    ],
)
def test_a_failure_is_tried_again_and_then_set_aside(failure):
    with serving(after(failure, failure)) as server:
        (answer,) = answers(server, ["a dog"], retries=2)
        assert answer.text == "make it winter\n%%\na dog in winter\nEND" and len(server.asked) == 3
    with serving(after(failure, failure)) as server:
        (answer,) = answers(server, ["a dog"], retries=1)
        assert not answer.text and answer.problem.endswith("2 times") and len(server.asked) == 2


def test_an_endpoint_that_hangs_is_tried_again():
    over = threading.Event()  # the first is not answered before the second is
    with serving(lambda caption, number: (number or over.wait(60)) and edit_of(caption)) as server:
        (answer,) = answers(server, ["a dog"], timeout=2.0)
        over.set()
        assert answer.text and len(server.asked) == 2


def test_it_waits_as_long_as_it_is_told_and_else_longer_each_time(monkeypatch):
    monkeypatch.setattr("ip2p.endpoint.FIRST_WAIT", 1.0)
    assert retry_after({"retry-after": "7"}) == 7 and retry_after({"retry-after": "9999"}) == 120
    assert retry_after({}) is None and retry_after({"retry-after": "tomorrow"}) is None
    assert all(2**i / 2 <= pause(i) <= 2**i for i in range(7)) and pause(30) <= 120
    with serving(after(error(429, {"Retry-After": "0.5"}))) as server:
        began = time.monotonic()
        answers(server, ["a dog"])
        assert time.monotonic() - began >= 0.5


def test_a_server_without_schemas_is_asked_for_text(captions, tmp_path, capsys):
    def behaviour(caption, _):
        body = server.asked[-1]
        return (
            error(400, message="response_format is not supported")
            if "response_format" in body
            else reply(f"add snow\n%%\n{caption} in snow")
        )

    with serving(behaviour) as server:
        status, *_ = made(capsys, server, captions, tmp_path / "run", "--requests", 1)
    assert status == 0 and len(lines(tmp_path / "run" / "rows.jsonl")) == len(CAPTIONS) and len(server.asked) == len(CAPTIONS) + 1
    assert server.asked[-1]["stop"] == ["\nEND"] and server.asked[-1]["messages"][2]["content"].endswith("\nEND")


@pytest.mark.parametrize(
    "content, found",
    [
        ('{"edit": " a ", "output": "b"}', ("a", "b")),
        ('```json\n{"edit": "a", "output": "b"}\n```', ("a", "b")),
        ("[" * 100_000, None),
        ('{"edit": "a"}', None),
        ("a\n%%\nb", None),
    ],
)
def test_an_object_is_found_in_whatever_fence(content, found):
    assert from_json(content) == found


def test_no_more_requests_are_under_way_than_allowed(captions, tmp_path, capsys):
    together = threading.Event()  # the first waits until three are there

    def behaviour(caption, _):
        if server.most >= 3:
            together.set()
        together.wait(30)
        return slow(0.05, edit_of(caption))

    with serving(behaviour) as server:
        assert made(capsys, server, captions, tmp_path / "run", "--requests", 3)[0] == 0
    assert server.most == 3


def test_it_stops_at_the_cost_and_goes_on_with_a_higher_one(captions, tmp_path, capsys):
    with serving(lambda caption, _: edit_of(caption)) as server:  # 100 and 20 tokens: 0.0003 a row
        paid = ("--requests", 1, "--price", "1,10", "--max-cost")
        status, _, (said,) = made(capsys, server, captions, tmp_path / "run", *paid, 0.0015)
        assert status == 2 and "--max-cost is reached: 0.0015 of 0.0015" in said and len(server.asked) == 5
        assert made(capsys, server, captions, tmp_path / "run", *paid, 0.0015)[0] == 2 and len(server.asked) == 5
        assert made(capsys, server, captions, tmp_path / "run", *paid, 1)[0] == 0 and len(server.asked) == len(CAPTIONS)


def test_moderation_sets_rows_aside(captions, tmp_path, capsys):
    def behaviour(caption, _):
        edit = "add a knife" if "boat" in caption else "add snow"
        return reply(json.dumps({"edit": edit, "output": f"{caption} with {edit[4:]}"}))

    with serving(behaviour) as server:
        assert made(capsys, server, captions, tmp_path / "run", "--moderation")[0] == 0
    aside = lines(tmp_path / "run" / "rejected.jsonl")
    assert {row["reason"] for row in aside} == {"moderation"} and all("boat" in row["input"] for row in aside) and len(aside) == 2


def test_what_failed_is_set_aside_with_its_reason_and_asked_for_again_by_the_next_run(captions, tmp_path, capsys):
    broken = set(THINGS[:2])
    with serving(lambda caption, _: error(500) if broken & set(caption.split()) else edit_of(caption)) as server:
        status, out, _ = made(capsys, server, captions, tmp_path / "run", "--retries", 1, "--requests", 2)
        assert status == 0 and "the writer failed" in out
        aside = lines(tmp_path / "run" / "rejected.jsonl")
        assert len(aside) == 4 and {row["problem"] for row in aside} == {"status 500, 2 times"}
        broken.clear()
        asked = len(server.asked)
        assert made(capsys, server, captions, tmp_path / "run", "--retries", 1, "--requests", 2)[0] == 0
    assert len(server.asked) == asked + 4 and len(lines(tmp_path / "run" / "rows.jsonl")) == len(CAPTIONS)
    assert not lines(tmp_path / "run" / "rejected.jsonl")


def test_an_endpoint_that_is_not_there_refuses_or_fails_for_every_row_is_a_sentence(captions, tmp_path, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    status, _, (said,) = made(capsys, url, captions, tmp_path / "nobody")
    assert status == 2 and f"There is no server at {url}" in said
    with serving(lambda *_: error(404, message="The model `m` does not exist")) as server:
        status, _, (said,) = made(capsys, server, captions, tmp_path / "unknown")
    assert status == 2 and "status 404" in said and "does not exist" in said
    with serving(lambda *_: error(500)) as server:
        status, _, (said,) = made(capsys, server, captions, tmp_path / "broken", "--retries", 0, "--requests", 2)
    assert status == 2 and "failed for 10 rows one after the other, the last by status 500" in said
    assert len(lines(tmp_path / "broken" / "answers.jsonl")) >= 10


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def served(folder, port, log):
    """`transformers serve` of the folder, answering."""
    import urllib.request

    script = "import sys; from transformers.cli.transformers import main; main()"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    arguments = [sys.executable, "-c", script, "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log)
    for _ in range(6000):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return process
        except OSError:
            assert process.poll() is None, "the server did not start"
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def test_a_real_server_that_is_killed_in_between_ends_with_every_caption_once(tuned, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ip2p.endpoint.LONGEST_WAIT", 1.0)
    for package in ("fastapi", "uvicorn", "rich"):
        pytest.importorskip(package, reason="a real server needs transformers[serving]")
    captions = [f"a {thing} {place}" for thing in THINGS for place in ("at noon", "by night", "in May", "in fog", "on ice", "at sea", "")][
        :50
    ]
    write_captions(tmp_path / "captions.txt", captions)
    port, folder = free_port(), tmp_path / "run"
    arguments = [
        "dataset",
        "instructions",
        tmp_path / "captions.txt",
        "--output",
        folder,
        "--writer",
        "endpoint",
        "--model",
        tuned,
        "--url",
    ]
    arguments += [f"http://127.0.0.1:{port}/v1", "--prompt", "caption", "--max-tokens", 40, "--requests", 2, "--retries", 600]
    with open(tmp_path / "log", "wb") as log:
        server = served(tuned, port, log)
        ended: list[int] = []
        run = threading.Thread(target=lambda: ended.append(main(list(map(str, arguments)))))
        run.start()
        try:
            while run.is_alive() and (not (folder / "answers.jsonl").exists() or (folder / "answers.jsonl").read_bytes().count(b"\n") < 10):
                time.sleep(0.05)
            server.send_signal(signal.SIGKILL)
            server.wait()
            assert run.is_alive(), (tmp_path / "log").read_text()
            server = served(tuned, port, log)
            run.join(600)
        finally:
            server.kill()
            server.wait()
    assert ended == [0], capsys.readouterr().err
    answered = lines(folder / "answers.jsonl")
    assert sorted(row["input"] for row in answered) == sorted(caption.strip() for caption in captions), "none twice, none lost"
    kept, aside = lines(folder / "rows.jsonl"), lines(folder / "rejected.jsonl")
    assert len(kept) + len(aside) == 50 and len(kept) >= 10
    assert len({row["text"] for row in answered}) > 10, "the server samples, as the folder says"
