"""The engine of the relational layers: Daft, on the native runner here or on Ray (cluster.py) beyond one machine; nothing else differs.

`Engine.map` runs a function over items, in processes here and as tasks on Ray; `Engine.daft()` is Daft with its runner set. Telemetry is off:
with it on, Daft 0.7.26 crashed at exit in 7 of 38 runs of one query, and in 0 of 66 with it off.

Processes are forked from one that has made the imports (`warm.py`) and does nothing else: neither spawned, as each would import all of that again for
every pass of every layer, nor forked from this one, where Daft and numba hold threads of their own.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import dataclasses
import importlib.abc
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Literal, TypeVar

from training.curation import cluster
from training.curation.documents import CurationError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """Where the work is done; none of it changes a result. `address` is the Ray cluster's (cluster.join); `workers` processes of `map` here."""

    runner: Literal["native", "ray"] = "native"
    workers: int = dataclasses.field(default_factory=lambda: max(1, os.cpu_count() or 1))
    address: str = ""

    def described(self) -> str:
        """The cluster that does the work, for a record; "" for this machine. Joins it. Raises CurationError where it cannot be joined."""
        if self.runner == "native":
            return ""
        cluster.join(self.address)
        return cluster.described()

    def daft(self) -> ModuleType:
        """Daft, its runner set. Raises CurationError where the extra is not installed, or the process has the other runner already."""
        os.environ.update(DAFT_ANALYTICS_ENABLED="0", DO_NOT_TRACK="1", RAY_USAGE_STATS_ENABLED="0")
        os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
        try:
            import daft
        except ImportError as error:
            raise CurationError("curation needs Daft, which is not installed: pip install 'seatrials[curation]'") from error
        if _runner not in ("", self.runner):
            raise CurationError(f"this process runs Daft on {_runner} and cannot change to {self.runner}; start another")
        if not _runner:
            _set_runner(daft, self)
        return daft

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`function(item)` for every item, results in the order of the items. The function and its items are pickled; the first error ends it.

        Raises CurationError where a process was killed.
        """
        if self.runner == "ray":
            yield from self._ray(function, items)
            return
        told = list(items)
        if self.workers == 1 or len(told) < 2:
            yield from map(function, told)
            return
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["training.curation.warm"])
        try:
            with concurrent.futures.ProcessPoolExecutor(min(self.workers, len(told)), context, _end_with_parent) as pool:
                yield from pool.map(function, told)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise CurationError(
                "a worker process was killed, most likely as memory ran out (fewer --workers need less of it); run again to go on"
            ) from error

    def _ray(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        ray: Any = cluster.join(self.address)
        task = ray.remote(_call)
        for pending in [task.remote(function, item) for item in items]:
            try:
                yield ray.get(pending)
            except ray.exceptions.RayTaskError as error:  # its text is a traceback of the other process
                raise (error.cause if isinstance(error.cause, Exception) else CurationError(str(error))) from error
            except ray.exceptions.RayError as error:
                raise CurationError(f"the Ray cluster lost a task: {error}; see `ray status`, and run again to go on") from error


def without_pandas() -> None:
    """Let Arrow do without pandas in this process until someone asks for a frame: it would import it for the first array made of a list (.2 s, 60 MB)."""
    import pyarrow

    refusal = _NoPandas()
    sys.meta_path.insert(0, refusal)
    try:
        pyarrow.scalar("")  # asks once for pandas, to know its types; `to_pandas` and `from_pandas` ask again
    finally:
        sys.meta_path.remove(refusal)


def _end_with_parent() -> None:
    """End this process when the one that started it is killed: it would wait for work for ever, or write beside the run that goes on."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch(sentinel: int) -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, args=(parent.sentinel,), daemon=True).start()


class _NoPandas(importlib.abc.MetaPathFinder):
    """Finds everything but pandas elsewhere."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Nothing for pandas, for others the next finder's answer."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


_runner: str = ""  # what this process has set; Daft lets it do so once, and would start Ray before refusing


def _set_runner(daft: ModuleType, engine: Engine) -> None:
    global _runner
    if engine.runner == "ray":
        cluster.join(engine.address)
        daft.set_runner_ray(noop_if_initialized=True)
    else:
        try:
            daft.set_runner_native()
        except daft.exceptions.DaftCoreException as error:  # something else in this process has set one: native is welcome
            if (found := daft.get_or_infer_runner_type()) != "native":
                raise CurationError(f"this process runs Daft on {found} and cannot change to native; start another") from error
    _runner = engine.runner


def _call(function: Callable[[Item], Result], item: Item) -> Result:
    """What Ray runs: it takes no partial functions, but carries them as arguments."""
    return function(item)
