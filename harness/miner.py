"""Finds the prompts on which two checkpoints differ in a trait: `python -m harness.miner SUBJECT REFERENCE --prompts pool.jsonl --trait emoji`.

A trait is a predicate over responses, "module:function" with (response, prompt) -> bool. Both checkpoints answer every prompt of the pool
greedily; a probe is a prompt on which the predicate holds for one and not the other. Because choosing extremes flatters, the pool is cut
in two by a hash of the cluster: probes come from one half, and the other half, in which nothing was chosen, says how much the
checkpoints really differ (paired, with its interval).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from harness import evaluation
from harness.evaluation_command import CommandError, digests
from harness.progress import Progress
from harness.rows import Rows, StatisticsError
from harness.statistics import Estimate, compare
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, SuiteSpec
from training.pretraining.sources import SourceError, rows_of
from training.whole import whole

TRAITS = {"emoji": "benchmarks.suites.emoji.counting:has_emoji", "other-language": "benchmarks.suites.language:is_elsewhere"}
KEPT = 4000  # characters of a response that a probe shows
HOLDS = Metric(name="holds", numerator="holds", direction="higher", binary=True)

Trait = Callable[[str, Mapping[str, Any]], bool]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A prompt that tells the two checkpoints apart. `holds` names the one whose response has the trait."""

    id: str
    language: str
    cluster: str
    prompt: str
    holds: Literal["subject", "reference"]
    subject: str
    reference: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mined:
    """Probes of the first half, and the difference (subject - reference) on the half that nothing was chosen from; None if that half is empty."""

    probes: tuple[Probe, ...]
    searched: int
    confirmed: Estimate | None


@dataclasses.dataclass(kw_only=True)
class TraitSuite:
    """A pool of prompts, and whether the responses to them have a trait. Rows are told apart by sample id."""

    name: str
    languages: Sequence[str]
    prompts: str
    trait: str
    max_tokens: int
    version: int = 1
    metrics: Sequence[Metric] = (HOLDS,)

    def __post_init__(self) -> None:
        """Find the predicate."""
        self.predicate = predicate(self.trait)

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a prompt. Raises SuiteError naming file and row."""
        for number, fields in enumerate(pool(Path(context.profile_dir) / self.prompts), 1):
            asked = json.dumps({"messages": [{"role": "user", "content": fields["prompt"]}]}, ensure_ascii=False)
            request = Request(kind="generate", context=asked, settings={"max_tokens": self.max_tokens, "stop": [], "chat": "auto"})
            name = str(fields.get("id", number))
            yield Sample(
                sample=name, cluster=str(fields.get("cluster", name)), language=fields["language"], requests=(request,), data=fields
            )

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Whether the predicate holds. Raises SuiteError where it fails."""
        response = answers[0]["text"]
        try:
            holds = bool(self.predicate(response, sample.data))
        except Exception as error:  # somebody else's function
            raise SuiteError(
                f"the trait {self.trait} failed on the response to {sample.sample}: {type(error).__name__}: {error}"
            ) from error
        shown = {"prompt": sample.data["prompt"], "response": response[:KEPT]}
        return Row(sample=sample.sample, cluster=sample.cluster, language=sample.language, values={"holds": float(holds)}, shown=shown)


def build(name: str, languages: Sequence[str], prompts: str, trait: str, max_tokens: int = 160) -> TraitSuite:
    """Factory (`harness.miner:build`): a trait's rate over a pool of prompts is a suite like any other."""
    return TraitSuite(name=name, languages=tuple(languages), prompts=prompts, trait=trait, max_tokens=max_tokens)


def predicate(name: str) -> Trait:
    """The predicate of a known trait, or of "module:function". Raises SuiteError."""
    module, colon, function = TRAITS.get(name, name).partition(":")
    try:
        if not colon:
            raise ImportError(f"there are {', '.join(TRAITS)} and module:function")
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SuiteError(f"no trait {name!r}: {error}") from error


def pool(path: Path) -> list[Mapping[str, Any]]:
    """Prompts of a JSONL or Parquet file: `prompt` and `language`, and `id` and `cluster` if there are. Raises SuiteError."""
    try:
        found: list[Mapping[str, Any]] = list(rows_of(path))
    except (OSError, SourceError) as error:
        raise SuiteError(f"the pool of prompts: {error}") from error
    for number, fields in enumerate(found, 1):
        for field in ("prompt", "language"):
            if not isinstance(fields.get(field), str) or not fields[field]:
                raise SuiteError(
                    f"{path}, row {number}: no {field}; a prompt has the fields prompt and language, and id and cluster if you like"
                )
    if not found:
        raise SuiteError(f"{path} holds no prompts")
    return found


