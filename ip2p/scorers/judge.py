"""A judge of pairs behind any server that speaks OpenAI's API and sees pictures: a question, and a number from 0 to 10."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from ..endpoint import Content, Endpoint, Service
from ..errors import EditError
from .pair_scorer import Judged, PairScorer, Scores

QUESTION = (
    "The second picture should be the first one after this edit: “{edit}”. How well is exactly that edit carried out, with everything else "
    "left as it was? Answer with a number from 0 (not at all) to 10 (perfectly), and nothing else."
)
HIGHEST = 10
SIDE, QUALITY = 512, 90  # of the pictures that are sent
MAX_TOKENS = 16
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Judging:
    """question: in which {edit}, {input} and {output} stand for the instruction and the captions."""

    service: Service = field(default_factory=Service)
    question: str = QUESTION


class Judge(PairScorer):
    scores = ("judge",)

    def __init__(self, model: str, judging: Judging):
        if not model:
            raise EditError("The judge needs a model's name: --scorer judge=MODEL.")
        self.endpoint, self.judging = Endpoint(model, judging.service), judging
        self.name = f"judge ({model})"
        self.version = hashlib.sha256(judging.question.encode()).hexdigest()[:16]

    def score(self, pairs: Sequence[Judged]) -> list[Scores | str]:
        self.endpoint.check_cost()
        with ThreadPoolExecutor(self.endpoint.service.requests) as pool:
            try:
                return list(pool.map(self.judged, pairs))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def judged(self, pair: Judged) -> Scores | str:
        """Raises EditError for what would fail for every pair."""
        tried = self.endpoint.answer(lambda _: self.request(pair), read)
        with self.endpoint.lock:
            self.endpoint.count(tried.problem, "pairs")
        return f"the judge gave {tried.problem}" if tried.problem else {"judge": float(tried.text)}

    def request(self, pair: Judged) -> dict[str, Any]:
        words = {"{edit}": pair.edit_prompt, "{input}": pair.original_prompt, "{output}": pair.edited_prompt}
        question = re.sub(r"\{(edit|input|output)\}", lambda match: words[match[0]], self.judging.question)
        content: list[dict[str, Any]] = [{"type": "text", "text": question}]
        content += [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in (pair.original_image, pair.edited_image)]
        return {"messages": [{"role": "user", "content": content}], "max_tokens": MAX_TOKENS, "temperature": 0.0}


def read(content: Content) -> tuple[str, str]:
    """→ the first number, or "" and the problem."""
    match = NUMBER.search(content.text)
    if not match or not 0 <= float(match[0]) <= HIGHEST:
        return "", f"an answer without a number from 0 to {HIGHEST}"
    return match[0], ""


def data_url(picture: Image.Image) -> str:
    small = picture.copy()
    small.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
