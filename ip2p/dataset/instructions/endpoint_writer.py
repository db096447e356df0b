"""Any server that speaks OpenAI's API, through the `openai` package: several requests at a time, each tried again where that may help."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from ...errors import EditError
from ...files import why
from . import few_shot
from .paper_format import STOP, completion
from .triplets import Answer, Ask

KEY = "OPENAI_API_KEY"
MANY = 10  # rows that fail one after the other, after which all would
FIRST_WAIT, LONGEST_WAIT = 1.0, 120.0  # seconds, whatever Retry-After says
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "edit",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"edit": {"type": "string"}, "output": {"type": "string"}},
            "required": ["edit", "output"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Service:
    """url: None for the environment's or OpenAI's own. requests: under way at a time; retries: of one that failed; timeout: seconds.
    temperature, max_tokens, examples: as of a local writer. answer: auto, schema or text. prompt: few-shot or caption. price: of a million
    tokens read and written; max_cost: where to stop."""

    url: str | None = None
    requests: int = 8
    retries: int = 6
    timeout: float = 120.0
    temperature: float = 0.7
    max_tokens: int = 256
    examples: int = few_shot.EXAMPLES
    answer: str = "auto"
    prompt: str = "few-shot"
    price: tuple[float, float] | None = None
    max_cost: float | None = None
    moderation: bool = False


@dataclass(frozen=True)
class Tried:
    """One attempt. text: in the paper's format. problem: "" where there is one. pause: seconds that the server asks to wait, None for its
    leaving that open."""

    text: str = ""
    problem: str = ""
    tokens: tuple[int, int] = (0, 0)
    pause: float | None = None


class EndpointWriter:
    """What fails for good is an answer with its problem; what would fail for every row ends the run."""

    def __init__(self, model: str, service: Service):
        from openai import OpenAI

        # The package's own retries would be hidden from the limit and from the count.
        self.client = OpenAI(api_key=os.environ.get(KEY) or "none", base_url=service.url, timeout=service.timeout, max_retries=0)
        self.model, self.service, self.version = model, service, "endpoint"
        self.prompt = few_shot.digest("messages", service.prompt, service.examples, service.answer)
        self.schema = service.answer != "text" and service.prompt != "caption"
        self.limit = "max_tokens"  # what OpenAI's newest models call otherwise
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.read = self.written = self.answered = self.failed = 0
        self.began = time.monotonic()

    def write(self, asks: Iterable[Ask], finished: Container[str]) -> Iterator[tuple[Ask, Answer]]:
        pool = ThreadPoolExecutor(self.service.requests)
        under_way: dict[Future[Answer], Ask] = {}
        try:
            for ask in asks:
                if ask.id in finished:
                    continue
                self.check_cost()
                under_way[pool.submit(self.answer_to, ask)] = ask
                if len(under_way) >= self.service.requests:
                    yield from self.arrived(under_way)
            while under_way:
                yield from self.arrived(under_way)
        finally:
            self.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            self.client.close()

    def arrived(self, under_way: dict[Future[Answer], Ask]) -> Iterator[tuple[Ask, Answer]]:
        """At least one of them, taken out. Raises EditError for what would fail for every row."""
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            answer = future.result()
            yield under_way.pop(future), answer
            self.failed = self.failed + 1 if answer.problem else 0
            if self.failed >= max(MANY, 2 * self.service.requests):
                raise EditError(
                    f"{self.client.base_url} failed for {self.failed} rows one after the other, the last by {answer.problem}. "
                    "What was written is kept: the same command goes on."
                )

    def check_cost(self) -> None:
        if self.service.max_cost is not None and self.cost >= self.service.max_cost:
            raise EditError(f"--max-cost is reached: {self.cost:.4f} of {self.service.max_cost:g}. What was written is kept.")

    @property
    def cost(self) -> float:
        price = self.service.price or (0.0, 0.0)
        return (self.read * price[0] + self.written * price[1]) / 1e6

    def spent(self, read: int, written: int) -> None:
        self.read, self.written = read, written

    def note(self) -> str:
        rate = self.answered / max(1e-9, time.monotonic() - self.began)
        cost = f", cost {self.cost:.4f}" if self.service.price else ""
        return f"{self.read + self.written:,} tokens{cost}, {60 * rate:.0f} rows a minute"

    def answer_to(self, ask: Ask) -> Answer:
        """Asks until there is an answer or no more retries. Raises EditError for what would fail for every row."""
        tokens = 0, 0
        for attempt in range(self.service.retries + 1):
            tried = self.attempt(ask)
            tokens = tokens[0] + tried.tokens[0], tokens[1] + tried.tokens[1]
            if not tried.problem:
                with self.lock:
                    self.answered += 1
                return Answer(tried.text, flagged=self.service.moderation and self.flagged(tried.text), tokens=tokens)
            if attempt < self.service.retries and self.stopped.wait(self.pause(attempt) if tried.pause is None else tried.pause):
                break
        return Answer(problem=f"{tried.problem}, {attempt + 1} times", tokens=tokens)

    def pause(self, attempt: int) -> float:
        """Doubled each time, drawn from its upper half so that requests that failed together do not come back together."""
        return min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1)

    def attempt(self, ask: Ask) -> Tried:
        """Raises EditError as `answer_to` does."""
        import openai

        schema = self.schema
        try:
            reply = self.client.chat.completions.create(**self.request(ask, schema))
        except openai.APIStatusError as e:
            return self.refused(e, schema)
        except openai.APITimeoutError:
            return Tried(problem=f"no answer within {self.service.timeout:g} s")
        except openai.APIConnectionError as e:
            if not self.answered:
                raise EditError(f"There is no server at {self.client.base_url}: {why(e.__cause__ or e)}.") from e  # type: ignore[arg-type]
            return Tried(problem="no connection")
        except (openai.APIError, ValueError) as e:  # a body that is no JSON
            return Tried(problem=f"an answer that can't be read ({type(e).__name__})")
        return self.read_reply(reply, schema)

    def refused(self, error: Any, schema: bool) -> Tried:
        status, said = error.status_code, str(error.message)
        if status in (400, 422) and "max_completion_tokens" in said and self.limit == "max_tokens":
            self.limit = "max_completion_tokens"
            return Tried(problem="it took no max_tokens", pause=0.0)
        if status in (400, 422) and schema and self.service.answer == "auto":
            self.schema = False  # text from now on
            return Tried(problem="it took no schema", pause=0.0)
        if status < 500 and status not in (408, 409, 429):
            raise EditError(self.refusal(status, said)) from error
        return Tried(problem=f"status {status}", pause=retry_after(error.response.headers))

    def request(self, ask: Ask, schema: bool) -> dict[str, Any]:
        service = self.service
        if service.prompt == "caption":
            messages = [{"role": "user", "content": ask.caption.text}]
        else:
            messages = few_shot.as_messages(ask, service.examples, schema)
        wanted: dict[str, Any] = {"model": self.model, "messages": messages, self.limit: service.max_tokens}
        wanted |= {"temperature": service.temperature, "seed": ask.seed % 2**31}
        return wanted | ({"response_format": SCHEMA} if schema else {"stop": [STOP]} if service.prompt != "caption" else {})

    def read_reply(self, reply: Any, schema: bool) -> Tried:
        usage = getattr(reply, "usage", None)
        tokens = getattr(usage, "prompt_tokens", 0) or 0, getattr(usage, "completion_tokens", 0) or 0
        with self.lock:
            self.read += tokens[0]
            self.written += tokens[1]
        try:
            content, ended = reply.choices[0].message.content, reply.choices[0].finish_reason != "length"
        except (AttributeError, IndexError, TypeError):
            content, ended = None, False
        if not isinstance(content, str):
            return Tried(problem="an answer without a text", tokens=tokens)
        found = from_json(content)
        if found is not None:
            return Tried(completion(*found), tokens=tokens)
        if schema and content.lstrip().startswith("{"):
            return Tried(problem="JSON that is cut off or has not the texts edit and output", tokens=tokens)
        # A server takes the mark at which it stops out of the text.
        return Tried(content + ("" if STOP in content or not ended else STOP), tokens=tokens)

    def refusal(self, status: int, said: str) -> str:
        if status in (401, 403):
            return f"{self.client.base_url} refuses the key in {KEY} (status {status}): set the right one."
        said = " ".join(said.replace(self.client.api_key, "…").split())[:200]
        return f"{self.client.base_url} refuses the request (status {status}): {said}."

    def flagged(self, text: str) -> bool:
        """Raises EditError where the endpoint has no moderation."""
        import openai

        try:
            return any(result.flagged for result in self.client.moderations.create(input=text).results)
        except openai.APIError as e:
            raise EditError(f"{self.client.base_url} has no moderation that answers ({type(e).__name__}): leave --moderation out.") from e


def from_json(content: str) -> tuple[str, str] | None:
    """The texts edit and output of an object, in whatever fence it comes."""
    try:
        found = json.loads(content[content.index("{") : content.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("edit", "output")):
        return None
    return found["edit"].strip(), found["output"].strip()


def retry_after(headers: Any) -> float | None:
    """Seconds, at most LONGEST_WAIT; None where the server says none, or a date."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None
