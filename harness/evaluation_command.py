"""The person's way to an evaluation: `python -m harness.evaluation DIR_OR_HUB_ID --suite NAMES --languages CODES --output scores.parquet`.

No profile and no store: the suites are named on the command line, the table goes to the terminal, the rows to one Parquet file, and the
answers to a folder beside it, so that a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import suites as suites_module
from harness.progress import Progress, duration
from harness.record import TOKENIZER_FILES, content_digest
from harness.rows import Rows, StatisticsError
from harness.statistics import CONFIDENCE, compare, estimate, silent, wilson
from harness.store import file_entries
from harness.suites import SuiteSpec, load
from training.languages import LANGUAGES
from training.whole import whole

SAID = (
    "prompts",
    "invalid",
    "beyond the window",
    "answers",
    "left out, in the training text",
    "left_out",
    "unaligned",
    "too short to be cut in two",
    "too short in this model's tokens",
    "rows of the original",
    "signatures",
)  # facts of a suite that stand under the table
CODES = tuple(language.iso for language in LANGUAGES if language.iso not in ("eng", "cmn"))  # the 13


class CommandError(Exception):
    """A command line that cannot be carried out; the message names the option and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table. `value` and `interval` are None where the rows give no score; `note` says why."""

    suite: str
    metric: str
    language: str
    value: float | None
    interval: tuple[float, float] | None
    count: str
    note: str = ""
    against: str = ""  # the paired difference from the reference checkpoint, with its interval


def specs(
    names: Sequence[str],
    languages: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    hub: Path | None,
    originals: Sequence[str] = (),
) -> dict[str, SuiteSpec]:
    """The suites that a command line names. A suite's factory or module may say what its bare name stands for: `alone(languages, hub, originals)`.

    `options` maps a name to options of its factory. Raises CommandError or SuiteError.
    """
    found: dict[str, SuiteSpec] = {}
    for name in names:
        given = dict(options.get(name, {}))
        alone = None if given else _alone(name)
        made = (
            alone(tuple(languages), hub, originals)
            if alone
            else {name.replace(":", "_"): SuiteSpec(suite=name, languages=tuple(languages), options=given)}
        )
        found.update(made)
    if unknown := sorted(options.keys() - set(names)):
        raise CommandError(f"--option {unknown[0]}.…: no suite of that name is asked for; --suite names {', '.join(names)}")
    for name, spec in found.items():
        load(spec, name)  # a wrong option is said before a model is loaded
    return found


def _alone(name: str) -> Any:
    module, _, factory = suites_module.BUILT_IN.get(name, "").partition(":")
    if not module:
        return None
    imported = importlib.import_module(module)
    return getattr(getattr(imported, factory), "alone", None) or getattr(imported, "alone", None)


def digests(checkpoint: Path) -> tuple[str, str]:
    """Content digests (hex) of a checkpoint's directory and of its tokenizer, hidden files aside. Raises CommandError."""
    names = [path.relative_to(checkpoint).as_posix() for path in sorted(checkpoint.rglob("*")) if path.is_file()]
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    if "config.json" not in names:
        raise CommandError(f"{checkpoint} is no checkpoint: it has no config.json")
    entries = file_entries(checkpoint, names)
    return content_digest(entries), content_digest({name: entry for name, entry in entries.items() if name in TOKENIZER_FILES})


def lines(
    rows: Rows,
    suite: str,
    metrics: Sequence[Any],
    languages: Sequence[str],
    groups: Mapping[str, Sequence[str]] | None = None,
    reference: Rows | None = None,
) -> Iterator[Line]:
    """A line a metric and language that the rows can score, one for the mean of the languages, and one for each group of them (a country);
    with `reference`, paired with its rows."""
    there = [language for language in languages if language in set(rows.language)]
    for metric in metrics:
        scored = []
        for language in there:
            line = _line(rows, suite, metric, (language,), language, reference)
            if line:
                scored += [language] if line.value is not None else []
                yield line
        if len(scored) > 1 and metric.transform == "identity":  # a mean of exponentials is that of the worst language
            mean = _line(rows, suite, metric, tuple(scored), f"mean of {len(scored)}", reference)
            if mean:
                yield mean
        for name, members in (groups or {}).items():
            there_too = [language for language in members if language in scored]
            line = _of_group(rows.select(there_too), suite, metric, there_too, name, reference) if there_too else None
            if line:
                yield line


