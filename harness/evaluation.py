"""Runs suites on a checkpoint: `python -m harness.evaluation --order EVAL.json`, the child that the pipeline orders.

A person's command line is in `evaluation_command.py`; both come to `run`.

    samples -> requests in the checkpoint's tokens -> answers (journal, else model) -> rows -> SUITE.parquet

Answers are kept as they come, so a killed run started again computes only what is missing; rows and everything after them are made
anew each time. `offline_answers` never loads the model: a replay of today's extraction and gates on stored answers.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import quick
from harness.answers import Journal
from harness.evaluation_ranks import Ranks
from harness.evaluation_text import evaluation_texts
from harness.suites import Measure, Row, Sample, Suite, SuiteContext, SuiteError, SuiteSpec, load, void
from training.progress import peak_memory
from training.recipe import decode
from training.whole import whole

Progress = Callable[..., None]


class EvaluationError(Exception):
    """An evaluation that cannot be run; the message names the suite or the field of the order, and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What the child is told. Paths are absolute; digests are content digests (hex)."""

    checkpoint: Path
    model_digest: str
    tokenizer_digest: str
    suites: Mapping[str, SuiteSpec]
    store: Path
    output: Path
    profile_dir: str
    hub: str | None = None
    originals: Sequence[str] = ()
    reference: Path | None = None
    reference_digest: str = ""
    samples: Any = "full"
    committed: str = ""  # the file of the profile's quick samples (harness/quick.py); "" holds them to nothing
    dtype: str = "float32"
    attention: str = "sdpa"
    device: str = "cpu"
    threads: int = 0
    backend: str = "hf"
    backend_version: str = ""  # a replay of answers that an earlier version of the libraries gave
    hf_version: str = ""  # the same, of the suites that hf answers whatever `backend` is
    batch_tokens: int = 0
    concurrency: int = 0  # requests under way at once where the backend is a server; 0 leaves it to the backend
    offline_answers: bool = False
    asked: Mapping[str, Any] | None = None  # of a corpus: the profile's suites, encoded, and the `window` that their texts are read by

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Order:
        """Read an order. Raises EvaluationError naming the field."""
        if data.get("schema") != 1:
            raise EvaluationError(f"the order has schema {data.get('schema')!r}; this version reads 1")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(data.keys() - known - {"schema"}):
            raise EvaluationError(f"the order has unknown fields: {', '.join(unknown)}")
        required = {field.name for field in dataclasses.fields(cls) if field.default is dataclasses.MISSING}
        if absent := sorted(required - data.keys()):
            raise EvaluationError(f"the order lacks {', '.join(absent)}")
        fields = {key: value for key, value in data.items() if key != "schema"}
        fields["suites"] = {name: spec if isinstance(spec, SuiteSpec) else decode(spec) for name, spec in data["suites"].items()}
        for key in ("checkpoint", "store", "output"):
            fields[key] = Path(data[key])
        fields["reference"] = Path(data["reference"]) if data.get("reference") else None
        fields["reference_digest"] = data.get("reference_digest") or ""
        if data.get("samples", "full") not in ("quick", "full"):
            raise EvaluationError(f"samples is {data['samples']!r}; it is quick or full")
        if data.get("dtype", "float32") not in ("float32", "bfloat16"):
            raise EvaluationError(f"dtype is {data['dtype']!r}; it is float32 or bfloat16")
        return cls(**fields)


def run(order: Mapping[str, Any] | Order, progress: Progress | None = None) -> dict[str, Any]:
    """Run an order; writes OUTPUT/SUITE.parquet and OUTPUT/summary.json, returns the summary (suite -> facts).

    Of several processes (evaluation_ranks.py) each answers its share, and rank 0 goes on with all answers; the others return an empty summary.
    Raises EvaluationError, SuiteError, BackendError, AnswerError or ModelError, each with a message for a person.
    """
    told = order if isinstance(order, Order) else Order.parse(order)
    say: Progress = progress or (lambda **_: None)
    if told.hub is not None:  # read by the libraries when they are imported
        os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    suites = {name: load(spec, name, told.profile_dir) for name, spec in told.suites.items()}
    for name, spec in told.suites.items():
        if spec.reference and told.reference is None:
            raise EvaluationError(f"suite {name} compares with its {spec.reference}, and the order names no reference checkpoint")
    say(phase="starting", step=0, steps=len(suites))
    told.output.mkdir(parents=True, exist_ok=True)
    ranks = Ranks.of(os.environ)
    if ranks.size > 1 and not told.offline_answers:
        if told.backend == "vllm":
            raise EvaluationError(f"vllm starts the processes it needs itself; evaluate with one, not {ranks.size} (no torchrun around it)")
        _answer_share(told, ranks, say)
    if ranks.rank:
        return {}
    summary: dict[str, Any] = {}
    for name in [name for name, suite in suites.items() if not _asks(suite)]:
        summary[name] = _run_suite(name, suites[name], None, told, say)
    with Journal(told.store, told.model_digest) as journal:
        for backend, version, names in _by_backend(told, suites):
            subject = _subject(dataclasses.replace(told, backend=backend, backend_version=version), journal)
            for name in names:
                summary[name] = _run_suite(name, suites[name], subject, told, say)
            del subject  # and its model, before another is loaded
    _write(told.output / "summary.json", json.dumps(summary, indent=1, sort_keys=True).encode())
    return summary


def _answer_share(told: Order, ranks: Ranks, say: Progress) -> None:
    """Bring this rank's share of the answers into the journal; rank 0 then waits for the others."""
    suites = {
        name: load(spec, name, told.profile_dir) for name, spec in told.suites.items()
    }  # of its own: a suite counts what it leaves out
    if told.device != "cpu":
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(ranks.local)

    def alive(done: int, total: int, tokens: int) -> None:
        ranks.say(told.output)
        say(phase=f"answers, {ranks.size} processes", step=done, steps=total, tokens=tokens)

    ranks.say(told.output)
    try:
        with Journal(told.store, told.model_digest) as journal:
            for backend, version, names in _by_backend(told, suites):
                subject = _subject(dataclasses.replace(told, backend=backend, backend_version=version), journal)
                for name in names:
                    rendered = [subject.renderer.sample(sample) for sample in _samples(name, suites[name], subject, told)]
                    subject.answer([request for requests in ranks.share(rendered) for request in requests], alive)
                del subject
    finally:
        ranks.say(told.output, "ended")
    if ranks.rank == 0 and (dead := ranks.wait(told.output)):
        print(f"ranks {', '.join(map(str, dead))} are silent; what they left is answered here", file=sys.stderr)


