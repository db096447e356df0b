"""One guided prediction of any network: which passes run, how they are run together, and equation 3 over what they give.

`GuidedDenoiser` is a denoiser as k-diffusion's samplers take one, `model(x, sigma) → x0`, around a network of your own. The
WebUI's denoiser and the editor's loop are made of the same pieces, in this order:

    rows = Rows(…)                                 every pass of every picture as a row: its latent, picture and text
    plan = plan_passes(weights, …)                 rows with equal inputs are merged, rows without weight dropped
    given = held.run(network, rows, plan, …)       the network's predictions, in as few calls as text lengths and memory allow; with a
                                                   cadence (`HeldPasses`) some are made of differences seen before
    plan.combine(given)                            equation 3 (`guidance.py`)
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import torch

from .guidance import PASSES, Cadence, Guidance, Scale, combine, pass_weights
from .scale_input import in_one_pass

NO_WEIGHT = 1e-6  # sums of prompt weights such as 0.1 + 0.2 miss zero by rounding

Text = torch.Tensor | Mapping[str, torch.Tensor]  # (tokens, width), or SDXL's dictionary of such
Network = Callable[..., torch.Tensor]  # of `Rows.inputs`


@dataclass(frozen=True)
class Rows:
    """Every pass of every picture of a batch as a row of the network's input.

    latent: (rows, 4, h, w), noised; level: (rows,), the noise level as the network takes it, σ or a timestep;
    picture: (rows, 4, h, w), the image condition, zeros in `uncond`; text: of every row;
    of_picture: for every picture its rows in the order of `guidance.pass_weights`: full_1 … full_n, image, uncond;
    scales: (rows, 2), the text and the image scale that a student is told (`scale_input.py`), those of its picture for every row.
    """

    latent: torch.Tensor
    level: torch.Tensor
    picture: torch.Tensor
    text: Sequence[Text]
    of_picture: Sequence[Sequence[int]]
    scales: torch.Tensor | None = None

    def inputs(self, rows: list[int]) -> tuple:
        """Latent, level, picture and text of some rows, and of a student the scales: the arguments of a `Network`."""
        scales = () if self.scales is None else (self.scales[rows],)
        return self.latent[rows], self.level[rows], self.picture[rows], stacked([self.text[row] for row in rows]), *scales

    def in_one_pass(
        self, scales: Sequence[tuple], prompt_weights: Sequence[Sequence[float]] | None = None
    ) -> tuple[Rows, list[list[float]]]:
        """(The same rows with the scales that a student is told, the weights of its passes). scales: of every picture (text, image);
        prompt_weights: of its sub-prompts, one of weight 1 for None."""
        of_pictures = [in_one_pass(*both, *(prompt_weights[i : i + 1] if prompt_weights else ())) for i, both in enumerate(scales)]
        told = torch.empty(len(self.text), 2, device=self.latent.device)
        for rows, (_, both) in zip(self.of_picture, of_pictures):
            told[list(rows)] = torch.tensor(both, device=told.device)
        return replace(self, scales=told), [weights for weights, _ in of_pictures]

    def equal(self, a: int, b: int) -> bool:
        """Whether two rows ask the network for the same thing."""
        return same(self.text[a], self.text[b]) and all(
            torch.equal(inputs[a], inputs[b]) for inputs in (self.picture, self.latent, self.level)
        )

    def of_one_length(self, rows: Iterable[int]) -> list[list[int]]:
        """`rows` in groups whose texts have one token count, which one call of the network can take."""
        groups: dict[int, list[int]] = {}
        for row in rows:
            groups.setdefault(token_count(self.text[row]), []).append(row)
        return list(groups.values())


@dataclass(frozen=True)
class Plan:
    """What to run of a batch whose passes are laid out row by row."""

    rows: tuple[int, ...]  # rows to run, each once, in rising order
    terms: tuple[tuple[tuple[int, Scale], ...], ...]  # of every picture: (position in `rows`, weight)
    representative: tuple[int, ...]  # of every row of the layout: position in `rows` of itself, its duplicate, or its nearest pass

    def combine(self, predictions: torch.Tensor) -> torch.Tensor:
        """predictions: (len(rows), …), of any parameterisation affine in ε → (pictures, …), equation 3."""
        return torch.stack([combine([predictions[i] for i, _ in terms], [weight for _, weight in terms]) for terms in self.terms])


def plan_passes(
    weights: Sequence[Sequence[Scale]],
    rows: Sequence[Sequence[int]],
    equal: Callable[[int, int], bool] = lambda a, b: False,
    always: Container[int] = (),
) -> Plan:
    """Merges passes with equal inputs, then drops those without weight.

    weights: for every picture those of its passes, as `pass_weights` gives them: numbers, or maps (h, w);
    rows: for every picture the row that each of its passes has in the layout;
    equal(a, b): whether two rows of one picture have equal inputs;
    always: rows that run whatever their weight (CFG++ renoises with `uncond` itself).
    """
    terms: list[dict[int, Scale]] = []  # of every picture: row to run → its weight
    representative: dict[int, int] = {}  # row of the layout → row whose prediction serves for it
    for picture_weights, picture_rows in zip(weights, rows):
        duplicate_of = first_equal(picture_rows, equal)
        merged: dict[int, Scale] = dict.fromkeys(duplicate_of.values(), 0.0)
        for row, weight in zip(reversed(picture_rows), reversed(picture_weights)):
            merged[duplicate_of[row]] = merged[duplicate_of[row]] + weight
        run = {row: weight for row, weight in merged.items() if weighs(weight) or row in always}
        terms.append(run)
        for row, duplicate in duplicate_of.items():
            representative[row] = duplicate if duplicate in run else min(run, key=lambda other: abs(other - row))
    run_rows = sorted(row for run in terms for row in run)
    position = {row: i for i, row in enumerate(run_rows)}
    return Plan(
        rows=tuple(run_rows),
        terms=tuple(tuple((position[row], weight) for row, weight in run.items()) for run in terms),
        representative=tuple(position[representative[row]] for row in sorted(representative)),
    )


def weighs(weight: Scale) -> bool:
    """Whether it is not zero, or of a map whether it is not so anywhere."""
    return bool(weight.abs().max() > NO_WEIGHT) if isinstance(weight, torch.Tensor) else abs(weight) > NO_WEIGHT


def first_equal(rows: Sequence[int], equal: Callable[[int, int], bool]) -> dict[int, int]:
    """Each row → the plainest row with equal inputs, itself if there is none: from `uncond` up to the fullest text, so that
    `full` becomes `image` where both are equal."""
    duplicate_of: dict[int, int] = {}
    for row in reversed(rows):
        plainer = dict.fromkeys(duplicate_of.values())
        duplicate_of[row] = next((other for other in plainer if equal(other, row)), row)
    return duplicate_of


def passes_needed(text_scale: float, image_scale: float, *, text_is_negative: bool = False) -> tuple[str, ...]:
    """Names of the passes that one picture needs at these scales; `text_is_negative`: the prompt equals the negative prompt."""
    equal = {frozenset((0, 1))} if text_is_negative else set()
    plan = plan_passes([pass_weights(text_scale, image_scale)], [range(3)], lambda a, b: frozenset((a, b)) in equal)
    return tuple(PASSES[row] for row in plan.rows)


class Runner:
    """Runs rows of a network: all at once, one pass after another, or one by one, and in smaller calls once memory ran out.

    by_pass: from the start one pass of all pictures after another;
    on_memory_shortage(): called when a call has failed for lack of memory, before the next, smaller one.
    `rows`: of every `run` how many rows the network was given.
    """

    def __init__(self, *, by_pass: bool = False, on_memory_shortage: Callable[[], None] = lambda: None):
        self.on_memory_shortage = on_memory_shortage
        self.by_pass, self.one_by_one = by_pass, False
        self.rows: list[int] = []

    def run(self, network: Network, rows: Rows, wanted: Sequence[int]) -> torch.Tensor:
        """Predictions of the rows `wanted`, (len(wanted), …). Raises torch's OutOfMemoryError when one row is too many.

        network(latent, level, picture, text) → its predictions, (rows, …), of some of the rows; a student is given their scales too, (rows, 2).
        """
        pictures = len(rows.of_picture)
        while True:
            limit = 1 if self.one_by_one else pictures if self.by_pass else len(wanted)
            try:
                predictions = self._calls(network, rows, wanted, limit)
            except torch.cuda.OutOfMemoryError:
                if limit == 1:
                    raise
                self.one_by_one = self.by_pass or pictures == 1
                self.by_pass = True
            else:
                self.rows.append(len(wanted))
                return predictions
            # Outside the handler, where the failed call's tensors are no longer held by its traceback.
            self.on_memory_shortage()

    def _calls(self, network: Network, rows: Rows, wanted: Sequence[int], limit: int) -> torch.Tensor:
        predictions: dict[int, torch.Tensor] = {}
        for group in rows.of_one_length(wanted):
            for start in range(0, len(group), limit):
                part = group[start : start + limit]
                predictions.update(zip(part, network(*rows.inputs(part))))
        return torch.stack([predictions[row] for row in wanted])


@dataclass(frozen=True)
class Stage:
    """The rows of one pass in a picture's plan: one, or of `full` one for every sub-prompt. kind: its place in `PASSES`; places: in the
    plan's rows; weights: theirs."""

    kind: int
    places: tuple[int, ...]
    weights: tuple[Scale, ...]

    def mean(self, predictions: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Of sub-prompts in proportion to their weights' sizes, so that each weighs as much when what follows is held."""
        sizes = [float(torch.as_tensor(weight).abs().mean()) for weight in self.weights]
        return combine([predictions[place] for place in self.places], [size / sum(sizes) for size in sizes])


def stages(plan: Plan, picture: int, rows: Sequence[int]) -> list[Stage]:
    """A picture's passes in its plan, from the fullest on. rows: all of the picture's in the layout."""
    by_kind: dict[int, list[tuple[int, Scale]]] = {}
    for place, weight in sorted(plan.terms[picture], key=lambda term: term[0]):
        by_kind.setdefault(max(rows.index(plan.rows[place]) - len(rows) + len(PASSES), 0), []).append((place, weight))
    return [
        Stage(kind, tuple(place for place, _ in terms), tuple(weight for _, weight in terms)) for kind, terms in sorted(by_kind.items())
    ]


@dataclass(frozen=True)
class Seen:
    """Two passes of one call. difference: the fuller less the plainer, in ε; call: its number; conditions: texts and pictures of both."""

    difference: torch.Tensor
    call: int
    conditions: Sequence[tuple[Text, torch.Tensor]]


class HeldPasses:
    """Runs the passes of each picture as often as its cadence says. One that does not run is made of the pass before it and of how far
    the two were apart, in ε, when both last ran. With f, i, u for the passes that run and […] for what is held:

        i = f − [f − i]        u = i − [i − u]        ê = f + (s_T − 1)·[f − i] + (s_I − 1)·[i − u]

    A difference is seen anew after its number of calls, when a text or a picture has changed, and when the noise level has risen (Restart).

    per_epsilon(level): (rows,) → (rows,), by how much a prediction changes where ε changes by one: −σ for x0 in k-diffusion's scaling,
    1 for ε, 1/α for v = α·ε − σ·x0.
    """

    def __init__(self, runner: Runner, per_epsilon: Callable[[torch.Tensor], torch.Tensor]):
        self.runner, self.per_epsilon = runner, per_epsilon
        self.calls, self.level = 0, float("inf")
        self.seen: dict[tuple[int, int, int], Seen] = {}  # by picture, the fuller pass and the plainer one

    def forget(self) -> None:
        """When another network takes over."""
        self.seen.clear()

    def run(self, network: Network, rows: Rows, plan: Plan, cadence: Sequence[Cadence]) -> torch.Tensor:
        """Predictions of the plan's rows, (len(plan.rows), …). cadence: of every picture."""
        if all(one.exact for one in cadence):
            return self.runner.run(network, rows, plan.rows)
        level = float(rows.level.max())
        if level > self.level:
            self.forget()
        self.level = level
        pairs = [[*pairwise(stages(plan, i, of_picture))] for i, of_picture in enumerate(rows.of_picture)]
        idle = {place for i, one in enumerate(pairs) for place in self._idle(i, one, rows, plan, cadence[i])}
        wanted = [place for place in range(len(plan.rows)) if place not in idle]
        predictions = dict(zip(wanted, self.runner.run(network, rows, [plan.rows[place] for place in wanted])))
        slopes = self.per_epsilon(rows.level)
        for i, fuller, plainer in ((i, *pair) for i, one in enumerate(pairs) for pair in one):
            key, (place,), before = (i, fuller.kind, plainer.kind), plainer.places, fuller.mean(predictions)
            slope = slopes[plan.rows[place]]
            if place in idle:
                predictions[place] = before - self.seen[key].difference * slope if key in self.seen else before
            elif cadence[i].between(fuller.kind, plainer.kind) > 1:
                self.seen[key] = Seen((before - predictions[place]) / slope, self.calls, conditions_of_both(fuller, plainer, rows, plan))
        self.calls += 1
        return torch.stack([predictions[place] for place in range(len(plan.rows))])

    def _idle(self, picture: int, pairs: Sequence[tuple[Stage, Stage]], rows: Rows, plan: Plan, cadence: Cadence) -> list[int]:
        """Which of a picture's places are held in this call. The weight of a held pass falls to the one before it, which may be left with
        none; where a pass runs, so do those before it, from which its distance is seen."""
        idle: list[int] = []
        falling: Scale = 0.0
        runs = False
        for fuller, plainer in reversed(pairs):
            falling = plainer.weights[0] + falling
            held = self.seen.get((picture, fuller.kind, plainer.kind))
            if not runs and weighs(falling):
                every, conditions = cadence.between(fuller.kind, plainer.kind), conditions_of_both(fuller, plainer, rows, plan)
                runs = held is None or self.calls >= held.call + every or not alike(held.conditions, conditions)
            if runs:
                falling = 0.0
            else:
                idle += plainer.places
        return idle


def conditions_of_both(fuller: Stage, plainer: Stage, rows: Rows, plan: Plan) -> list[tuple[Text, torch.Tensor]]:
    return [(rows.text[row], rows.picture[row]) for row in (plan.rows[place] for place in (*fuller.places, *plainer.places))]


def alike(a: Sequence[tuple[Text, torch.Tensor]], b: Sequence[tuple[Text, torch.Tensor]]) -> bool:
    return len(a) == len(b) and all(same(text, other) and torch.equal(picture, its) for (text, picture), (other, its) in zip(a, b))


class GuidedDenoiser:
    """model(x, sigma): equation 3 around a network, as a denoiser that k-diffusion's samplers take.

    network(latent, sigma, picture, text) → its prediction of the same rows; what it predicts (x0 for k-diffusion, or ε or v for
    samplers that take those) is what this gives;
    picture: (b, 4, h, w), the mode of the pictures' posterior, unscaled; text, negative: for every picture (tokens, width);
    guidance: for every picture; progress(sigma): the share of the noise levels left behind, in [0, 1], which a schedule needs
    (`guidance.progress_at` of a timestep); per_epsilon: as of `HeldPasses`, which a cadence needs; student: the network predicts ê itself and
    is given both scales as a fifth argument, (rows, 2), so that `full` alone runs (`scale_input.py`). Further options are those of `Runner`,
    whose count of rows is `runner.rows`. Raises ValueError for a schedule without `progress` and a cadence without `per_epsilon`.
    """

    def __init__(
        self,
        network: Network,
        picture: torch.Tensor,
        text: Sequence[Text],
        negative: Sequence[Text],
        guidance: Sequence[Guidance],
        progress: Callable[[float], float] | None = None,
        per_epsilon: Callable[[torch.Tensor], torch.Tensor] | None = None,
        student: bool = False,
        **options,
    ):
        if progress is None and any(one.scheduled for one in guidance):
            raise ValueError("a schedule needs to know how far a noise level is: give `progress`")
        if per_epsilon is None and not all(one.cadence.exact for one in guidance):
            raise ValueError("a cadence needs to know what the network predicts: give `per_epsilon`")
        pictures, self.student = len(picture), student
        self.network, self.guidance, self.progress, self.runner = network, guidance, progress, Runner(**options)
        self.held = HeldPasses(self.runner, per_epsilon or torch.ones_like)
        self.picture = torch.cat([picture, picture, torch.zeros_like(picture)])
        self.text = [*text, *negative, *negative]
        self.of_picture = [range(i, 3 * pictures, pictures) for i in range(pictures)]
        # The conditions stay the same from call to call, so they are compared once.
        self.equal = {
            frozenset(pair)
            for rows in self.of_picture
            for pair in combinations(rows, 2)
            if same(self.text[pair[0]], self.text[pair[1]]) and torch.equal(self.picture[pair[0]], self.picture[pair[1]])
        }

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **_) -> torch.Tensor:
        """x: (b, 4, h, w), noised; sigma: (b,) → (b, 4, h, w)."""
        rows = Rows(torch.cat([x, x, x]), torch.cat([sigma, sigma, sigma]), self.picture, self.text, self.of_picture)
        progress = [self.progress(level) if self.progress else 0.0 for level in sigma.tolist()]
        scales = [guidance.at(share) for guidance, share in zip(self.guidance, progress)]
        weights: Sequence[Sequence[Scale]]
        if self.student:
            rows, weights = rows.in_one_pass(scales)
        else:
            weights = [pass_weights(*both) for both in scales]
        plan = plan_passes(weights, self.of_picture, lambda a, b: frozenset((a, b)) in self.equal)
        return plan.combine(self.held.run(self.network, rows, plan, [one.cadence for one in self.guidance]))


def same(a: Text, b: Text) -> bool:
    """Equality of two tensors, or of two dictionaries of them."""
    if isinstance(a, Mapping) or isinstance(b, Mapping):
        return isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def token_count(text: Text) -> int:
    return len(text["crossattn"] if isinstance(text, Mapping) else text)


def stacked(texts: Sequence[Text]) -> Text:
    """(tokens, width) of some rows → (rows, tokens, width), or a dictionary of such."""
    if isinstance(texts[0], Mapping):
        return {key: torch.stack([text[key] for text in texts]) for key in texts[0]}  # type: ignore[index]
    return torch.stack(list(texts))  # type: ignore[arg-type]