def _of_group(rows: Rows, suite: str, metric: Any, members: Sequence[str], name: str, reference: Rows | None) -> Line | None:
    """Independent right-or-wrong answers of a group are pooled, with Wilson's interval; of other metrics stands the mean of its languages."""
    independent = metric.binary and not metric.denominator and len(set(rows.cluster)) == len(rows) and bool((rows.count == 1).all())
    if not independent:
        return _line(rows, suite, metric, tuple(members), name, reference) if len(members) > 1 and metric.transform == "identity" else None
    hits = int(rows.values[metric.numerator].sum())
    return Line(
        suite=suite, metric=metric.name, language=name, value=hits / len(rows), interval=wilson(hits, len(rows)), count=str(len(rows))
    )


def _line(rows: Rows, suite: str, metric: Any, languages: tuple[str, ...], name: str, reference: Rows | None) -> Line | None:
    """None where the rows hold nothing that the metric is about."""
    rows = rows.select(languages)
    if silent(rows, metric):
        return None
    try:
        found = estimate(rows, metric, languages)
        interval = found.interval() if found.clusters > 1 and not found.constant else None
        if interval and metric.transform == "exp":  # symmetric in the logarithm, and never negative
            low, high = estimate(rows, dataclasses.replace(metric, transform="identity"), languages).interval()
            interval = math.exp(low), math.exp(high)
        if interval and metric.ceiling:  # a share lies between 0 and its ceiling, whatever a t interval says
            interval = max(0.0, interval[0]), min(metric.ceiling, interval[1])
    except StatisticsError as error:
        return Line(suite=suite, metric=metric.name, language=name, value=None, interval=None, count=str(len(rows)), note=str(error))
    count = f"{found.samples}" if found.samples == found.clusters else f"{found.samples} in {found.clusters}"
    against = _against(rows, reference, metric, languages) if reference is not None else ""
    return Line(suite=suite, metric=metric.name, language=name, value=found.value, interval=interval, count=count, against=against)


def _against(rows: Rows, reference: Rows, metric: Any, languages: tuple[str, ...]) -> str:
    """Score less the reference's on the same samples, with the two-sided interval of the pairs; or why there is none."""
    try:
        found = compare(rows, reference, metric, languages)
        if found.identical:
            return "identical"
        if found.constant or found.clusters < 2:
            return f"{found.value:+.4f}"
        low, high = found.interval()
        return f"{found.value:+.4f} [{low:+.4f}, {high:+.4f}]"
    except StatisticsError as error:
        return str(error)[:60]


def table(found: Sequence[Line], summary: Mapping[str, Any]) -> str:
    """The table as text, and under it what was excluded, cut or scored by other prompts than the original's."""
    percent = round(100 * CONFIDENCE)
    paired = any(line.against for line in found)
    cells = [("suite", "metric", "language", "score", f"{percent} % interval", *(("less reference, paired",) if paired else ()), "n")]
    for line in found:
        value = "-" if line.value is None else f"{line.value:.4f}"
        interval = "" if line.interval is None else f"[{line.interval[0]:.4f}, {line.interval[1]:.4f}]"
        against = (line.against,) if paired else ()
        cells.append((line.suite, line.metric, line.language, value, interval or line.note[:60], *against, line.count))
    width = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    right = (False, False, False, True, *(False for _ in width[5:]), True)
    out = [
        "  ".join(text.rjust(size) if to_right else text.ljust(size) for text, size, to_right in zip(row, width, right, strict=True))
        for row in cells
    ]
    for suite, entry in summary.items():
        facts = entry["facts"]
        said = [f"{facts['truncated']} longer than the model's window"] if facts.get("truncated") else []
        said += [f"{key}: {_said(facts[key])}" for key in SAID if facts.get(key)]
        out.append(f"{suite}: {entry['rows']} samples, {duration(entry['seconds'])}" + "".join(f"; {text}" for text in said))
    absent = [entry["facts"]["not in the mirror"] for entry in summary.values() if entry["facts"].get("not in the mirror")]
    return "\n".join([*out, *(f"not in the mirror, so not scored: {names}" for names in absent)])


