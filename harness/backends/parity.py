"""The same requests on two backends, and how far their answers lie apart.

The requests are those of the profile nano's embedded suites (held-out stories as rolling likelihood, choice items as likelihood) and, as greedy
text, how the stories go on. Both backends are sent the same token ids, cut to the shorter of their windows; nothing is taken from or kept in a store.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.answers import Answer, Journal
from harness.backends.rendering import Rendered
from harness.backends.subject import Subject
from harness.suites import Request, Sample, SuiteContext, SuiteError, load, spread

SUITES = ("perplexity", "choice", "generate")
STORY_TOKENS = 24  # generated for each story
STORY_CHARACTERS = 120  # of each story, given


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """One kind of request. Differences are of a request's summed log-probability (natural); shares lie in [0, 1], None where they say nothing."""

    kind: str
    requests: int
    largest: float | None = None
    mean: float | None = None
    largest_per_token: float | None = None
    same_greedy: float | None = None
    same_choice: float | None = None
    same_text: float | None = None

    def within(self, tolerance: float, agreement: float) -> bool:
        """No log-probability further apart than `tolerance`; flags, choices and texts alike in a share of `agreement` at least."""
        shares = [share for share in (self.same_greedy, self.same_choice, self.same_text) if share is not None]
        return (self.largest is None or self.largest <= tolerance) and all(share >= agreement for share in shares)


def samples(suites: Sequence[str], count: int) -> list[Sample]:
    """At most `count` samples a suite, from as many languages as that allows, always the same. Raises SuiteError for a suite that there is not."""
    from harness.builtin.nano import SUITES as NANO

    found: list[Sample] = []
    for name in suites:
        if name not in SUITES:
            raise SuiteError(f"no suite {name!r} to compare on: there is {', '.join(SUITES)}")
        source = "perplexity" if name == "generate" else name
        languages = NANO[source].languages[: max(1, count)]
        spec = dataclasses.replace(NANO[source], languages=tuple(languages))
        if source == "perplexity":
            spec = dataclasses.replace(spec, options={"sources": {one: spec.options["sources"][one] for one in languages}})
        made = list(load(spec, source).samples(SuiteContext(hub=None, profile_dir=".")))
        made = spread(made, -(-count // len(languages)))  # of each language and stratum: enough in any case
        taken = [sample for row in itertools.zip_longest(*_by_language(made)) for sample in row if sample is not None]
        chosen = taken[:count]
        found += map(_story, chosen) if name == "generate" else chosen
    return found


def _by_language(made: Sequence[Sample]) -> list[list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in made:
        found.setdefault(sample.language, []).append(sample)
    return list(found.values())


def _story(sample: Sample) -> Sample:
    start = sample.requests[0].context[:STORY_CHARACTERS]
    request = Request(kind="generate", context=start, settings={"max_tokens": STORY_TOKENS, "stop": ["\n\n"]})
    return dataclasses.replace(sample, sample=f"generate/{sample.sample}", requests=(request,))


def compare(
    checkpoint: Path, backends: Sequence[str], chosen: Sequence[Sample], say: Callable[[str], None] = lambda _: None, **settings: Any
) -> list[Difference]:
    """Ask both backends and take their answers apart; `settings` go to both `Subject`s. Raises BackendError or ModelError."""
    with tempfile.TemporaryDirectory(prefix="seatrials-parity-") as scratch:
        journals = [Journal(Path(scratch) / str(number), "0" * 64) for number in (0, 1)]
        subjects = [
            Subject(checkpoint, journal, weights="not filed", tokenizer_digest="not filed", backend=backend, **settings)
            for backend, journal in zip(backends, journals, strict=True)
        ]
        renderer = min((subject.renderer for subject in subjects), key=lambda one: one.window)
        rendered = [renderer.sample(sample) for sample in chosen]
        flat = [request for requests in rendered for request in requests]
        answers = []
        for backend, subject in zip(backends, subjects, strict=True):
            say(f"{backend}: {len(flat)} requests; {subject.identity.backend_version}")
            answers.append(subject.answer(flat)[0])
            subject.loaded = None  # one model in memory at a time
        for journal in journals:
            journal.close()
    return list(_differences(rendered, flat, *answers))


def _differences(
    rendered: Sequence[Sequence[Rendered]], flat: Sequence[Rendered], first: Sequence[Answer], second: Sequence[Answer]
) -> Iterator[Difference]:
    for kind in dict.fromkeys(request.kind for request in flat):
        pairs = [(a, b) for request, a, b in zip(flat, first, second, strict=True) if request.kind == kind]
        if kind == "generate":
            yield Difference(kind=kind, requests=len(pairs), same_text=_share([a["text"] == b["text"] for a, b in pairs]))
            continue
        gaps = [abs(a["logprob"] - b["logprob"]) for a, b in pairs]
        yield Difference(
            kind=kind,
            requests=len(pairs),
            largest=max(gaps),
            mean=sum(gaps) / len(gaps),
            largest_per_token=max(gap / a["tokens"] for gap, (a, _) in zip(gaps, pairs, strict=True)),
            same_greedy=_share([a["greedy"] == b["greedy"] for a, b in pairs]) if "greedy" in pairs[0][0] else None,
            same_choice=_share(list(_same_choices(rendered, first, second))) if kind == "loglikelihood" else None,
        )


def _same_choices(rendered: Sequence[Sequence[Rendered]], first: Sequence[Answer], second: Sequence[Answer]) -> Iterator[bool]:
    """For each item of several continuations, whether both backends find the same one likeliest."""
    at = 0
    for requests in rendered:
        size = len(requests)
        if size > 1 and requests[0].kind == "loglikelihood":
            sums = [[answer["logprob"] for answer in answers[at : at + size]] for answers in (first, second)]
            yield sums[0].index(max(sums[0])) == sums[1].index(max(sums[1]))
        at += size


def _share(same: Sequence[bool]) -> float | None:
    return sum(same) / len(same) if same else None


def table(found: Sequence[Difference]) -> str:
    """The differences for a person: a line a kind."""
    heads: Mapping[str, str] = {
        "kind": "request",
        "requests": "n",
        "largest": "max |d logprob|",
        "mean": "mean",
        "largest_per_token": "max a token",
        "same_greedy": "same greedy flag",
        "same_choice": "same choice",
        "same_text": "same text",
    }
    rows = [tuple(heads.values())]
    for one in found:
        values = [getattr(one, name) for name in heads]
        rows.append(tuple("-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value) for value in values))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
