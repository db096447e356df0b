"""Any server that speaks OpenAI's API, through the `openai` package: each request tried again where that may help, and what they cost."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .errors import EditError
from .files import why

KEY = "OPENAI_API_KEY"
MANY = 10  # that fail one after the other, after which all would
FIRST_WAIT, LONGEST_WAIT = 1.0, 120.0  # seconds, whatever Retry-After says


@dataclass(frozen=True)
class Service:
    """url: None for the environment's or OpenAI's own. requests: under way at a time; retries: of one that failed; timeout: seconds.
    price: of a million tokens read and written; max_cost: where to stop."""

    url: str | None = None
    requests: int = 8
    retries: int = 6
    timeout: float = 120.0
    price: tuple[float, float] | None = None
    max_cost: float | None = None


@dataclass(frozen=True)
class Content:
    """Of an answer. whole: it was not cut off; schema: it was asked for by one."""

    text: str
    whole: bool
    schema: bool


@dataclass(frozen=True)
class Tried:
    """One attempt. text: what `read` made of the answer. problem: "" where there is a text. pause: seconds that the server asks to wait,
    None for its leaving that open."""

    text: str = ""
    problem: str = ""
    tokens: tuple[int, int] = (0, 0)
    pause: float | None = None


Request = Callable[[bool], dict[str, Any]]  # whether by a schema → messages and what else is asked with
Read = Callable[[Content], tuple[str, str]]  # → a text, or "" and the problem


class Endpoint:
    """What fails for good is an answer with its problem; what would fail for every request is an EditError."""

    def __init__(self, model: str, service: Service, answer: str = "text"):
        """answer: text, schema (of JSON), or auto: by a schema, and as text where the server takes none."""
        from openai import OpenAI

        # The package's own retries would be hidden from the limit and from the count.
        self.client = OpenAI(api_key=os.environ.get(KEY) or "none", base_url=service.url, timeout=service.timeout, max_retries=0)
        self.model, self.service = model, service
        self.schema, self.required = answer != "text", answer == "schema"
        self.limit = "max_tokens"  # what OpenAI's newest models call otherwise
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.read = self.written = self.answered = self.failed = 0
        self.began = time.monotonic()

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    def close(self) -> None:
        """Requests under way are not tried again."""
        self.stopped.set()
        self.client.close()

    def count(self, problem: str, what: str) -> None:
        """Of every answer, in the order they come. what: is asked about, in the plural. Raises EditError once many failed one after
        the other."""
        self.failed = self.failed + 1 if problem else 0
        if self.failed >= max(MANY, 2 * self.service.requests):
            raise EditError(
                f"{self.url} failed for {self.failed} {what} one after the other, the last by {problem}. "
                "What was written is kept: the same command goes on."
            )

    def check_cost(self) -> None:
        if self.service.max_cost is not None and self.cost >= self.service.max_cost:
            raise EditError(f"--max-cost is reached: {self.cost:.4f} of {self.service.max_cost:g}. What was written is kept.")

    @property
    def cost(self) -> float:
        price = self.service.price or (0.0, 0.0)
        return (self.read * price[0] + self.written * price[1]) / 1e6

    def note(self, what: str) -> str:
        rate = self.answered / max(1e-9, time.monotonic() - self.began)
        cost = f", cost {self.cost:.4f}" if self.service.price else ""
        return f"{self.read + self.written:,} tokens{cost}, {60 * rate:.0f} {what} a minute"

    def answer(self, request: Request, read: Read) -> Tried:
        """Asks until there is an answer or no more retries; tokens: of all attempts. Raises EditError for what would fail every time."""
        tokens = 0, 0
        for attempt in range(self.service.retries + 1):
            tried = self.attempt(request, read)
            tokens = tokens[0] + tried.tokens[0], tokens[1] + tried.tokens[1]
            if not tried.problem:
                with self.lock:
                    self.answered += 1
                return Tried(tried.text, tokens=tokens)
            if attempt < self.service.retries and self.stopped.wait(pause(attempt) if tried.pause is None else tried.pause):
                break
        return Tried(problem=f"{tried.problem}, {attempt + 1} times", tokens=tokens)

    def attempt(self, request: Request, read: Read) -> Tried:
        """Raises EditError as `answer` does."""
        import openai

        schema = self.schema
        wanted = request(schema)
        wanted[self.limit] = wanted.pop("max_tokens")
        try:
            reply = self.client.chat.completions.create(model=self.model, **wanted)
        except openai.APIStatusError as e:
            return self.refused(e, schema)
        except openai.APITimeoutError:
            return Tried(problem=f"no answer within {self.service.timeout:g} s")
        except openai.APIConnectionError as e:
            if not self.answered:
                raise EditError(f"There is no server at {self.url}: {why(e.__cause__ or e)}.") from e  # type: ignore[arg-type]
            return Tried(problem="no connection")
        except (openai.APIError, ValueError) as e:  # a body that is no JSON
            return Tried(problem=f"an answer that can't be read ({type(e).__name__})")
        return self.read_reply(reply, schema, read)

    def refused(self, error: Any, schema: bool) -> Tried:
        status, said = error.status_code, str(error.message)
        if status in (400, 422) and "max_completion_tokens" in said and self.limit == "max_tokens":
            self.limit = "max_completion_tokens"
            return Tried(problem="it took no max_tokens", pause=0.0)
        if status in (400, 422) and schema and not self.required:
            self.schema = False  # text from now on
            return Tried(problem="it took no schema", pause=0.0)
        if status < 500 and status not in (408, 409, 429):
            raise EditError(self.refusal(status, said)) from error
        return Tried(problem=f"status {status}", pause=retry_after(error.response.headers))

    def read_reply(self, reply: Any, schema: bool, read: Read) -> Tried:
        usage = getattr(reply, "usage", None)
        tokens = getattr(usage, "prompt_tokens", 0) or 0, getattr(usage, "completion_tokens", 0) or 0
        with self.lock:
            self.read += tokens[0]
            self.written += tokens[1]
        try:
            content, whole = reply.choices[0].message.content, reply.choices[0].finish_reason != "length"
        except (AttributeError, IndexError, TypeError):
            content, whole = None, False
        if not isinstance(content, str):
            return Tried(problem="an answer without a text", tokens=tokens)
        text, problem = read(Content(content, whole, schema))
        return Tried(text, problem, tokens)

    def refusal(self, status: int, said: str) -> str:
        if status in (401, 403):
            return f"{self.url} refuses the key in {KEY} (status {status}): set the right one."
        said = " ".join(said.replace(self.client.api_key, "…").split())[:200]
        return f"{self.url} refuses the request (status {status}): {said}."


def pause(attempt: int) -> float:
    """Doubled each time, drawn from its upper half so that requests that failed together do not come back together."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1)


def retry_after(headers: Any) -> float | None:
    """Seconds, at most LONGEST_WAIT; None where the server says none, or a date."""
    try:
        return min(LONGEST_WAIT, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return None
