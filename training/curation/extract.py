"""Files -> documents in shards, one task a group of files; what is killed goes on with the groups that are left.

kept/NNNNN-PPPP.parquet        the documents of group NNNNN
places/NNNNN-PPPP.parquet      where each was read: file and row (ids.py)
quarantine/NNNNN.jsonl         what could not be read, and remarks (`Quarantined`), in the order of the files
counts/NNNNN.json              comes last
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.curation import documents as shards_of
from training.curation.documents import CurationError, Document, Quarantined
from training.curation.engine import Engine
from training.curation.ids import PLACES, write_places
from training.curation.sources import SUFFIXES, Sources, documents_of
from training.curation.sources.hub import PREFIX, Mirrored, documents_of_set, mirrored
from training.recipe import digest, encode
from training.whole import whole

VERSION = 2  # moves when what extraction leaves does
INPUT_BYTES = 128 * 2**20  # of input files that one task reads
Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """The files of a run in their order, and which of them are data sets of the mirror."""

    files: tuple[Path, ...]
    hub: Mapping[Path, Mirrored]

    def identity(self, sources: Sources) -> str:
        """A digest of which input this is and how it is read."""
        told: list[Any] = [VERSION, encode(sources)]
        for path in self.files:
            found = path.stat()
            told.append([str(path), found.st_size, found.st_mtime_ns, *([encode(self.hub[path].text)] if path in self.hub else [])])
        return digest(told)


def inputs_of(named: Sequence[str], sources: Sources, hub: Path | None) -> Inputs:
    """What `--input` names. Raises CurationError for what is not there, or of a kind that is not read."""
    files: dict[Path, None] = {}
    sets: dict[Path, Mirrored] = {}
    for name in named:
        if name.startswith(PREFIX):
            path, found = mirrored(name, sources, hub)
            sets[path] = found
            files[path] = None
        else:
            files.update(dict.fromkeys(shards_of.files_of([name], SUFFIXES)))
    if odd := next((path for path in files if not path.name.lower().endswith(SUFFIXES)), None):
        raise CurationError(f"--input {odd}: curation reads {', '.join(SUFFIXES)}; convert the file, or leave it out of the pattern")
    return Inputs(files=tuple(files), hub=sets)


def extract(
    inputs: Inputs, sources: Sources, directory: Path, shown_from: Path | None, engine: Engine, tell: Tell, group_bytes: int | None = None
) -> list[Path]:
    """Read all that is not read yet, `group_bytes` of input files a task (None: INPUT_BYTES); returns the shards. Raises CurationError."""
    if not (directory / "done.json").is_file():
        groups = list(_groups(inputs.files, INPUT_BYTES if group_bytes is None else group_bytes))
        for name in ("kept", PLACES, "quarantine", "counts"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        left = [(number, group) for number, group in enumerate(groups) if not (directory / "counts" / f"{number:05d}.json").is_file()]
        task = functools.partial(
            _group,
            sources=sources,
            directory=directory,
            shown_from=shown_from,
            labels=_labels([path for path in inputs.files if path not in inputs.hub]),
            hub=inputs.hub,
        )
        for place, counts in enumerate(engine.map(task, left), len(groups) - len(left) + 1):
            tell(f"extract  {place}/{len(groups)}  {counts['documents']:,} documents, {counts['quarantined']:,} quarantined")
        write_json(directory / "done.json", {"groups": len(groups)})
    return sorted((directory / "kept").glob("*.parquet"))


def _labels(files: Sequence[Path]) -> dict[Path, str]:
    """What ids call the files that share a name: the way to each from the directory that holds them all."""
    names = Counter(path.name for path in files)
    twice = [path for path in files if names[path.name] > 1]
    root = os.path.commonpath([path.parent for path in files]) if twice else ""
    return {path: path.relative_to(root).as_posix() for path in twice}


def _groups(files: Sequence[Path], group_bytes: int) -> Iterator[list[Path]]:
    part: list[Path] = []
    size = 0
    for path in files:
        part.append(path)
        size += path.stat().st_size
        if size >= group_bytes:
            yield part
            part, size = [], 0
    if part:
        yield part


def _group(
    item: tuple[int, list[Path]],
    sources: Sources,
    directory: Path,
    shown_from: Path | None,
    labels: Mapping[Path, str],
    hub: Mapping[Path, Mirrored],
) -> dict[str, Any]:
    number, files = item
    for name in ("kept", PLACES):
        for stale in (directory / name).glob(f"{number:05d}-*.parquet"):
            stale.unlink()  # of a task that was killed; its parts may have been cut elsewhere
    skipped: Counter[str] = Counter()
    told = {"documents": 0, "quarantined": 0, "remarks": 0}
    in_files: list[str] = []
    in_rows: list[int] = []  # of the documents of one shard, as they are handed over
    with whole(directory / "quarantine" / f"{number:05d}.jsonl") as aside, aside.open("wb") as lines:

        def quarantine(amiss: Quarantined) -> None:
            told["remarks" if amiss.kept else "quarantined"] += 1
            row = {**dataclasses.asdict(amiss), "file": _shown(amiss.file, shown_from)}
            lines.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")

        def found() -> Iterator[Document]:
            for path in files:
                shown = shards_of.writable(_shown(str(path), shown_from))
                for made in _documents(path, sources, quarantine, skipped, labels.get(path, ""), hub.get(path)):
                    in_files.append(shown)
                    in_rows.append(made.place.row)
                    yield made

        for part, documents in enumerate(shards_of.in_shards(found())):
            name = f"{number:05d}-{part:04d}.parquet"
            told["documents"] += shards_of.write(directory / "kept" / name, documents)
            write_places(directory / PLACES / name, in_files, in_rows)
            in_files.clear()
            in_rows.clear()
    counts = {**told, "skipped": dict(skipped)}
    write_json(directory / "counts" / f"{number:05d}.json", counts)
    return counts


def _documents(
    path: Path,
    sources: Sources,
    quarantine: shards_of.Quarantine,
    skipped: Counter[str],
    label: str,
    data_set: Mirrored | None,
) -> Iterator[Document]:
    """The documents of one input; ids of ours, by file and row, begin with its label where its name is that of others too."""
    if data_set is not None:
        yield from documents_of_set(data_set, skipped)
        return
    try:
        for made in documents_of(path, sources, quarantine, skipped):
            ours = label and made.id.startswith(f"{path.name}#")
            yield dataclasses.replace(made, id=label + made.id.removeprefix(path.name)) if ours else made
    except CurationError as error:  # a file of which nothing can be had is no reason to lose the others
        quarantine(Quarantined(file=str(path), row=0, offset=-1, reason=str(error).removeprefix(f"{path} ")))


def _shown(file: str, shown_from: Path | None) -> str:
    return file if shown_from is None else os.path.relpath(file, shown_from)


def write_json(path: Path, value: Any) -> None:
    """Replace a file as a whole."""
    with whole(path) as aside:
        aside.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