def _said(value: Any) -> str:
    """A fact in a few words: what a mapping holds by its keys, of a long list how many."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value)) if len(value) <= 4 else f"{len(value)} ({value[0]}, ...)"
    return str(value)


def _options(given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`SUITE.KEY=VALUE`, the value as JSON, else as text."""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        where, equals, value = text.partition("=")
        suite, dot, key = where.rpartition(".")
        if not equals or not dot:
            raise CommandError(f"--option {text}: write SUITE.KEY=VALUE, such as ruler.lengths=[512]")
        try:
            found.setdefault(suite, {})[key] = json.loads(value)
        except ValueError:
            found.setdefault(suite, {})[key] = value
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m harness.evaluation", description="Score a checkpoint. No profile and no store are needed."
    )
    made.add_argument("checkpoint", metavar="DIR_OR_HUB_ID", help="a checkpoint's directory, or its name on the Hub")
    made.add_argument("--suite", required=True, metavar="NAMES", help="suites, with commas: sailcompass,perplexity,lm_eval:xcopa_th")
    made.add_argument("--languages", default=",".join(CODES), metavar="CODES", help="ISO 639-3, with commas")
    made.add_argument("--backend", default="hf", help="hf, vllm, or the URL of an OpenAI-compatible server (default hf)")
    made.add_argument(
        "--gate-hub", type=Path, metavar="DIR", default=os.environ.get("SEATRIALS_HUB"), help="a local mirror of Hub data sets"
    )
    made.add_argument("--gate-originals", type=Path, metavar="DIR", action="append", default=[], help="a checkout of a benchmark")
    made.add_argument("--samples", choices=("quick", "full"), default="full")
    made.add_argument("--option", action="append", default=[], metavar="SUITE.KEY=VALUE", help="an option of a suite's factory")
    made.add_argument("--reference", type=Path, metavar="DIR", help="a checkpoint to compare with: each score's paired difference is shown")
    made.add_argument("--revision", help="of a checkpoint on the Hub")
    made.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    made.add_argument("--device", default="auto")
    made.add_argument("--output", type=Path, required=True, metavar="FILE.parquet", help="per-sample rows")
    return made