def _by_backend(told: Order, suites: Mapping[str, Suite]) -> Iterator[tuple[str, str, list[str]]]:
    """(backend, version in a replay, suites): first those that need hf (`needs_backend`), whose model is gone before another takes the GPU."""
    asking = {name: suite for name, suite in suites.items() if _asks(suite)}
    bound = [name for name, suite in asking.items() if getattr(suite, "needs_backend", told.backend) != told.backend]
    if bound:
        print(f"answered by hf, not {told.backend}, which cannot: {', '.join(bound)}", file=sys.stderr)
        yield "hf", told.hf_version, bound
    if rest := [name for name in asking if name not in bound]:
        yield told.backend, told.backend_version, rest


def _asks(suite: Suite) -> bool:
    """Whether a suite asks a model; one that does not reads the artifact's files."""
    return bool(getattr(suite, "needs_model", True))


def _subject(told: Order, journal: Journal) -> Any:
    from harness.backends.subject import Subject

    if told.threads and not told.offline_answers:
        import torch

        torch.set_num_threads(told.threads)
    return Subject(
        told.checkpoint,
        journal,
        weights=told.model_digest,
        tokenizer_digest=told.tokenizer_digest,
        reference=told.reference,
        reference_digest=told.reference_digest,
        backend=told.backend,
        backend_version=told.backend_version,
        dtype=told.dtype,
        attention=told.attention,
        device=told.device,
        batch_tokens=told.batch_tokens,
        concurrency=told.concurrency,
        offline=told.offline_answers,
    )


