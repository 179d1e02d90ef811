"""Long work shown on pytest's own terminal: one live line, or a plain line now and then; nothing in an xdist worker."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import pytest

from harness.progress import Progress


def terminal_progress(config: pytest.Config) -> Progress:
    """Progress on the terminal that pytest writes to; silent in a worker, or under `-p no:terminal`."""
    if hasattr(config, "workerinput") or not config.pluginmanager.has_plugin("terminal"):
        return Progress(None, live=False)
    return _TerminalProgress(config)


class _TerminalProgress(Progress):
    """The reporter is made after this plugin is configured, so it is looked up when first needed; capture is lifted for each line."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(None, live=False)
        self._config = config
        self.lead = "\n"  # pytest's own line of dots may be open

    def show(self, title: str, event: dict[str, Any] | None) -> None:
        """See Progress.show."""
        with self._terminal():
            super().show(title, event)

    def say(self, text: str) -> None:
        """See Progress.say."""
        with self._terminal():
            super().say(text)

    def clear(self) -> None:
        """See Progress.clear."""
        with self._terminal():
            super().clear()

    def _terminal(self) -> AbstractContextManager[None]:
        manager = self._config.pluginmanager
        if self.file is None and (reporter := manager.get_plugin("terminalreporter")):
            self.file = reporter._tw._file
            self.live = bool(reporter.isatty)  # NO_COLOR asks for no colours, and a line rewritten in place has none
        capture = manager.get_plugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()