def main(arguments: Sequence[str]) -> int:
    """Score and print. Exit codes: 0 done, 2 the command line, 4 an error, 130 interrupted (the same command goes on)."""
    given = parser().parse_args(arguments)
    progress = Progress(sys.stderr, live=sys.stderr.isatty() and "NO_COLOR" not in os.environ)
    try:
        _run(given, progress)
    except CommandError as error:
        progress.clear()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        progress.clear()
        print("interrupted: the same command goes on where it stopped", file=sys.stderr)
        return 130
    except Exception as error:
        progress.clear()
        if not _ours(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 4
    return 0


def _ours(error: Exception) -> bool:
    return type(error).__module__.split(".")[0] in ("harness", "training", "benchmarks")


def _run(given: argparse.Namespace, progress: Progress) -> None:
    from harness import evaluation

    if given.output.suffix != ".parquet":
        raise CommandError(f"--output {given.output}: name a .parquet file")
    if given.gate_hub and not Path(given.gate_hub).is_dir():
        raise CommandError(f"--gate-hub {given.gate_hub} is not a directory")
    if given.reference and "://" in given.backend:
        raise CommandError(
            f"--reference: the server {given.backend} answers for one model; score both and compare, or take another backend"
        )
    if given.reference and not given.reference.is_dir():
        raise CommandError(f"--reference {given.reference} is not a directory")
    hub = Path(given.gate_hub).resolve() if given.gate_hub else None
    languages = _languages(given.languages)
    names = list(dict.fromkeys(name.strip() for name in given.suite.split(",") if name.strip()))
    chosen = specs(names, languages, _options(given.option), hub, [str(path) for path in given.gate_originals])
    checkpoint = _checkpoint(given.checkpoint, given.revision)
    model, tokenizer = digests(checkpoint)
    kept = given.output.with_suffix(".answers").resolve()
    rows = kept / f"rows-{model[:12]}"
    order = evaluation.Order(
        checkpoint=checkpoint,
        model_digest=model,
        tokenizer_digest=tokenizer,
        suites=chosen,
        store=kept,
        output=rows,
        profile_dir=str(Path.cwd()),
        hub=str(hub) if hub else None,
        originals=[str(path.resolve()) for path in given.gate_originals],
        reference=given.reference.resolve() if given.reference else None,
        reference_digest=digests(given.reference)[0] if given.reference else "",
        samples=given.samples,
        dtype=given.dtype,
        device=given.device,
        threads=len(os.sched_getaffinity(0)),
        backend=given.backend,
    )
    summary = evaluation.run(order, lambda **event: progress.show(checkpoint.name, event))
    progress.clear()
    theirs = _of_reference(order, kept, progress) if given.reference else {}
    if not summary:  # a rank other than 0: the table is rank 0's to print
        return
    found: list[Line] = []
    for name, spec in chosen.items():
        suite = load(spec, name)
        found += lines(
            Rows.read(rows / f"{name}.parquet"), name, suite.metrics, spec.languages, getattr(suite, "groups", None), theirs.get(name)
        )
    _together(given.output, rows, list(chosen))
    print(table(found, summary))
    print(f"rows: {given.output}   answers: {kept} (the same command asks nothing twice)")


def _of_reference(order: Any, kept: Path, progress: Progress) -> dict[str, Rows]:
    """The reference checkpoint's rows by suite. What is itself a comparison with it (`identity`) has none, and no rank but 0 has any."""
    from harness import evaluation

    suites = {name: spec for name, spec in order.suites.items() if spec.suite != "identity"}
    model, tokenizer = digests(order.reference)
    rows = kept / f"rows-{model[:12]}"
    told = dataclasses.replace(
        order,
        checkpoint=order.reference,
        model_digest=model,
        tokenizer_digest=tokenizer,
        suites=suites,
        output=rows,
        reference=None,
        reference_digest="",
    )
    summary = evaluation.run(told, lambda **event: progress.show(f"reference {order.reference.name}", event)) if suites else {}
    progress.clear()
    return {name: Rows.read(rows / f"{name}.parquet") for name in summary}


def _languages(text: str) -> list[str]:
    codes = [code.strip() for code in text.split(",") if code.strip()]
    known = [language.iso for language in LANGUAGES]
    if unknown := [code for code in codes if code not in known]:
        raise CommandError(f"--languages: no language {unknown[0]!r}; there are {', '.join(known)}")
    return codes


def _checkpoint(name: str, revision: str | None) -> Path:
    path = Path(name)
    if path.is_dir():
        return path.resolve()
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/")):
        raise CommandError(f"{name} is neither a directory nor a name on the Hub (OWNER/MODEL)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]))
    except Exception as error:  # each way of not reaching the Hub has an error of its own
        raise CommandError(f"{name} is no directory here, and the Hub does not give it: {type(error).__name__}: {error}") from error


def _together(output: Path, folder: Path, names: Sequence[str]) -> None:
    """One file of all rows: a column `suite` before the others; a value that a suite does not have is null."""
    import pyarrow
    import pyarrow.parquet

    parts = []
    for name in names:
        part = pyarrow.parquet.read_table(folder / f"{name}.parquet")
        parts.append(part.add_column(0, "suite", pyarrow.array([name] * part.num_rows, pyarrow.string())))
    output.parent.mkdir(parents=True, exist_ok=True)
    with whole(output) as aside:
        pyarrow.parquet.write_table(pyarrow.concat_tables(parts, promote_options="default"), aside)