def _samples(name: str, suite: Suite, subject: Any, told: Order) -> Sequence[Sample]:
    """The suite's samples, checked. Raises SuiteError."""
    measure = None
    if getattr(suite, "needs_tokenizer", False):
        measure = Measure(
            tokens=subject.renderer.tokens,
            tokenizer=told.tokenizer_digest,
            window=subject.renderer.window,
            kept=told.store / "lengths",
        )
    context = SuiteContext(
        hub=told.hub,
        profile_dir=told.profile_dir,
        samples=told.samples,
        originals=tuple(told.originals),
        measure=measure,
        artifact=None if _asks(suite) else told.checkpoint,
        asked=functools.partial(evaluation_texts, _asked(told)) if told.asked and not _asks(suite) else None,
    )
    samples = _checked(name, suite, list(suite.samples(context)))
    if told.committed and told.samples == "quick":
        quick.hold(Path(told.committed), name, (sample.sample for sample in samples))
    return samples


def _asked(told: Order) -> dict[str, Any]:
    return {**(told.asked or {}), "hub": told.hub, "originals": list(told.originals), "profile_dir": told.profile_dir}


def _run_suite(name: str, suite: Suite, subject: Any, told: Order, say: Progress) -> dict[str, Any]:
    from harness.backends.subject import MissingAnswers

    begun = time.monotonic()
    say(phase=name, step=0, steps=0)
    samples = _samples(name, suite, subject, told)
    if subject is None and (asking := next((sample for sample in samples if sample.requests), None)):
        raise SuiteError(f"suite {name} declares needs_model = False, and its sample {asking.sample} asks a model")
    rendered = [subject.renderer.sample(sample) if subject else [] for sample in samples]
    flat = [request for requests in rendered for request in requests]
    owners = [sample for sample, requests in zip(samples, rendered, strict=True) for _ in requests]

    def advance(done: int, total: int, tokens: int) -> None:
        rate = tokens / max(1e-9, time.monotonic() - started)
        left = (total - done) * (time.monotonic() - started) / max(1, done)
        say(phase=name, step=done, steps=total, tokens=tokens, tokens_per_second=round(rate, 1), eta_seconds=round(left, 1))

    started = time.monotonic()
    try:
        answers, computed = subject.answer(flat, advance) if subject else ([], 0)
    except MissingAnswers as error:
        who = list(dict.fromkeys(owners[index].sample for index in error.indices))
        more = f" and {len(who) - 3} more" if len(who) > 3 else ""
        raise EvaluationError(f"replay of suite {name}: {error} (samples {', '.join(who[:3])}{more})") from error
    made: dict[str, Row] = {}
    at = 0
    for sample, requests in zip(samples, rendered, strict=True):
        if not sample.invalid:
            made[sample.sample] = suite.row(sample, answers[at : at + len(requests)])
        at += len(requests)
    columns = list(next(iter(made.values())).values) if made else []
    rows = [made.get(sample.sample) or void(sample, columns) for sample in samples]
    write_rows(told.output / f"{name}.parquet", rows)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.language] = counts.get(row.language, 0) + 1
    facts = {
        **(subject.facts if subject else {}),
        "device": told.device,
        "threads": told.threads,
        "samples": told.samples,
        "suite_version": suite.version,
        "languages": counts,
        "clusters": len({row.cluster for row in rows}),
        "truncated": sum(any(request.truncated for request in requests) for requests in rendered),
        "border": sum(any(request.border for request in requests) for requests in rendered),
        **getattr(suite, "facts", {}),
    }
    seconds = round(time.monotonic() - begun, 3)
    asked = {"cached": len(flat) - computed, "computed": computed}
    return {"rows": len(rows), "seconds": seconds, **asked, "host_memory_peak_bytes": peak_memory(), "facts": facts}


