"""The processes of one run: under torchrun each rank trains on its share of every batch and gradients are summed.

Every rank holds the whole model, or its part of it (`sharded`: sharding.py). Rows are dealt out so that the batch of a step is the same
whatever the number of processes; what is written, rank 0 writes.
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.progress import Interrupted
from training.whole import whole

if TYPE_CHECKING:
    import torch

BUCKET = 64 * 2**20  # bytes of gradients sent in one message
LOOK_EVERY = 0.2  # seconds between two looks at rank 0's note
SEEN_WITHIN = 180.0  # seconds; a network's disk may show a new file a minute late
PATIENCE = datetime.timedelta(hours=2)  # the others wait while rank 0 writes: a snapshot of 20B parameters is 240 GB


class RanksError(Exception):
    """What the processes of this run cannot do together; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's rank among `size`; alone it is 0 of 1 and nothing is sent."""

    rank: int = 0
    size: int = 1
    sharded: bool = False

    @classmethod
    def join(cls, device: str, sharding: str = "whole") -> Ranks:
        """Join the processes that torchrun started (WORLD_SIZE); gloo on CPU, nccl on CUDA. `sharding` auto splits the model on CUDA."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        import torch.distributed as distributed

        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
        sharded = sharding == "fsdp" or (sharding == "auto" and device == "cuda")
        return cls(rank=distributed.get_rank(), size=size, sharded=sharded)

    def leave(self) -> None:
        """Leave the group."""
        if self.size > 1:
            import torch.distributed as distributed

            distributed.destroy_process_group()

    def share(self, batch: int) -> int:
        """How many rows of a batch are each rank's. Raises RanksError unless they divide evenly."""
        if batch % self.size:
            raise RanksError(f"a batch of {batch} rows cannot be dealt out to {self.size} processes; start a number that divides it")
        return batch // self.size

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over the ranks, a bucket of tensors a message (sharded, the backward pass has done so)."""
        if self.size == 1 or self.sharded:
            return
        import torch
        import torch.distributed as distributed

        for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            distributed.all_reduce(flat)
            for gradient, part in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
                gradient.copy_(part.view_as(gradient))

    def sum(self, values: Sequence[float], device: str) -> list[float]:
        """Sums over the ranks, in float64."""
        if self.size == 1:
            return list(values)
        import torch
        import torch.distributed as distributed

        tensor = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(tensor)
        return list(tensor.tolist())

    def from_first(self, value: int, device: str) -> int:
        """Rank 0's value, on every rank."""
        return round(self.sum([float(value) if self.rank == 0 else 0.0], device)[0])

    def by_first(self, work: Callable[[], Any], note: Path, device: str) -> Any:
        """What `work` gives on rank 0, as plain JSON. The others do not work: they wait for it in the file `note`, however long it takes.

        The note carries a number of this run, so that one left by an earlier run is not taken for it. Raises RanksError where rank 0's
        work raised, or where its note is not seen.
        """
        if self.size == 1:
            return work()
        run = self.from_first(secrets.randbits(48), device)
        if self.rank == 0:
            _tell(note, {"run": run})
            told: dict[str, Any] = {"run": run, "failed": True}
            try:
                told = {"run": run, "found": work()}
            except Interrupted:  # the signal is the others' too: each ends by it, and none by this note
                raise
            except BaseException:
                _tell(note, told)
                raise
            _tell(note, told)
            return told["found"]
        begun = time.monotonic()
        while (told := _told(note)).keys() != {"run", "found"} or told["run"] != run:
            if told.get("run") != run and time.monotonic() - begun > SEEN_WITHIN:
                raise RanksError(f"rank {self.rank} does not see {note}, which rank 0 wrote; the directory must be shared by all")
            if told.get("run") == run and "failed" in told:
                raise RanksError("rank 0 failed, and the others have nothing to go on with; see its error")
            time.sleep(LOOK_EVERY)
        return told["found"]


ALONE = Ranks()


def _tell(note: Path, what: Mapping[str, Any]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    with whole(note) as aside:
        aside.write_text(json.dumps(what), encoding="utf-8")


def _told(note: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESTALE):  # replaced while it was read, on a network's disk
            raise
        return {}
    return found


def _buckets(gradients: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    bucket: list[torch.Tensor] = []
    held = 0
    for gradient in gradients:
        if bucket and (held + gradient.nbytes > BUCKET or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(gradient)
        held += gradient.nbytes
    if bucket:
        yield bucket
