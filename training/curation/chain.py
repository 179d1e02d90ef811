"""The order of curation: files -> documents -> one layer after the other -> shards and a report; killed anywhere, it goes on.

    OUTPUT/work/NN-NAME/          a step: plan/ (of its first pass), kept/ dropped/ cut/ counts/, done.json last
    OUTPUT/shards/                the corpus
    OUTPUT/dropped/NN-NAME/       what each layer dropped, with its reason
    OUTPUT/cut/NN-NAME/           samples of what a layer took out of documents that stay, and the sizes of some (cuts.py)
    OUTPUT/quarantine.jsonl       what could not be read, and, `kept` true, what was read with a remark (documents.Quarantined)
    OUTPUT/report.json            the counts (report.py makes text and HTML of them)
    OUTPUT/facts/NN-NAME/         what a layer leaves of its plan (`Layer.leaves`)
    OUTPUT/.lock                  while a run writes here
    OUTPUT/run.json               of which input and recipe this is, and in which form; comes last: a corpus without it is not finished

A step is named by the digest of all that came before it, so a changed setting runs its own layer and those after it again, no other. A shard's
counts are written after everything else of it: what has counts is done. The output is the same whatever the number of workers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from training.curation import documents as shards_of
from training.curation.cuts import Cuts
from training.curation.documents import CurationError, Document, Quarantined
from training.curation.engine import Engine
from training.curation.extract import Tell, extract, inputs_of, write_json
from training.curation.ids import Ids
from training.curation.layer import EXCERPT, Decision, Layer
from training.curation.settings import Curation
from training.pretraining.sources import file_digest
from training.recipe import digest, encode
from training.whole import whole

LOCK = ".lock"


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
    form: str = "parquet",
    hub: Path | None = None,
) -> dict[str, Any]:
    """Run the chain to its end, or go on with it; returns the report. Raises CurationError, also where another run is writing `output`.

    `keep_work` leaves the steps' own files, so that a changed recipe need not start from the first layer. Files are named in the quarantine as
    they stand, or from the directory `shown_from`. `form` (of documents.FORMS) is that of the corpus's shards and of nothing else: where the work is
    kept, another form runs no layer again. `hub` is the mirror of inputs named `hub:DATASET/CONFIG/SPLIT`. But for run.json the output
    depends on the input's content, the recipe and the form alone.
    """
    if form not in shards_of.FORMS:
        raise CurationError(f"a corpus is written as {', '.join(shards_of.FORMS[:-1])} or {shards_of.FORMS[-1]}, not {form}")
    given = inputs_of(inputs, recipe.sources, hub)
    identity = given.identity(recipe.sources)
    finished = digest([identity, [identity_of(layer) for layer in recipe.layers]])
    with _alone(output, tell):
        work = output / "work"
        if (report := read_report(output)) is not None:
            was = json.loads((output / "run.json").read_text())
            written = was.get("format", "parquet")
            if was["fingerprint"] == finished and written == form:
                tell(f"{output} is complete already")
                if not keep_work:
                    shutil.rmtree(work, ignore_errors=True)  # of a run that was killed while it tidied up
                return report
            if was["fingerprint"] == finished and not work.is_dir():
                tell(f"{output} holds {written} and no work (--keep-work): for {form} its layers run again")
            (output / "run.json").unlink()
        work.mkdir(parents=True, exist_ok=True)
        extracted = work / f"00-extract-{identity[:12]}"
        before, steps = extract(given, recipe.sources, extracted, shown_from, engine, tell), []
        fingerprint = identity
        for number, layer in enumerate((Ids(), *recipe.layers)):
            fingerprint = digest([fingerprint, identity_of(layer)])
            name = f"{number:02d}-{layer.name}"
            step = Step(name=name, layer=layer, directory=work / f"{name}-{fingerprint[:12]}")
            _step(step, before, engine, tell)
            steps.append(step)
            before = step.shards
        return _publish(output, {"fingerprint": finished, "format": form}, extracted, steps, recipe, engine, keep_work)


@contextlib.contextmanager
def _alone(output: Path, tell: Tell) -> Iterator[None]:
    """Keep other runs away from `output`. Raises CurationError where one is writing it."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / LOCK
    with contextlib.ExitStack() as held:
        try:
            while True:
                file = held.enter_context(path.open("w"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        break  # and not one that a run which ended meanwhile has taken away
        except BlockingIOError as error:
            raise CurationError(f"another run is writing {output}: wait for it, or give another --output") from error
        except OSError as error:  # a file system without locks, a directory that may only be read
            tell(f"{output} cannot be locked ({error}): keep other runs away from it")
        else:
            held.callback(path.unlink, missing_ok=True)
        yield


def identity_of(layer: Layer) -> dict[str, Any]:
    """A layer's settings and version; of a setting that names a file or a directory its content counts, and not where it lies."""

    def told(value: Any, inside: bool) -> Any:
        if isinstance(value, list):
            return [told(one, inside) for one in value]
        path = Path(value).expanduser() if isinstance(value, str) and value else None
        if path is not None and path.is_file():
            return {"file": path.name, "sha256": file_digest(path)}
        if path is not None and inside and path.is_dir():
            files = sorted(one for one in path.rglob("*") if one.is_file())
            return {"directory": path.name, "sha256": {one.relative_to(path).as_posix(): file_digest(one) for one in files}}
        return value

    return {"version": layer.version, **{key: told(value, key in layer.files) for key, value in encode(layer).items()}}


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
    for name in ("kept", "dropped", "cut", "counts"):
        (step.directory / name).mkdir(exist_ok=True)
    left = [(number, path) for number, path in enumerate(before) if not (step.directory / "counts" / f"{number:05d}.json").is_file()]
    task = functools.partial(_judge_shard, layer=step.layer, directory=step.directory)
    for place, counts in enumerate(engine.map(task, left), len(before) - len(left) + 1):
        tell(f"{step.name}  {place}/{len(before)}  {counts['kept']:,} of {counts['seen']:,} documents kept")
    write_json(step.directory / "done.json", {"shards": len(before)})


def _judge_shard(item: tuple[int, Path], layer: Layer, directory: Path) -> dict[str, Any]:
    """Judge one shard: kept documents, dropped ones with their reasons, what was cut, counts last."""
    number, path = item
    judge = layer.judge(directory / "plan")
    dropped: list[dict[str, Any]] = []
    tally, cuts = _Tally(), Cuts()

    def kept() -> Iterator[Document]:
        first = 0
        for batch in _batches(path):
            decisions = judge(batch, number, first)
            if len(decisions) != len(batch):
                raise CurationError(f"layer {layer.name} gave {len(decisions)} decisions on {len(batch)} documents; it is at fault")
            for made, decision in zip(batch, decisions, strict=True):
                tally.add(made, decision)
                cuts.add(made, decision, layer.cuts)
                if decision.document is not None:
                    yield decision.document
                else:
                    dropped.append(_dropped(made, decision))
            first += len(batch)

    shards_of.write(directory / "kept" / f"{number:05d}.parquet", kept())
    with whole(directory / "dropped" / f"{number:05d}.jsonl") as aside:
        aside.write_bytes(_jsonl(dropped))
    if any((found := cuts.facts()).values()):
        write_json(directory / "cut" / f"{number:05d}.json", found)
    counts = tally.facts()
    write_json(directory / "counts" / f"{number:05d}.json", counts)
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
    told |= {"url": made.url, "language": made.language, "source": made.source, "record": made.extra.get("record", "")}
    return {**told, **decision.told}


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


def _publish(
    output: Path, mark: dict[str, str], extracted: Path, steps: Sequence[Step], recipe: Curation, engine: Engine, keep_work: bool
) -> dict[str, Any]:
    """Bring the last step's shards, what was dropped and the report into place; run.json comes last."""
    for name in ("shards", "dropped", "cut", "facts"):
        shutil.rmtree(output / name, ignore_errors=True)
    (output / "shards").mkdir()
    kept = [path for path in steps[-1].shards if _rows(path)]
    targets = [output / "shards" / f"{number:05d}.{mark['format']}" for number in range(len(kept))]
    if mark["format"] == "parquet":
        for path, target in zip(kept, targets, strict=True):
            _link(path, target)
    else:
        list(engine.map(_rewrite, zip(kept, targets, strict=True)))
    for step in steps:
        (output / "dropped" / step.name).mkdir(parents=True)
        for number, path in enumerate(sorted((step.directory / "dropped").glob("*.jsonl"))):
            _link(path, output / "dropped" / step.name / f"{number:05d}.jsonl")
        for name, rows in Cuts.joined(sorted((step.directory / "cut").glob("*.json"))).facts().items():
            if rows:
                (output / "cut" / step.name).mkdir(parents=True, exist_ok=True)
                with whole(output / "cut" / step.name / f"{name}.jsonl") as aside:
                    aside.write_bytes(_jsonl(rows))
        for leaf in step.layer.leaves:
            (output / "facts" / step.name).mkdir(parents=True, exist_ok=True)
            _link(step.directory / "plan" / leaf, output / "facts" / step.name / leaf)
    lost, kept_with = _quarantine(sorted((extracted / "quarantine").glob("*.jsonl")), output / "quarantine.jsonl")
    layers = [{"name": step.name.partition("-")[2], "step": step.name, **_layer_facts(step)} for step in steps]
    origins = [layer.pop("origins") for layer in layers][-1]  # those of the last layer are the corpus's
    report = {
        "schema": 1,
        "recipe": {"layers": [identity_of(layer) for layer in recipe.layers], "sources": encode(recipe.sources)},
        "quarantined": lost.total(),
        "skipped": _summed(json.loads(path.read_text()) for path in sorted((extracted / "counts").glob("*.json"))).get("skipped", {}),
        "quarantine_reasons": dict(lost),
        "remarks": kept_with.total(),
        "remark_reasons": dict(kept_with),
        "layers": layers,
        "corpus": [
            {**dict(zip(("language", "source", "licence"), json.loads(name), strict=True)), **found}
            for name, found in sorted(origins.items())
        ],
    }
    write_json(output / "report.json", report)
    write_json(output / "run.json", mark)
    if not keep_work:
        shutil.rmtree(output / "work")
    return report


def _rewrite(item: tuple[Path, Path]) -> None:
    """A shard in another form."""
    source, target = item
    shards_of.write(target, (made for batch in _batches(source) for made in batch))


def _quarantine(parts: Sequence[Path], target: Path) -> tuple[Counter[str], Counter[str]]:
    """Join the quarantines of all groups; returns the reasons of what is lost, and of what is kept with a remark."""
    lost: Counter[str] = Counter()
    remarks: Counter[str] = Counter()
    with whole(target) as aside, aside.open("wb") as joined:
        for path in parts:
            with path.open("rb") as lines:
                for line in lines:
                    joined.write(line)
                    told = json.loads(line)
                    (remarks if told["kept"] else lost)[told["reason"]] += 1
    return lost, remarks


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