def _checked(name: str, suite: Suite, samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples, if there are some for each language, and no two of one name. Raises SuiteError."""
    there = {sample.language for sample in samples}
    if missing := [language for language in suite.languages if language not in there]:
        raise SuiteError(f"suite {name}: no sample for {', '.join(missing)}; check the source of that language")
    names: set[str] = set()
    for sample in samples:
        if sample.sample in names:
            raise SuiteError(f"suite {name}: two samples are called {sample.sample}; give each its own id")
        names.add(sample.sample)
    return samples


# ------------------------------------------------------------------------------------------------------------------- rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as Parquet, atomically: sample, cluster, language, stratum, `v.NAME` float64, `shown` as JSON."""
    import pyarrow
    import pyarrow.parquet

    names = list(rows[0].values) if rows else []
    for row in rows:
        if list(row.values) != names:
            raise SuiteError(f"{path.stem}: sample {row.sample} has the values {', '.join(row.values)}, others {', '.join(names)}")
    table = pyarrow.table(
        {
            **{
                field: pyarrow.array([getattr(row, field) for row in rows], pyarrow.string())
                for field in ("sample", "cluster", "language", "stratum")
            },
            **{f"v.{name}": pyarrow.array([row.values[name] for row in rows], pyarrow.float64()) for name in names},
            "shown": pyarrow.array([json.dumps(dict(row.shown), ensure_ascii=True) for row in rows], pyarrow.string()),
        }
    )
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    _write(path, sink.getvalue().to_pybytes())


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote. Raises EvaluationError."""
    import pyarrow
    import pyarrow.parquet

    try:
        entries = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise EvaluationError(f"{path} cannot be read ({error}); run the evaluation again") from error
    return [
        Row(
            **{field: entry[field] for field in ("sample", "cluster", "language", "stratum")},
            values={key[2:]: value for key, value in entry.items() if key.startswith("v.")},
            shown=json.loads(entry["shown"]),
        )
        for entry in entries
    ]


def _write(path: Path, data: bytes) -> None:
    """Replace a file as a whole."""
    with whole(path) as aside:
        aside.write_bytes(data)


# ------------------------------------------------------------------------------------------------------------------ child


class _ProgressFile:
    """Appends to progress.jsonl: at each change of phase, then at most every half second."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", encoding="utf-8")
        self._last, self._phase = 0.0, ""

    def __call__(self, **event: Any) -> None:
        now = time.monotonic()
        if event.get("phase") != self._phase or now - self._last > 0.5 or event.get("step") == event.get("steps"):
            self._last, self._phase = now, str(event.get("phase"))
            self._file.write(json.dumps({"time": time.time(), **event}) + "\n")
            self._file.flush()


def _interrupted(number: int, _: Any) -> None:
    raise KeyboardInterrupt(number)


def main(arguments: Sequence[str] | None = None) -> int:
    """An order, `[--order] EVAL.json`, or the person's command. Exit codes of an order: 0 done, 1 an error (OUTPUT/error.json says which), 130
    interrupted (run again to resume)."""
    told = list(sys.argv[1:] if arguments is None else arguments)
    if "--order" not in told[:1] and not (len(told) == 1 and told[0].endswith(".json")):
        from harness import evaluation_command

        return evaluation_command.main(told)
    path = told[-1]
    signal.signal(signal.SIGTERM, _interrupted)
    data = json.loads(Path(path).read_text(encoding="utf-8"))
    output = Path(data.get("output", Path(path).parent))
    output.mkdir(parents=True, exist_ok=True)
    if rank := Ranks.of(os.environ).rank:
        return _helper(data, rank)
    (output / "error.json").unlink(missing_ok=True)
    try:
        run(data, _ProgressFile(output / "progress.jsonl"))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        import traceback

        traceback.print_exc()
        _write(output / "error.json", json.dumps({"type": type(error).__name__, "message": str(error)}).encode())
        return 1
    return 0


def _helper(data: Mapping[str, Any], rank: int) -> int:
    """A rank other than 0. Where it fails it leaves its share to rank 0, whose word is heard: torchrun would stop them all."""
    try:
        run(data)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        print(f"rank {rank} ends early, rank 0 goes on: {type(error).__name__}: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
