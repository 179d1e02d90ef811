"""A Ray cluster, joined: at once, or with an error that says why not.

    SEATRIALS_RAY=local pytest -m curation               a cluster of this machine's cores, which ends with the build
    SEATRIALS_RAY=auto pytest -m curation                the one that this machine is a node of (or a submitted Ray job runs on)
    SEATRIALS_RAY=10.0.0.5:6379 pytest -m curation       the one whose head is there

Every node needs this Python, this distribution, and the store's directory and the crawl under the same paths. Asked for an address where nothing
answers, Ray 2.60 waits for two minutes and then ends the process, so another process asks first.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from training.curation.documents import CurationError

ANSWERS = 10.0  # seconds in which a port has to
JOINS = 60.0  # seconds in which a process, started and Ray imported, has to have joined
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>[\w.-]+|\[[\da-fA-F:.]+\]):(?P<port>\d{1,5})")
_ASK = """
import sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    last = error
    while last.__cause__ is not None:
        last = last.__cause__
    sys.exit("refused: " + " ".join((f"{error}: {last}" if last is not error else str(error)).split()).rpartition("ray.exceptions.")[2][:500])
"""


def join(address: str) -> ModuleType:
    """Ray, this process joined to the cluster at `address`: `auto`, `local` or HOST:PORT; "" as Ray finds one (RAY_ADDRESS), else a local one.

    Raises CurationError where Ray is missing or the cluster does not answer.
    """
    os.environ.update(RAY_USAGE_STATS_ENABLED="0")
    if importlib.util.find_spec("ray") is None:
        raise CurationError("curation on a cluster needs Ray, which is not installed: pip install 'seatrials[curation-ray]'")
    import ray

    if not ray.is_initialized():
        _ask(address)
        try:
            with _own_signals():
                ray.init(address=address or None, log_to_driver=False)
        except (OSError, RuntimeError, ValueError, TimeoutError) as error:
            raise _refused(address, str(error)) from error
    return ray


def described() -> str:
    """The cluster that this process has joined, for a record: Ray's version, nodes and cores; no address."""
    import ray

    nodes = sum(bool(node.get("Alive")) for node in ray.nodes())
    return f"Ray {ray.__version__}, {nodes} node{'s' * (nodes != 1)}, {ray.cluster_resources().get('CPU', 0):.0f} CPUs"


def _ask(address: str) -> None:
    """Raise CurationError where no Ray cluster that takes us answers at an address."""
    if address in ("", "local"):
        return
    if address != "auto":
        if not (told := _ADDRESS.fullmatch(address)):
            raise CurationError(
                f"{address!r} is no address of a Ray cluster: give local, auto, or HOST:PORT of its head (port 6379 as a rule)"
            )
        try:
            socket.create_connection((told["host"].strip("[]"), int(told["port"])), timeout=ANSWERS).close()
        except (OSError, OverflowError) as error:
            raise _refused(address, f"{error}") from error
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, address], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=JOINS
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(address, f"something listens there, and no Ray let a process join in {JOINS:.0f} s") from error
    if asked.returncode:
        said = asked.stderr.strip().rpartition("\n")[2] or f"a process that joined ended with status {asked.returncode}"
        raise _refused(address, said.removeprefix("refused: "))


def _refused(address: str, why: str) -> CurationError:
    named = {"": "here", "auto": "that this machine is a node of", "local": "on this machine"}.get(address, f"at {address}")
    return CurationError(
        f"no Ray cluster {named} can be joined: {why}; see `ray status` there, start one (`ray start --head`), or leave SEATRIALS_RAY "
        "(--runner ray) out to curate on this machine alone"
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does at SIGTERM and Ctrl-C: Ray would end it where a build saves its state."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
