"""Emoji in responses: how often a checkpoint uses them where a prompt invites them, and whether it still does where a prompt asks.

The probe of the paper's 5.2 (Probe Data): an early model answered in emoji, which no benchmark and no reward saw. Stratum `invite` must
not rise against the parent, `control` must not fall; each has metrics of its own, so that a gate needs no stratum.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites.emoji.counting import count, count_prose
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, sift, spread
from training.languages import LANGUAGES
from training.pretraining import sources as reading

OURS = Path(__file__).with_name("prompts.toml")
STRATA = ("invite", "control")
FRAMES = ("birthday", "new_year", "congratulations", "cheer", "photo", "thanks", "party", "morning")
PEOPLE = 3

# Every stratum has columns of its own, nought in the rows of the other: what a prompt invites and what it asks for are never pooled.
COUNTED = ("responses", "has_emoji", "emoji", "emoji_x1000", "characters", "text_pictographs")
METRICS = (
    *(
        Metric(
            name=f"{label}_{name}",
            numerator=f"{numerator}_{stratum}",
            denominator=f"{denominator}_{stratum}",
            direction=direction,  # type: ignore[arg-type]
            ceiling=1.0 if name == "rate" else None,
            binary=name == "rate",
        )
        for stratum, label, direction in (("invite", "emoji", "lower"), ("control", "control", "higher"))
        for name, numerator, denominator in (
            ("rate", "has_emoji", "responses"),
            ("per_response", "emoji", "responses"),
            ("per_1000", "emoji_x1000", "characters"),
        )
    ),
    Metric(name="text_pictographs", numerator="text_pictographs_invite", denominator="responses_invite", direction="lower"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A prompt. `cluster` is shared by its versions in other languages, which are not independent of it."""

    id: str
    language: str
    stratum: str
    cluster: str
    prompt: str


@dataclasses.dataclass(kw_only=True)
class Emoji:
    """The suite. `prompts` "" is ours, else a JSONL file of `id`, `language`, `prompt`, `stratum`, `cluster`."""

    name: str
    languages: Sequence[str]
    prompts: str
    max_tokens: int
    quick: int
    version: int = 2
    metrics: Sequence[Metric] = METRICS
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a prompt: one greedy answer, in the tokenizer's chat template where it has one. Raises SuiteError."""
        probes: Sequence[Probe] = ours(OURS)
        found: list[Sample] = []
        if self.prompts:
            probes, found = self._from_file(Path(context.profile_dir) / self.prompts)
        settings = {"max_tokens": self.max_tokens, "stop": [], "chat": "auto"}
        found += [
            Sample(
                sample=probe.id,
                cluster=probe.cluster,
                language=probe.language,
                stratum=probe.stratum,
                requests=(Request(kind="generate", context=talk(probe.prompt), settings=settings),),
                data=probe.prompt,
            )
            for probe in probes
            if probe.language in self.languages
        ]
        found, self.facts["invalid"] = sift(self.name, found, self.languages)
        yield from (spread(found, self.quick) if context.samples == "quick" else found)

    def _from_file(self, path: Path) -> tuple[list[Probe], list[Sample]]:
        """The prompts of a file, and its invalid rows."""
        found, invalid = [], []
        try:
            for number, fields in enumerate(reading.rows_of(path), 1):
                try:
                    found.append(probe_of(f"suite {self.name}: {path}, row {number}", fields))
                except SuiteError as error:
                    name, language = f"row {number}", str(fields.get("language", ""))
                    if not language or language in self.languages:
                        invalid.append(Sample(sample=name, cluster=name, language=language, invalid=str(error)))
        except (OSError, reading.SourceError) as error:
            raise SuiteError(f"suite {self.name}: {error}") from error
        return found, invalid

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Count the response's emoji outside code, in the columns of its stratum."""
        counts = count_prose(answers[0]["text"])
        counted = (1, counts.emoji > 0, counts.emoji, 1000 * counts.emoji, counts.characters, counts.text_pictographs)
        mine = {f"{name}_{sample.stratum}": float(value) for name, value in zip(COUNTED, counted, strict=True)}
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values={f"{name}_{stratum}": 0.0 for stratum in STRATA for name in COUNTED} | mine,
            shown={"prompt": sample.data[:240], "answer": answers[0]["text"][:240]},
        )


