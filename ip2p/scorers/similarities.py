"""The filter's measures of InstructPix2Pix (arXiv 2211.09800, section 3.1.2), by any scorer of pictures and texts."""

from __future__ import annotations

from collections.abc import Sequence

from .pair_scorer import Judged, PairScorer, Scores
from .scorer import Scorer
from .vectors import cosine, directional_similarity


class Similarities(PairScorer):
    """Cosines in [−1, 1]: of both pictures (…_sim_image), of each picture and its caption (…_sim_0, …_sim_1) and of the pictures' change
    and the captions' (…_sim_dir), as the original code names them. Without captions, or a scorer that reads text, the first alone."""

    def __init__(self, scorer: Scorer):
        self.scorer, self.name, self.version = scorer, scorer.name, scorer.version
        parts = ("image", "0", "1", "dir") if scorer.reads_text else ("image",)
        self.scores = tuple(f"{scorer.key}_sim_{part}" for part in parts)

    def score(self, pairs: Sequence[Judged]) -> list[Scores | str]:
        vectors, joint = self.scorer.pictures([image for pair in pairs for image in (pair.original_image, pair.edited_image)])
        captions = [caption for pair in pairs for caption in (pair.original_prompt, pair.edited_prompt)]
        texts = self.scorer.texts(captions) if self.scorer.reads_text and any(captions) else None
        found: list[Scores | str] = []
        for n, pair in enumerate(pairs):
            before, after = 2 * n, 2 * n + 1
            values = [cosine(vectors[before], vectors[after])]
            if joint is not None and texts is not None and pair.original_prompt and pair.edited_prompt:
                values += [cosine(joint[i], texts[i]) for i in (before, after)]
                values.append(directional_similarity(joint[before], joint[after], texts[before], texts[after]))
            found.append(dict(zip(self.scores, values)))
        return found
