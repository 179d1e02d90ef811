"""Files that survive a crash: hashed, fsynced, written aside and renamed.

Everything in the store that must be whole or absent goes through these few functions, so that there is one place where the
order of write, fsync and rename is decided (and one place where tests plant a full disk or a kill).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from training.whole import sync

HASHERS = 4  # SHA-256 releases the GIL; more threads than this wait for the disk


def hash_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path]) -> dict[Path, str]:
    """SHA-256 of each file, a few at a time: shards of several GB are read in parallel."""
    todo = list(paths)
    if len(todo) < 2:
        return {path: hash_file(path) for path in todo}
    with ThreadPoolExecutor(min(HASHERS, len(todo))) as pool:
        return dict(zip(todo, pool.map(hash_file, todo), strict=True))


def sync_tree(directory: Path) -> None:
    """fsync every file below a directory, then the directories, deepest first."""
    for parent, _, names in os.walk(directory, topdown=False):
        for name in names:
            sync(Path(parent, name))
        sync(Path(parent))


def make_directories(path: Path) -> None:
    """mkdir -p whose every new directory entry is fsynced, so that a power cut cannot lose the way to an artifact."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync(directory.parent)


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader, or the next run after a crash, sees the old file or the new one, never a part.

    Raises OSError (disk full, no permission); the old file then still stands and nothing is left beside it.
    """
    try:
        data = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # a lone surrogate: escape everything
        data = json.dumps(value, indent=1, allow_nan=False).encode("ascii")
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with aside.open("wb") as file:
            file.write(data + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    sync(path.parent)


def place(source: Path, target: Path, *, link: bool) -> None:
    """Put a file at `target`: a hard link where wanted and possible, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        try:
            os.link(source, target)
        except OSError:  # another file system, or one without hard links
            pass
        else:
            return
    shutil.copyfile(source, target)


def remove_tree(directory: Path, trash: Path) -> None:
    """Make a directory absent at one stroke (a rename into `trash`), then delete it at leisure."""
    trash.mkdir(parents=True, exist_ok=True)
    gone = trash / f"{directory.name}-{secrets.token_hex(4)}"
    try:
        os.rename(directory, gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)
