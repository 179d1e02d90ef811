"""An evaluation by several processes (torchrun, `accelerate launch`): each answers its share, and rank 0 makes the rows.

The answers meet in the journal, where every process writes a file of its own. A rank says beside the rows that it is at work, and when
it has ended; rank 0 waits for that, reads the journal again and answers what is still missing. So a rank that dies costs time, never
an answer, and the rows are those of one process.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

BLOCK = 16  # neighbouring samples go to one rank: they share beginnings
SILENT = 900.0  # seconds after which rank 0 takes a rank for dead
POLL = 0.2

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of its launch; alone it is 0 of 1. `launch` tells this launch's files from an earlier one's."""

    rank: int = 0
    size: int = 1
    local: int = 0
    launch: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Ranks:
        """What torchrun and accelerate tell their processes."""
        size = int(environment.get("WORLD_SIZE") or 1)
        if size == 1:
            return cls()
        one_node = int(environment.get("LOCAL_WORLD_SIZE") or size) == size
        parts = [environment.get("TORCHELASTIC_RUN_ID", ""), environment.get("MASTER_PORT", ""), str(os.getppid()) if one_node else ""]
        launch = "-".join(part for part in parts if part and part.isalnum())
        return cls(
            rank=int(environment.get("RANK") or 0), size=size, local=int(environment.get("LOCAL_RANK") or 0), launch=launch or "ranks"
        )

    def share(self, items: Sequence[T]) -> list[T]:
        """This rank's items, in blocks of neighbours dealt out in turn."""
        return [item for index, item in enumerate(items) if index // BLOCK % self.size == self.rank]

    def file(self, output: Path, rank: int | None = None) -> Path:
        """Where a rank says how it is."""
        return output / f".{self.launch}" / f"rank-{self.rank if rank is None else rank}"

    def say(self, output: Path, text: str = "at work") -> None:
        """Say so. A file system that refuses is no reason to stop: rank 0 then answers more itself."""
        try:
            path = self.file(output)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError:
            pass

    def wait(self, output: Path, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep) -> list[int]:
        """Rank 0: wait until every other rank has ended; returns those that were silent for too long."""
        begun, dead = clock(), []
        for rank in range(1, self.size):
            while True:
                path = self.file(output, rank)
                try:
                    seen, said = path.stat().st_mtime, path.read_text(encoding="utf-8")
                except OSError:
                    seen, said = begun, ""
                if said == "ended":
                    break
                if clock() - max(seen, begun) > SILENT:
                    dead.append(rank)
                    break
                sleep(POLL)
        return dead
