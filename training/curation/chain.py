"""The order of curation: files -> documents -> one layer after the other -> shards and a report; killed anywhere, it goes on.

    OUTPUT/work/NN-NAME/          a step: plan/ (of its first pass), shards/ kept/ dropped/ counts/, done.json last
    OUTPUT/shards/                the corpus
    OUTPUT/dropped/NN-NAME/       what each layer dropped, with its reason
    OUTPUT/quarantine.jsonl       what could not be read
    OUTPUT/report.json            the counts (report.py makes text and HTML of them)
    OUTPUT/facts/NN-NAME/         what a layer leaves of its plan (`Layer.leaves`)
    OUTPUT/run.json               of which input and recipe this is; comes last: a corpus without it is not finished

A step is named by the digest of all that came before it, so a changed setting runs its own layer and those after it again, no other. A shard's
counts are written after everything else of it: what has counts is done. The output is the same whatever the number of workers.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.curation import documents as shards_of
from training.curation.documents import CurationError, Document, Quarantined
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer
from training.curation.settings import Curation
from training.curation.sources import SUFFIXES, Sources, documents_of
from training.pretraining.sources import file_digest
from training.recipe import digest, encode
from training.whole import whole

EXCERPT = 300  # characters of a dropped document that are kept beside its reason
INPUT_BYTES = 128 * 2**20  # of input files that one task reads
Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ids(Layer):
    """The first layer of every chain: of documents with the same id the first is kept, as ids are how everything after refers to them."""

    name = "ids"

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Leave the addresses (shard, row) of all but the first of each id."""
        hashes = [np.array([_hash(name) for name in _column(path, "id")], dtype=np.uint64) for path in shards]
        starts = np.concatenate([[0], np.cumsum([len(part) for part in hashes])]).astype(np.int64)
        _, firsts = np.unique(np.concatenate([*hashes, np.empty(0, np.uint64)]), return_index=True)
        again = np.setdiff1d(np.arange(starts[-1]), firsts, assume_unique=True)
        shard = np.searchsorted(starts, again, side="right") - 1
        np.save(work / "again.npy", np.stack([shard, again - starts[shard]], axis=1))

    def judge(self, work: Path) -> Judge:
        """Drop what came again."""
        again = {(int(shard), int(row)) for shard, row in np.load(work / "again.npy")}

        def judge(batch: Sequence[Document], shard: int, first: int) -> list[Decision]:
            return [
                Decision(reason="duplicate id", detail=made.id) if (shard, first + index) in again else Decision(document=made)
                for index, made in enumerate(batch)
            ]

        return judge


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One layer at its place in the chain. `name` is its directory under work/ and dropped/."""

    name: str
    layer: Layer
    directory: Path

    @property
    def done(self) -> bool:
        """Whether it ran to its end."""
        return (self.directory / "done.json").is_file()

    @property
    def shards(self) -> list[Path]:
        """What it kept."""
        return sorted((self.directory / "kept").glob("*.parquet"))


def run(
    recipe: Curation,
    inputs: Sequence[str],
    output: Path,
    engine: Engine,
    tell: Tell = lambda _: None,
    *,
    keep_work: bool = False,
    shown_from: Path | None = None,
) -> dict[str, Any]:
    """Run the chain to its end, or go on with it; returns the report. Raises CurationError.

    `keep_work` leaves the steps' own files, so that a changed recipe need not start from the first layer. Files are named in the quarantine as
    they stand, or from the directory `shown_from`. But for run.json the output depends on the input's content and the recipe alone.
    """
    files = shards_of.files_of(inputs, SUFFIXES)
    if odd := next((path for path in files if not path.name.lower().endswith(SUFFIXES)), None):
        raise CurationError(f"--input {odd}: curation reads {', '.join(SUFFIXES)}; convert the file, or leave it out of the pattern")
    identity = digest([[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files] + [encode(recipe.sources)])
    finished = digest([identity, [identity_of(layer) for layer in recipe.layers]])
    if (report := read_report(output)) is not None:
        if json.loads((output / "run.json").read_text())["fingerprint"] == finished:
            tell(f"{output} is complete already")
            if not keep_work:
                shutil.rmtree(output / "work", ignore_errors=True)  # of a run that was killed while it tidied up
            return report
        (output / "run.json").unlink()
    work = output / "work"
    work.mkdir(parents=True, exist_ok=True)
    extracted = work / f"00-extract-{identity[:12]}"
    _extract(files, recipe.sources, extracted, shown_from, engine, tell)
    before, steps = sorted((extracted / "kept").glob("*.parquet")), []
    fingerprint = identity
    for number, layer in enumerate((Ids(), *recipe.layers)):
        fingerprint = digest([fingerprint, identity_of(layer)])
        name = f"{number:02d}-{layer.name}"
        step = Step(name=name, layer=layer, directory=work / f"{name}-{fingerprint[:12]}")
        _step(step, before, engine, tell)
        steps.append(step)
        before = step.shards
    return _publish(output, finished, extracted, steps, recipe, keep_work)


def identity_of(layer: Layer) -> dict[str, Any]:
    """A layer's settings and version; of a setting that names a file, the file's content counts and not where it lies."""

    def told(value: Any) -> Any:
        if isinstance(value, str) and value and Path(value).is_file():
            return {"file": Path(value).name, "sha256": file_digest(Path(value))}
        return [told(one) for one in value] if isinstance(value, list) else value

    return {"version": layer.version, **{key: told(value) for key, value in encode(layer).items()}}


# ----------------------------------------------------------------------------------------------------------------- extract


def _extract(files: Sequence[Path], sources: Sources, directory: Path, shown_from: Path | None, engine: Engine, tell: Tell) -> None:
    """Files -> Parquet shards and a list of what could not be read; one task a group of files."""
    if (directory / "done.json").is_file():
        return
    groups = list(_groups(files))
    for name in ("kept", "quarantine", "counts"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    left = [(number, group) for number, group in enumerate(groups) if not (directory / "counts" / f"{number:05d}.json").is_file()]
    task = functools.partial(_extract_group, sources=sources, directory=directory, shown_from=shown_from, labels=_labels(files))
    for place, counts in enumerate(engine.map(task, left), len(groups) - len(left) + 1):
        tell(f"extract  {place}/{len(groups)}  {counts['documents']:,} documents, {counts['quarantined']:,} quarantined")
    _write_json(directory / "done.json", {"groups": len(groups)})


def _labels(files: Sequence[Path]) -> dict[Path, str]:
    """What ids call the files that share a name: the way to each from the directory that holds them all."""
    names = Counter(path.name for path in files)
    twice = [path for path in files if names[path.name] > 1]
    root = os.path.commonpath([path.parent for path in files])
    return {path: path.relative_to(root).as_posix() for path in twice}


def _groups(files: Sequence[Path]) -> Iterator[list[Path]]:
    part: list[Path] = []
    size = 0
    for path in files:
        part.append(path)
        size += path.stat().st_size
        if size >= INPUT_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _extract_group(
    item: tuple[int, list[Path]], sources: Sources, directory: Path, shown_from: Path | None, labels: dict[Path, str]
) -> dict[str, Any]:
    number, files = item
    for stale in (directory / "kept").glob(f"{number:05d}-*.parquet"):
        stale.unlink()  # of a task that was killed; its parts may have been cut elsewhere
    amiss: list[Quarantined] = []
    skipped: Counter[str] = Counter()

    def found() -> Iterator[Document]:
        for path in files:
            try:
                for made in documents_of(path, sources, amiss.append, skipped):
                    label = labels.get(path, "")
                    named = label and made.id.startswith(f"{path.name}#")  # an id of ours, by file and row
                    yield dataclasses.replace(made, id=label + made.id.removeprefix(path.name)) if named else made
            except CurationError as error:  # a file of which nothing can be had is no reason to lose the others
                amiss.append(Quarantined(file=str(path), row=0, offset=-1, reason=str(error).removeprefix(f"{path} ")))

    count = 0
    for part, documents in enumerate(shards_of.in_shards(found())):
        count += shards_of.write(directory / "kept" / f"{number:05d}-{part:04d}.parquet", documents)
    if shown_from is not None:
        amiss = [dataclasses.replace(one, file=os.path.relpath(one.file, shown_from)) for one in amiss]
    _write(directory / "quarantine" / f"{number:05d}.jsonl", _jsonl(dataclasses.asdict(one) for one in amiss))
    counts = {"documents": count, "quarantined": len(amiss), "skipped": dict(skipped)}
    _write_json(directory / "counts" / f"{number:05d}.json", counts)
    return counts


# ------------------------------------------------------------------------------------------------------------------- steps


def _step(step: Step, before: Sequence[Path], engine: Engine, tell: Tell) -> None:
    """One layer: its first pass, then its verdict on every shard."""
    if step.done:
        return
    plan = step.directory / "plan"
    if not plan.is_dir():
        aside = step.directory / "plan.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        tell(f"{step.name}  first pass over {len(before)} shards")
        step.layer.prepare(before, aside, engine)
        aside.rename(plan)
    for name in ("kept", "dropped", "counts"):
        (step.directory / name).mkdir(exist_ok=True)
    left = [(number, path) for number, path in enumerate(before) if not (step.directory / "counts" / f"{number:05d}.json").is_file()]
    task = functools.partial(_judge_shard, layer=step.layer, directory=step.directory)
    for place, counts in enumerate(engine.map(task, left), len(before) - len(left) + 1):
        tell(f"{step.name}  {place}/{len(before)}  {counts['kept']:,} of {counts['seen']:,} documents kept")
    _write_json(step.directory / "done.json", {"shards": len(before)})


def _judge_shard(item: tuple[int, Path], layer: Layer, directory: Path) -> dict[str, Any]:
    """Judge one shard: kept documents, dropped ones with their reasons, counts last."""
    number, path = item
    judge = layer.judge(directory / "plan")
    dropped: list[dict[str, Any]] = []
    tally = _Tally()

    def kept() -> Iterator[Document]:
        first = 0
        for batch in _batches(path):
            decisions = judge(batch, number, first)
            if len(decisions) != len(batch):
                raise CurationError(f"layer {layer.name} gave {len(decisions)} decisions on {len(batch)} documents; it is at fault")
            for made, decision in zip(batch, decisions, strict=True):
                tally.add(made, decision)
                if decision.document is not None:
                    yield decision.document
                else:
                    dropped.append(_dropped(made, decision))
            first += len(batch)

    shards_of.write(directory / "kept" / f"{number:05d}.parquet", kept())
    _write(directory / "dropped" / f"{number:05d}.jsonl", _jsonl(dropped))
    counts = tally.facts()
    _write_json(directory / "counts" / f"{number:05d}.json", counts)
    return counts


def _batches(path: Path) -> Iterator[list[Document]]:
    """A shard of our own, in row groups. Raises CurationError where a row is amiss: it was whole when it was written."""

    def refuse(amiss: Quarantined) -> None:
        raise CurationError(f"{amiss.file}, row {amiss.row}: {amiss.reason}; the work directory was changed: remove it and run again")

    batch: list[Document] = []
    for made in shards_of.read(path, refuse):
        batch.append(made)
        if len(batch) == shards_of.ROW_GROUP:
            yield batch
            batch = []
    if batch:
        yield batch


def _dropped(made: Document, decision: Decision) -> dict[str, Any]:
    told = {"id": made.id, "reason": decision.reason, "detail": decision.detail, "excerpt": made.text[:EXCERPT]}
    return {**told, "url": made.url, "language": made.language, "source": made.source, "record": made.extra.get("record", "")}


class _Tally:
    """Counts of one layer over some documents: all, by language, by reason, and the layer's own."""

    def __init__(self) -> None:
        self.sizes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.own: Counter[str] = Counter()
        self.languages: dict[str, Counter[str]] = {}
        self.origins: dict[str, Counter[str]] = {}  # of what is kept, by language, source and licence

    def add(self, made: Document, decision: Decision) -> None:
        size, after = len(made.text.encode()), decision.document
        now = {"seen": 1, "seen_bytes": size}
        if after is not None:
            left = size if after.text == made.text else len(after.text.encode())
            now |= {"kept": 1, "kept_bytes": left, "changed": int(after.text != made.text)}
            self.origins.setdefault(json.dumps([after.language, after.source, after.licence]), Counter()).update(documents=1, bytes=left)
        else:
            self.reasons[decision.reason] += 1
        self.sizes.update(now)
        # a layer may name the language: what it keeps is counted under the name it gave
        language = (after.language if after is not None else "") or made.language
        self.languages.setdefault(language, Counter()).update(now)
        self.own.update(decision.counts)

    def facts(self) -> dict[str, Any]:
        keys = ("seen", "kept", "seen_bytes", "kept_bytes", "changed")
        return {
            **{key: self.sizes[key] for key in keys},
            "reasons": dict(self.reasons),
            "counts": dict(self.own),
            "by_language": {name: {key: found[key] for key in keys} for name, found in self.languages.items()},
            "origins": {name: dict(found) for name, found in self.origins.items()},
        }


