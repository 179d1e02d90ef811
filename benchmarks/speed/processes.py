"""Run a command; tell the CPU seconds of all its processes, those that outlive their parents too, and the peak of their memory together.

    python -m benchmarks.speed.processes REPORT.json [--limit-mb 1200] -- COMMAND ...

Memory is the sum of proportional set sizes (a page that n processes share counts 1/n in each), sampled; `held_mb` is the part of it that is no page of a
file, which a limit cannot make the system give back. A limit is a memory cgroup, which takes rights that few machines give; `limited` in the report says whether it was set.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

EVERY = 0.1  # seconds between samples
LINGERS = 10.0  # seconds that what outlives the command is given to end
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans below become our children, so that their CPU seconds reach us
CGROUPS = Path("/sys/fs/cgroup")


def below(pid: int) -> list[int]:
    """The processes that descend from `pid`."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                after_name = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                children.setdefault(int(after_name[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        here = children.get(waiting.pop(), [])
        found += here
        waiting += here
    return found


def memory_mb(pids: Sequence[int]) -> tuple[float, float]:
    """(the sum of their proportional set sizes, how much of it is no page of a file); one that has gone meanwhile counts nothing."""
    total = held = 0
    for pid in pids:
        with contextlib.suppress(OSError, KeyError):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
            sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
            total += sizes["Pss"]
            held += sizes["Pss_Anon"] + sizes["Pss_Shmem"]
    return total / 1024, held / 1024


@contextlib.contextmanager
def group_of(limit_mb: int) -> Iterator[Path | None]:
    """A memory cgroup with a limit, or None where none can be made."""
    name, made = f"seatrials-speed-{os.getpid()}", None
    own = dict(line.strip().split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines())
    try:
        if limit_mb and "memory" in own:
            made = CGROUPS / "memory" / own["memory"].lstrip("/") / name
            made = made if made.parent.is_dir() else CGROUPS / "memory" / name
            made.mkdir()
            (made / "memory.limit_in_bytes").write_text(str(limit_mb * 2**20), encoding="ascii")
        elif limit_mb:
            made = CGROUPS / own[""].lstrip("/") / name
            made.mkdir()
            (made / "memory.max").write_text(str(limit_mb * 2**20), encoding="ascii")
            (made / "memory.swap.max").write_text("0", encoding="ascii")
    except OSError as error:
        print(f"no memory cgroup: {error}", file=sys.stderr)
        if made is not None and made.is_dir():
            made.rmdir()
        made = None
    try:
        yield made
    finally:
        if made is not None:
            made.rmdir()


def run(command: Sequence[str], limit_mb: int) -> dict[str, float | int | bool]:
    """Run to the end of the command and of all that it started."""
    ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)
    with group_of(limit_mb) as group:
        enter = None if group is None else (lambda: (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii"))
        begun = time.monotonic()
        process = subprocess.Popen(command, preexec_fn=enter)
        peak, held, rc, ended = 0.0, 0.0, None, 0.0
        while True:
            pids = below(os.getpid())
            peak, held = map(max, (peak, held), memory_mb(pids))
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == process.pid:
                rc, ended = os.waitstatus_to_exitcode(status), time.monotonic()
            elif not pid:
                if rc is not None and time.monotonic() - ended > LINGERS:
                    for left in pids:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(left, signal.SIGKILL)
                time.sleep(EVERY)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "rc": -1 if rc is None else rc,
        "seconds": used.ru_utime + used.ru_stime,
        "wall": ended - begun,
        "peak_mb": peak,
        "held_mb": held,
        "limited": group is not None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; its exit status is the command's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.processes")
    parser.add_argument("report", type=Path)
    parser.add_argument("--limit-mb", type=int, default=0)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    told = run(given.command, given.limit_mb)
    given.report.write_text(json.dumps(told), encoding="utf-8")
    return int(told["rc"]) if told["rc"] >= 0 else 1


if __name__ == "__main__":
    sys.exit(main())
