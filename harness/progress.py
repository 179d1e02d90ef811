"""Shows long work: one live line on a terminal, a plain line now and then elsewhere (a pipe, a log); no colours."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

PLAIN_EVERY = 20.0  # seconds between plain lines


def read_last(path: Path) -> dict[str, Any] | None:
    """The last whole line of a progress file, or None. Reads the tail only: a stage of weeks leaves a long file."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(0, size - 4096))
            lines = file.read().split(b"\n")
    except OSError:
        return None
    for line in reversed(lines[:-1]):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None


def describe(event: dict[str, Any]) -> str:
    """One progress event in words: phase, step, loss, speed, time left."""
    words = [str(event.get("phase", ""))]
    if event.get("steps"):
        words.append(f"{event.get('step', 0):,}/{event['steps']:,}")
    if event.get("loss") is not None:
        words.append(f"loss {event['loss']:.3f}")
    if event.get("tokens_per_second"):
        words.append(f"{event['tokens_per_second']:,.0f} tokens/s")
    if event.get("eta_seconds") is not None:
        words.append(f"{duration(event['eta_seconds'])} left")
    return "  ".join(word for word in words if word)


def duration(seconds: float) -> str:
    """Seconds as a person writes them: `8 s`, `2:05`, `3:07:00`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class Progress:
    """Writes to `file` where one is given; `live` rewrites one line, else a plain line every `PLAIN_EVERY` seconds."""

    def __init__(self, file: TextIO | None, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`file` None is silent (an xdist worker, `-p no:terminal`)."""
        self.file, self.live, self.clock = file, live, clock
        self._last, self._open = -PLAIN_EVERY, False
        self.lead = ""  # what a plain line starts with: a new line, where somebody else's may be open

    def show(self, title: str, event: dict[str, Any] | None) -> None:
        """Show the state of the work named `title`."""
        if self.file is None or event is None:
            return
        text = f"{title}  {describe(event)}"
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.file.write(("" if self._open else self.lead) + "\r" + text[:width].ljust(width))
            self._open = True
        elif self.clock() - self._last >= PLAIN_EVERY:
            self.file.write(self.lead + text + "\n")
            self._last = self.clock()
        self.file.flush()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.file is None:
            return
        self.clear()
        self.file.write(self.lead + text + "\n")
        self.file.flush()

    def clear(self) -> None:
        """Take the live line away."""
        if self.file is not None and self._open:
            width = shutil.get_terminal_size().columns - 1
            self.file.write("\r" + " " * width + "\r")
            self._open = False