def _summed(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Counts of all shards; keys in order."""
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = _summed([total.get(key, {}), value]) if isinstance(value, dict) else total.get(key, 0) + value
    return {key: total[key] for key in sorted(total)}


# ------------------------------------------------------------------------------------------------------------------- output


def _publish(output: Path, fingerprint: str, extracted: Path, steps: Sequence[Step], recipe: Curation, keep_work: bool) -> dict[str, Any]:
    """Bring the last step's shards, what was dropped and the report into place; run.json comes last."""
    for name in ("shards", "dropped", "facts"):
        shutil.rmtree(output / name, ignore_errors=True)
    (output / "shards").mkdir()
    kept = [path for path in steps[-1].shards if _rows(path)]
    for number, path in enumerate(kept):
        _link(path, output / "shards" / f"{number:05d}.parquet")
    for step in steps:
        (output / "dropped" / step.name).mkdir(parents=True)
        for number, path in enumerate(sorted((step.directory / "dropped").glob("*.jsonl"))):
            _link(path, output / "dropped" / step.name / f"{number:05d}.jsonl")
        for leaf in step.layer.leaves:
            (output / "facts" / step.name).mkdir(parents=True, exist_ok=True)
            _link(step.directory / "plan" / leaf, output / "facts" / step.name / leaf)
    quarantined = b"".join(path.read_bytes() for path in sorted((extracted / "quarantine").glob("*.jsonl")))
    _write(output / "quarantine.jsonl", quarantined)
    layers = [{"name": step.name.partition("-")[2], "step": step.name, **_layer_facts(step)} for step in steps]
    origins = [layer.pop("origins") for layer in layers][-1]  # those of the last layer are the corpus's
    report = {
        "schema": 1,
        "recipe": {"layers": [identity_of(layer) for layer in recipe.layers], "sources": encode(recipe.sources)},
        "quarantined": quarantined.count(b"\n"),
        "skipped": _summed(json.loads(path.read_text()) for path in sorted((extracted / "counts").glob("*.json"))).get("skipped", {}),
        "quarantine_reasons": dict(Counter(json.loads(line)["reason"] for line in quarantined.splitlines())),
        "layers": layers,
        "corpus": [
            {**dict(zip(("language", "source", "licence"), json.loads(name), strict=True)), **found}
            for name, found in sorted(origins.items())
        ],
    }
    _write_json(output / "report.json", report)
    _write_json(output / "run.json", {"fingerprint": fingerprint})
    if not keep_work:
        shutil.rmtree(output / "work")
    return report


def _layer_facts(step: Step) -> dict[str, Any]:
    parts = [json.loads(path.read_text()) for path in sorted((step.directory / "counts").glob("*.json"))]
    facts = _summed([_Tally().facts(), *parts])
    return {**facts, "dropped": facts["seen"] - facts["kept"]}


def read_report(output: Path) -> dict[str, Any] | None:
    """The report of a finished corpus; None where there is none. Raises CurationError for one that cannot be read."""
    path = output / "report.json"
    if not (output / "run.json").is_file():
        return None
    try:
        report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if report["schema"] != 1:
            raise ValueError("its schema is not 1")
        return report
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CurationError(f"{path} cannot be read ({error}); remove it and run the curation again") from error


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _column(path: Path, name: str) -> list[Any]:
    import pyarrow.parquet

    found: list[Any] = pyarrow.parquet.read_table(path, columns=[name]).column(name).to_pylist()
    return found


def _rows(path: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.ParquetFile(path).metadata.num_rows)


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _jsonl(rows: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def _write_json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, indent=1, ensure_ascii=False).encode())


def _write(path: Path, data: bytes) -> None:
    """Replace a file as a whole."""
    with whole(path) as aside:
        aside.write_bytes(data)
