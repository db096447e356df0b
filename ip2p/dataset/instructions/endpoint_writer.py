"""Instructions by a server that speaks OpenAI's API: what it is asked for each caption, several at a time, and what its answers say."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from ...endpoint import Content, Endpoint, Service
from ...errors import EditError
from . import few_shot
from .paper_format import STOP, completion
from .triplets import Answer, Ask

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
class Asking:
    """temperature, max_tokens, examples: as of a local writer. answer: auto, schema or text. prompt: few-shot or caption."""

    temperature: float = 0.7
    max_tokens: int = 256
    examples: int = few_shot.EXAMPLES
    answer: str = "auto"
    prompt: str = "few-shot"
    moderation: bool = False


class EndpointWriter:
    """What fails for good is an answer with its problem; what would fail for every row ends the run."""

    def __init__(self, model: str, service: Service, asking: Asking):
        self.endpoint = Endpoint(model, service, "text" if asking.prompt == "caption" else asking.answer)
        self.asking = asking
        self.model, self.version = model, "endpoint"
        self.prompt = few_shot.digest("messages", asking.prompt, asking.examples, asking.answer)

    def write(self, asks: Iterable[Ask], finished: Container[str]) -> Iterator[tuple[Ask, Answer]]:
        requests = self.endpoint.service.requests
        pool = ThreadPoolExecutor(requests)
        under_way: dict[Future[Answer], Ask] = {}
        try:
            for ask in asks:
                if ask.id in finished:
                    continue
                self.endpoint.check_cost()
                under_way[pool.submit(self.answer_to, ask)] = ask
                if len(under_way) >= requests:
                    yield from self.arrived(under_way)
            while under_way:
                yield from self.arrived(under_way)
        finally:
            self.endpoint.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            self.endpoint.close()

    def arrived(self, under_way: dict[Future[Answer], Ask]) -> Iterator[tuple[Ask, Answer]]:
        """At least one of them, taken out. Raises EditError for what would fail for every row."""
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            answer = future.result()
            yield under_way.pop(future), answer
            self.endpoint.count(answer.problem, "rows")

    def spent(self, read: int, written: int) -> None:
        self.endpoint.read, self.endpoint.written = read, written

    def note(self) -> str:
        return self.endpoint.note("rows")

    def answer_to(self, ask: Ask) -> Answer:
        """Raises EditError for what would fail for every row."""
        tried = self.endpoint.answer(lambda schema: self.request(ask, schema), read)
        flagged = self.asking.moderation and not tried.problem and self.flagged(tried.text)
        return Answer(tried.text, tried.problem, flagged=flagged, tokens=tried.tokens)

    def request(self, ask: Ask, schema: bool) -> dict[str, Any]:
        asking = self.asking
        if asking.prompt == "caption":
            messages = [{"role": "user", "content": ask.caption.text}]
        else:
            messages = few_shot.as_messages(ask, asking.examples, schema)
        wanted: dict[str, Any] = {"messages": messages, "max_tokens": asking.max_tokens}
        wanted |= {"temperature": asking.temperature, "seed": ask.seed % 2**31}
        return wanted | ({"response_format": SCHEMA} if schema else {"stop": [STOP]} if asking.prompt != "caption" else {})

    def flagged(self, text: str) -> bool:
        """Raises EditError where the endpoint has no moderation."""
        import openai

        try:
            return any(result.flagged for result in self.endpoint.client.moderations.create(input=text).results)
        except openai.APIError as e:
            raise EditError(f"{self.endpoint.url} has no moderation that answers ({type(e).__name__}): leave --moderation out.") from e


def read(content: Content) -> tuple[str, str]:
    """→ a text in the paper's format, or "" and the problem."""
    found = from_json(content.text)
    if found is not None:
        return completion(*found), ""
    if content.schema and content.text.lstrip().startswith("{"):
        return "", "JSON that is cut off or has not the texts edit and output"
    # A server takes the mark at which it stops out of the text.
    return content.text + ("" if STOP in content.text or not content.whole else STOP), ""


def from_json(content: str) -> tuple[str, str] | None:
    """The texts edit and output of an object, in whatever fence it comes."""
    try:
        found = json.loads(content[content.index("{") : content.rindex("}") + 1])
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), str) for name in ("edit", "output")):
        return None
    return found["edit"].strip(), found["output"].strip()
