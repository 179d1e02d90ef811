"""The directory a command writes: there whole, or not at all.

Files are written to a hidden directory beside it, `.NAME.XXXXXXXX`, synced, and the directory is renamed. What stands there already is never written
over. A run that was killed leaves its hidden directory behind; nothing reads it, and it may go.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from training.curation.documents import CurationError
from training.whole import sync


@contextlib.contextmanager
def whole_directory(output: Path) -> Iterator[Path]:
    """A directory beside `output` that takes its place at the end; after an error nothing is left of it.

    Raises CurationError where `output` is a file or holds one, or nothing can be written beside it.
    """
    output = output.absolute()
    if output.is_symlink() or (output.exists() and (not output.is_dir() or any(output.iterdir()))):
        raise CurationError(f"--output {output} is there already and is no empty directory: name another, or remove it")
    aside = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        aside.mkdir(parents=True)
    except OSError as error:
        raise CurationError(f"--output {output}: nothing can be written beside it ({error}); name a directory that can be made") from error
    try:
        yield aside
        for path in (*aside.rglob("*"), aside):
            sync(path)
        try:
            aside.rename(output)
        except OSError as error:
            raise CurationError(f"--output {output} was made by another while this ran ({error}): name another, or remove it") from error
        sync(output.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
