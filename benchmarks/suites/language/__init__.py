"""Language consistency: does a response stay in the language of its prompt?

Two kinds of prompt. `continue`: the beginning of a held-out document, which a base model must go on with in its language. `answer`: a passage
and a question about it, which a chat model must answer in theirs (chat template where the option `chat` is set). Responses are identified
by `training.identification`; what it abstains on is counted apart and is neither right nor wrong.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.suites.perplexity.texts import Text, as_sources, check_sources, repeated, texts
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, sift, spread
from training.identification import consistent, identify
from training.pretraining.sources import SourceError, rows_of
from training.recipe import WorldText
from training.world import items

SHOWN = 200  # characters of prompt and response that a person sees
LEAST = 40  # characters of a document that is cut in two
LONGEST = 240  # characters of a prompt: its language is plain long before, and every token of it is paid for


@dataclasses.dataclass(kw_only=True)
class LanguageSuite:
    """The suite. `sources` maps a language to text sources (`continue`); `prompts` names a JSONL of {"id", "language", "prompt"} (`answer`)."""

    name: str
    languages: Sequence[str]
    mode: Literal["continue", "answer"]
    sources: Mapping[str, Sequence[Any]]
    apart_from: Mapping[str, Sequence[Any]]
    prompts: str
    count: int
    max_tokens: int
    chat: bool
    quick: int
    version: int = 2  # 2: prompts of at most LONGEST characters

    def __post_init__(self) -> None:
        """Declare the metrics and check the mode and the sources."""
        self.facts: dict[str, Any] = {}
        if self.mode not in ("continue", "answer"):
            raise SuiteError(f"suite {self.name}: no mode {self.mode!r}; it is continue or answer")
        if self.mode == "continue":
            check_sources(self.name, self.languages, self.sources)
        self.metrics: Sequence[Metric] = (
            Metric(name="consistency", numerator="same", denominator="decided", direction="higher", ceiling=1.0),
            Metric(name="set_consistency", numerator="same_set", denominator="decided_set", direction="higher", ceiling=1.0),
            Metric(name="abstained", numerator="abstained", direction="lower", ceiling=1.0, binary=True),
            Metric(name="set_abstained", numerator="abstained_set", direction="lower", ceiling=1.0, binary=True),
        )

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a prompt. Raises SuiteError where a source or the file of prompts is amiss."""
        invalid: list[Sample] = []
        prompts = self._halves(context, invalid) if self.mode == "continue" else self._questions(context, invalid)
        found = [self._sample(text) for text in prompts]
        found, self.facts["invalid"] = sift(self.name, [*found, *invalid], self.languages)
        yield from (spread(found, self.quick) if context.samples == "quick" else found)

    def _sample(self, text: Text) -> Sample:
        settings = {"max_tokens": self.max_tokens, "stop": ["\n"] if self.mode == "answer" and not self.chat else []}
        asked = json.dumps({"messages": [{"role": "user", "content": text.text}]}, ensure_ascii=False) if self.chat else text.text
        request = Request(kind="generate", context=asked, settings=settings | ({"chat": True} if self.chat else {}))
        return Sample(
            sample=text.sample, cluster=text.cluster, language=text.language, stratum=text.stratum, requests=(request,), data=text.text
        )

    def _halves(self, context: SuiteContext, invalid: list[Sample]) -> Iterator[Text]:
        taken: dict[str, int] = {}
        short: dict[str, int] = {}
        self.facts["too short to be cut in two"] = short
        found = []
        for text in texts(self.name, self.languages, self.sources, context, invalid):
            if len(text.text) < LEAST:
                short[text.language] = short.get(text.language, 0) + 1
            else:
                found.append(text)
        asked = [dataclasses.replace(text, text=text.text[: _border(text.text)]) for text in found]
        both = [
            (text.sample, text.language, text.text) for text in (*found, *asked)
        ]  # a prompt may stand in training where its document does not
        known = repeated(self.name, both, self.apart_from, context)
        for text in asked:
            if text.sample in known or taken.get(text.language, 0) >= self.count:
                continue
            taken[text.language] = taken.get(text.language, 0) + 1
            yield text

    def _questions(self, context: SuiteContext, invalid: list[Sample]) -> Iterator[Text]:
        if self.prompts:
            yield from self._from_file(Path(context.profile_dir) / self.prompts, invalid)
            return
        for language in self.languages:
            for item in items.choice_items(language, self.count):
                yield Text(sample=item.id, cluster=item.cluster, language=language, stratum="", text=item.context)

    def _from_file(self, path: Path, invalid: list[Sample]) -> Iterator[Text]:
        try:
            for number, fields in enumerate(rows_of(path), 1):
                language = str(fields.get("language") or "")
                if language and language not in self.languages:
                    continue
                if lacking := [field for field in ("id", "language", "prompt") if not str(fields.get(field) or "").strip()]:
                    why = f"{path}, row {number} lacks {lacking[0]!r}; a prompt has id, language and prompt"
                    invalid.append(Sample(sample=f"row {number}", cluster=f"row {number}", language=language, invalid=why))
                    continue
                name = str(fields["id"])
                yield Text(sample=name, cluster=str(fields.get("cluster", name)), language=language, stratum="", text=str(fields["prompt"]))
        except (OSError, SourceError) as error:
            raise SuiteError(f"suite {self.name}: {error}") from error

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Whether the response is in the language of the prompt, strictly and as a confusion set, and whether that could be said."""
        text = answers[0]["text"]
        strict, as_set = consistent(text, sample.language), consistent(text, sample.language, as_set=True)
        found = identify(text)
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values={
                "same": float(strict is True),
                "decided": float(strict is not None),
                "same_set": float(as_set is True),
                "decided_set": float(as_set is not None),
                "abstained": float(strict is None),
                "abstained_set": float(as_set is None),
            },
            shown={"prompt": sample.data[-SHOWN:], "response": text[:SHOWN], "identified": found.language or f"none ({found.why})"},
        )


def is_elsewhere(response: str, prompt: Mapping[str, Any]) -> bool:
    """A trait for `harness.miner`: the response is surely in another language than its prompt."""
    return consistent(response, prompt["language"], as_set=True) is False


def _border(text: str) -> int:
    """Where a document is cut: the first space after its middle (at most LONGEST), or the middle where it has no spaces."""
    middle = min(len(text) // 2, LONGEST)
    found = text.find(" ", middle)
    return found if 0 <= found < len(text) - 10 else middle


def build(
    name: str,
    languages: Sequence[str],
    mode: Literal["continue", "answer"] = "continue",
    sources: Mapping[str, Sequence[Any]] | None = None,
    apart_from: Mapping[str, Sequence[Any]] | None = None,
    prompts: str = "",
    count: int = 60,
    max_tokens: int = 48,
    chat: bool = False,
    quick: int = 30,
) -> LanguageSuite:
    """Factory of the entry point. `count` prompts a language; without `sources` the embedded held-out stories are continued; documents that stand in
    the training sources `apart_from` (language -> sources) are left out."""
    given = sources or {language: [WorldText(language=language, documents=count, split="held_out")] for language in languages}  # type: ignore[arg-type]
    return LanguageSuite(
        name=name,
        languages=tuple(languages),
        mode=mode,
        sources=as_sources(name, given),
        apart_from=as_sources(name, apart_from or {}),
        prompts=prompts,
        count=count,
        max_tokens=max_tokens,
        chat=chat,
        quick=quick,
    )