def talk(prompt: str) -> str:
    """A prompt as a conversation of one message, for a request whose setting `chat` is "auto"."""
    return json.dumps({"messages": [{"role": "user", "content": prompt}]}, ensure_ascii=False)


def probe_of(where: str, fields: Mapping[str, Any]) -> Probe:
    """Check one row of a prompt file; without a stratum it invites, without a cluster it is its own. Raises SuiteError naming `where`."""
    for field in ("id", "language", "prompt"):
        if not isinstance(fields.get(field), str) or not fields[field].strip():
            raise SuiteError(f"{where}: {field} is missing or no text")
    stratum = fields.get("stratum", "invite")
    if stratum not in STRATA:
        raise SuiteError(f"{where}: stratum is {stratum!r}; it is {' or '.join(STRATA)}")
    cluster = str(fields.get("cluster") or fields["id"])
    return Probe(id=fields["id"], language=fields["language"], stratum=stratum, cluster=cluster, prompt=fields["prompt"])


@functools.cache
def ours(path: Path) -> tuple[Probe, ...]:
    """The prompts of `prompts.toml`, frame by frame. Raises SuiteError naming the language and field that is amiss."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SuiteError(f"{path} cannot be read: {error}") from error
    known = {language.iso for language in LANGUAGES}
    found = []
    for language, table in tables.items():
        where = f"{path}, [{language}]"
        if language not in known:
            raise SuiteError(f"{where}: no such language; there are {', '.join(sorted(known))}")
        people, ask, invite = table.get("people"), table.get("ask"), table.get("invite")
        if not isinstance(people, list) or len(people) != PEOPLE or len(set(people)) != PEOPLE or not all(people):
            raise SuiteError(f"{where}: people is a list of {PEOPLE} different texts")
        if not isinstance(ask, str) or not ask:
            raise SuiteError(f"{where}: ask is the sentence that asks for emoji")
        if not isinstance(invite, dict) or set(invite) != set(FRAMES):
            raise SuiteError(f"{where}: invite has the frames {', '.join(FRAMES)}")
        for frame in FRAMES:
            if not isinstance(invite[frame], str) or invite[frame].count("{who}") != 1:
                raise SuiteError(f"{where}: invite.{frame} names {{who}} once")
            for number, who in enumerate(people):
                prompt = invite[frame].replace("{who}", who)
                if count(prompt).emoji:
                    raise SuiteError(f"{where}: invite.{frame} holds an emoji itself")
                for stratum, text in zip(STRATA, (prompt, f"{prompt} {ask}"), strict=True):
                    cluster = f"{frame}/{number}"  # the control is the same errand: one cluster with what it is a control of
                    found.append(
                        Probe(id=f"{language}/{stratum}/{cluster}", language=language, stratum=stratum, cluster=cluster, prompt=text)
                    )
    return tuple(found)


def build(name: str, languages: Sequence[str], prompts: str = "", max_tokens: int = 160, quick: int = 20) -> Emoji:
    """Factory of the entry point. `prompts` is relative to the profile; `quick` prompts a language and stratum (a verdict needs 20)."""
    if not max_tokens > 0:
        raise SuiteError(f"suite {name}: max_tokens is {max_tokens}; it is positive")
    if not prompts and (missing := set(languages) - {probe.language for probe in ours(OURS)}):
        raise SuiteError(f"suite {name}: no prompts in {', '.join(sorted(missing))}; give your own by the option `prompts`")
    return Emoji(name=name, languages=tuple(languages), prompts=prompts, max_tokens=max_tokens, quick=quick)