def chosen_from(cluster: str) -> bool:
    """Whether a cluster is of the half that probes come from."""
    return hashlib.sha256(f"mine {cluster}".encode()).digest()[0] % 2 == 0


def mine(subject: Sequence[Row], reference: Sequence[Row], languages: Sequence[str]) -> Mined:
    """Compare the rows of two checkpoints over one pool. Raises StatisticsError where they answered other prompts."""
    theirs = {row.sample: row for row in reference}
    if theirs.keys() != {row.sample for row in subject}:
        raise StatisticsError("the two checkpoints answered other prompts; run both on one pool")
    probes = []
    for row in subject:
        twin = theirs[row.sample]
        if chosen_from(row.cluster) and row.values["holds"] != twin.values["holds"]:
            probes.append(
                Probe(
                    id=row.sample,
                    language=row.language,
                    cluster=row.cluster,
                    prompt=row.shown["prompt"],
                    holds="subject" if row.values["holds"] else "reference",
                    subject=row.shown["response"],
                    reference=twin.shown["response"],
                )
            )
    apart = [row for row in subject if not chosen_from(row.cluster)]
    confirmed = compare(Rows.of(apart), Rows.of([theirs[row.sample] for row in apart]), HOLDS, _of(apart, languages)) if apart else None
    return Mined(probes=tuple(probes), searched=len(subject) - len(apart), confirmed=confirmed)


def _of(rows: Sequence[Row], languages: Sequence[str]) -> list[str]:
    there = {row.language for row in rows}
    return [language for language in languages if language in there]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 2 the command line, 4 an error, 130 interrupted (the same command goes on)."""
    parser = argparse.ArgumentParser(prog="python -m harness.miner", description=__doc__.split("\n")[0])
    parser.add_argument("subject", type=Path, help="a checkpoint's directory")
    parser.add_argument("reference", type=Path, help="the checkpoint it is compared with")
    parser.add_argument(
        "--prompts", type=Path, required=True, metavar="POOL.jsonl", help="prompt, language, and id and cluster if there are"
    )
    parser.add_argument("--trait", required=True, help=f"{', '.join(TRAITS)} or module:function of (response, prompt)")
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, required=True, metavar="PROBES.jsonl")
    given = parser.parse_args(arguments)
    progress = Progress(sys.stderr, live=sys.stderr.isatty() and "NO_COLOR" not in os.environ)
    try:
        found = _mined(given, progress)
    except (CommandError, SuiteError, StatisticsError, evaluation.EvaluationError) as error:
        progress.clear()
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, CommandError) else 4
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where it stopped", file=sys.stderr)
        return 130
    progress.clear()
    with whole(given.output) as aside:
        aside.write_text(
            "".join(json.dumps(dataclasses.asdict(probe), ensure_ascii=False) + "\n" for probe in found.probes), encoding="utf-8"
        )
    print(_told(found, given.trait, given.output))
    return 0


def _mined(given: argparse.Namespace, progress: Progress) -> Mined:
    languages = list(dict.fromkeys(fields["language"] for fields in pool(given.prompts)))
    options = {"prompts": str(given.prompts.resolve()), "trait": given.trait, "max_tokens": given.max_tokens}
    spec = SuiteSpec(suite="harness.miner:build", languages=tuple(languages), options=options)
    kept = given.output.with_suffix(".answers").resolve()
    rows = []
    for checkpoint in (given.subject, given.reference):
        model, tokenizer = digests(checkpoint)
        order = evaluation.Order(
            checkpoint=checkpoint.resolve(),
            model_digest=model,
            tokenizer_digest=tokenizer,
            suites={"trait": spec},
            store=kept,
            output=kept / f"rows-{model[:12]}",
            profile_dir=str(Path.cwd()),
            dtype=given.dtype,
            device=given.device,
            threads=len(os.sched_getaffinity(0)),
        )
        evaluation.run(order, lambda where=checkpoint, **event: progress.show(where.name, event))
        rows.append(evaluation.read_rows(order.output / "trait.parquet"))
    return mine(rows[0], rows[1], languages)


def _told(found: Mined, trait: str, output: Path) -> str:
    ours = sum(probe.holds == "subject" for probe in found.probes)
    text = f"{len(found.probes)} probes of {found.searched} prompts searched ({ours} only the subject, {len(found.probes) - ours} only the reference): {output}\n"
    if found.confirmed is None:
        return text + "no prompt was left to confirm the difference with: give a larger pool"
    sure = found.confirmed
    low, high = sure.interval()
    return (
        text + f"on the {sure.samples} prompts that nothing was chosen from: {trait} {sure.score:.3f} against {sure.reference:.3f}, "
        f"difference {sure.value:+.3f} [{low:+.3f}, {high:+.3f}] (95 %)"
    )


if __name__ == "__main__":
    sys.exit(main())
