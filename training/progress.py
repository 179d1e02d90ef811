"""What a child tells of itself: progress lines, a heartbeat through silent phases, its memory, and when it may be interrupted.

`progress.jsonl` holds {"time", "phase", "step", "steps", "loss", "tokens", "tokens_per_second", "eta_seconds"} a line. While a phase
is silent (a large file is tokenised), a thread repeats the last line, so that nobody takes the lease for a dead builder's.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

HEARTBEAT = 2.0  # seconds


def peak_memory() -> int:
    """Bytes of the largest resident set so far, of this process or of one that it started and waited for."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak if sys.platform == "darwin" else peak * 1024


class Interrupted(Exception):
    """SIGTERM or SIGINT: what can be resumed has been saved."""


class Progress:
    """Appends progress lines to a file; `path` None is silent (ranks other than 0)."""

    def __init__(self, path: Path | None) -> None:
        """Open for appending; the heartbeat starts with `with`."""
        self._path, self._last, self._written = path, {"phase": "start"}, 0.0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __call__(self, phase: str, *, often: bool = False, **values: Any) -> None:
        """Write a line. `often` marks lines that come many times a second: one in a heartbeat is enough."""
        with self._lock:
            self._last = {"phase": phase, **{key: value for key, value in values.items() if value is not None}}
            if not often or time.time() - self._written >= HEARTBEAT / 4:
                self._write()

    def __enter__(self) -> Progress:
        """Start the heartbeat."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT / 4):
            with self._lock:
                if time.time() - self._written >= HEARTBEAT:
                    self._write()

    def _write(self) -> None:
        self._written = time.time()
        if self._path is not None:
            with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:  # a full disk shows where it matters
                file.write(json.dumps({"time": round(self._written, 3), **self._last}) + "\n")


class Interruption:
    """SIGTERM and SIGINT raise Interrupted at once, or, inside `deferred()`, set `wanted` for the loop to see between two steps."""

    def __init__(self) -> None:
        """Not listening until `listen`."""
        self.wanted = False
        self._deferred = 0

    def listen(self) -> None:
        """Take the signals over (main thread only)."""
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """No exception comes out of the blue in here; a signal that came is raised at the end."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1
        if self.wanted and not self._deferred:
            raise Interrupted("stopped by a signal")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.wanted = True
        if not self._deferred:
            raise Interrupted(f"stopped by {signal.Signals(number).name}")
