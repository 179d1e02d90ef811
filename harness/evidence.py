"""What a certificate rests on beside the checkpoint: the suites' specs, data and code, and the code that judges.

Where any of it moves, the certificate is not found, and the verdicts are derived again from stored answers: a matter of seconds, so
this errs on the side of deriving again.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.profiles import Profile
from harness.suites import SuiteSpec
from training.pretraining.sources import SourceError, data_digest, file_digest, sources_of
from training.recipe import Source, decode, digest, encode

# Directories (below the three packages' home) whose code makes rows or verdicts, or whose text is asked about: identification, words, windows and
# more of `training` stand behind suites.
CODE = ("harness", "benchmarks/suites", "training")
TARGET = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_]\w*")  # module:function, of a suite or in its options
OURS = ("harness", "training", "benchmarks")
ORIGINALS = (".py", ".yaml", ".yml", ".json", ".jsonl", ".toml", ".txt", ".csv")
LIBRARIES = ("lm-eval", "transformers", "tokenizers")


def suites_digest(profile: Profile, hub: Path | None, originals: Sequence[Path], cache: Path | None) -> str:
    """Digest of the profile's suites: what they are, the text they ask about, and the libraries that extract. Reads no model.

    Data that is not there counts as absent: the evaluation says so better.
    """
    points = {point.name: point.value for point in importlib.metadata.entry_points(group="seatrials.suites")}
    return digest(
        {
            "specs": {name: encode(spec) for name, spec in profile.suites.items()},
            "data": {name: _data(spec.options, profile.directory, hub, cache) for name, spec in profile.suites.items()},
            "originals": [_tree(path) for path in originals],
            "mirror": _file(hub / "MANIFEST.json") if hub else "",
            "dtype": profile.dtype,
            "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
            "theirs": {name: theirs for name, spec in profile.suites.items() if (theirs := _theirs(spec, points))},
        }
    )


@functools.cache
def code_digest() -> str:
    """Digest of the code between answers and verdicts."""
    home = Path(__file__).resolve().parent.parent
    state = hashlib.sha256()
    for directory in CODE:
        for path in sorted((home / directory).rglob("*")):
            if path.suffix in (".py", ".toml", ".yaml") and "_goldens" not in path.parts:
                state.update(f"{path.relative_to(home)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return state.hexdigest()


def _theirs(spec: SuiteSpec, points: Mapping[str, str]) -> dict[str, str]:
    """Module -> digest of the code of others that a suite is made by: its factory and what its options name. A package counts whole.

    `points`: name -> factory of the suites that installed distributions declare.
    """
    named = [points.get(spec.suite, spec.suite), *_strings(spec.options)]
    modules = {found[1] for text in named if not text.startswith("lm_eval:") and (found := TARGET.fullmatch(text))}
    return {module: _source(module) for module in sorted(modules) if module.partition(".")[0] not in OURS}


def _source(module: str) -> str:
    """Digest of the file of a module, or of all Python files of the package that it is in."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "absent"  # the evaluation says so better
    files = [path for place in spec.submodule_search_locations or () for path in sorted(Path(place).rglob("*.py"))]
    if not files and spec.origin:
        files = [Path(spec.origin)]
    return digest([[path.name, _file(path)] for path in files])


def _strings(value: Any) -> list[str]:
    """Every string in a suite's options that is not of an encoded source."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [] if "__type__" in value else [text for item in value.values() for text in _strings(item)]
    return [text for item in value for text in _strings(item)] if isinstance(value, list | tuple) else []


def kind_of(backend: str) -> str:
    """The name that answers of a backend are filed under: hf, vllm or server."""
    return "server" if "://" in backend else backend


def answered_by(rows: Path) -> dict[str, str]:
    """Backend -> the version that the answers behind a directory of rows are filed under; empty where its summary is gone."""
    try:
        summary = json.loads((rows / "summary.json").read_text(encoding="utf-8"))
        return {entry["facts"]["backend"]: entry["facts"]["backend_version"] for entry in summary.values() if "backend" in entry["facts"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _data(options: Mapping[str, Any], directory: Path, hub: Path | None, cache: Path | None) -> list[str]:
    found = []
    for source in _sources(options):
        try:
            found.append(data_digest((source,), hub, directory, cache))
        except SourceError:
            found.append("absent")
    found += [_file(directory / path) for path in _paths(options)]
    for value in options.values():
        if isinstance(value, str) and (directory / value).is_dir():
            found += [_file(path) for path in sorted((directory / value).rglob("*.*"))]
    return found


def _paths(value: Any) -> list[str]:
    """Every plain path of a text file anywhere in a suite's options; those of encoded sources are read as sources."""
    return [text for text in _strings(value) if text.endswith((".jsonl", ".parquet"))]


def _sources(value: Any) -> list[Source]:
    """Every text source anywhere in a suite's options, encoded or not."""
    if isinstance(value, Mapping):
        if "__type__" in value:
            return list(sources_of(decode(value)))
        return [source for item in value.values() for source in _sources(item)]
    if isinstance(value, list | tuple):
        return [source for item in value for source in _sources(item)]
    return list(sources_of(value))


def _tree(path: Path) -> str:
    """Digest of a checkout's text, whatever git says of it."""
    state = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if file.is_file() and file.suffix in ORIGINALS and ".git" not in inside.parts:
            state.update(f"{inside.as_posix()} {file_digest(file)}\n".encode())
    return state.hexdigest()


def _file(path: Path) -> str:
    return file_digest(path) if path.is_file() else "absent"
