"""What the benchmarks of curation measure, as commands, so that all processes of one piece of work can be counted together.

    python -m benchmarks.speed.curation_work layer --input SHARDS --output DIR --layers near [--set near.bands=16 ...]
    python -m benchmarks.speed.curation_work chain --input SHARDS --output DIR [--layers url,lines]
    python -m benchmarks.speed.curation_work floor --input SHARDS --output DIR --layers read
    python -m benchmarks.speed.curation_work extract --input WARCS --output DIR

`layer` is one step of the chain over shards as they are: first pass, verdicts, shards written. `floor` is what no layer can do without: `read` the text
column, `hash` every text once, read all as `documents`, `pass` them on (read, keep all, write: a step of the chain that decides nothing).
`extract` makes shards of the pages of WARC files, a task a file. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.curation import chain, settings
from training.curation import extract as extraction
from training.curation.documents import read
from training.curation.engine import Engine, without_pandas
from training.curation.ids import Ids
from training.curation.layer import Decision, Judge, Layer
from training.curation.sources import Sources

FLOORS = ("read", "hash", "documents", "pass")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pass(Layer):
    """Keeps every document as it is."""

    name = "pass"

    def judge(self, work: Path) -> Judge:
        """Decides nothing."""
        return lambda batch, shard, first: [Decision(document=made) for made in batch]


def step(layer: Layer, shards: Sequence[Path], output: Path, engine: Engine) -> dict[str, Any]:
    """Run one layer over shards as the chain does; its counts."""
    made = chain.Step(name=f"01-{layer.name}", layer=layer, directory=output)
    chain._step(made, shards, engine, lambda _: None)
    facts = chain._layer_facts(made)
    return {"documents": facts["seen"], "bytes": facts["seen_bytes"], "kept": facts["kept"], "dropped": facts["dropped"]}


def floor(what: str, shards: Sequence[Path], output: Path, engine: Engine) -> dict[str, Any]:
    """What reading alone costs."""
    if what == "pass":
        return step(Pass(), shards, output, engine)
    counts = list(engine.map(functools.partial(_read, what=what), shards))
    return {"documents": sum(count for count, _ in counts), "bytes": sum(size for _, size in counts)}


def extract(files: Sequence[Path], output: Path, engine: Engine) -> dict[str, Any]:
    """Files -> shards, a task a file, as a chain begins; `documents` are the records that are pages."""
    extraction.extract(extraction.Inputs(files=tuple(files), hub={}), Sources(), output, None, engine, lambda _: None, group_bytes=1)
    counts = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((output / "counts").iterdir())]
    kept = sum(one["documents"] for one in counts)
    return {"documents": kept + sum(one["quarantined"] + sum(one["skipped"].values()) for one in counts), "kept": kept}


def _read(shard: Path, what: str) -> tuple[int, int]:
    if what == "documents":
        sizes = [len(made.text) for made in read(shard, lambda _: None)]
        return len(sizes), sum(sizes)
    import pyarrow.parquet

    count = size = 0
    for batch in pyarrow.parquet.ParquetFile(shard).iter_batches(columns=["text"], use_threads=False):
        count += batch.num_rows
        if what == "read":
            size += batch.column(0).nbytes
        else:
            for text in batch.column(0):
                whole = text.as_buffer()
                hashlib.blake2b(whole, digest_size=8).digest()
                size += whole.size
    return count, size


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.curation_work")
    parser.add_argument("do", choices=("layer", "chain", "floor", "extract"))
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--layers", default=",".join(settings.DEFAULT_LAYERS))
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--workers", type=int, required=True)
    given = parser.parse_args(arguments)
    without_pandas()  # as the command line of curation does
    engine, names = Engine(workers=given.workers), given.layers.split(",")
    given.output.mkdir(parents=True, exist_ok=True)
    shards = sorted(given.input.glob("*.parquet"))
    if given.do == "extract":
        told = extract(sorted(given.input.iterdir()), given.output, engine)
    elif given.do == "floor":
        told = floor(names[0], shards, given.output, engine)
    elif given.do == "layer":
        layer = Ids() if names == ["ids"] else settings.of({"layers": names}, given.set, where="--set").layers[0]
        told = step(layer, shards, given.output, engine)
    else:
        report = chain.run(settings.of({"layers": names}, given.set, where="--set"), [str(given.input)], given.output, engine)
        first, last = report["layers"][0], report["layers"][-1]
        steps = {layer["step"]: layer["dropped"] for layer in report["layers"]}
        told = {"documents": first["seen"], "bytes": first["seen_bytes"], "kept": last["kept"], "steps": steps}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
