"""How a child process is started: here, under torchrun, by slurm, or by the user's own command.

A launcher is a way to run `python -m MODULE ORDER`; what the child does is in the order alone. Children never inherit a terminal;
their output goes to a log beside the order, their progress to `progress.jsonl`.

    local                  one process here
    torchrun[:GPUS]        a process a GPU of this machine (default: all that it shows)
    slurm[:NODES[xGPUS]]   srun starts one torchrun a node, which meet at the first; NODES defaults to the allocation's (SLURM_JOB_NUM_NODES),
                           else 1, GPUS to all that a node shows. What else srun is to ask for (partition, account, time) it reads
                           from its own variables: SLURM_PARTITION, SLURM_ACCOUNT, SLURM_TIMELIMIT, SLURM_GPUS_PER_NODE
    command:TEMPLATE       the user's own, with {module} and {order}

An evaluation takes the GPUs of one node; what is one process (`alone`: the overlap check, an evaluation by vLLM or a server) one task.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LAUNCHERS = ("local", "torchrun[:GPUS]", "slurm[:NODES[xGPUS]]", "command:...")
TORCHRUN = re.compile(r"torchrun(?::(?P<gpus>[1-9]\d*))?")
SLURM = re.compile(r"slurm(?::(?P<nodes>[1-9]\d*)(?:x(?P<gpus>[1-9]\d*))?)?")
# Said by the shell of each node, as only there the step's nodes are known; a port of its own for each step of a job.
MEETING = (
    'exec "$0" -m torch.distributed.run --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID.$SLURM_STEP_ID" '
    '--rdzv-endpoint="$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1):$((20000 + (SLURM_JOB_ID * 7 + SLURM_STEP_ID) % 20000))" "$@"'
)
POLL = 0.2


class LaunchError(Exception):
    """A launcher that does not exist or cannot start."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launcher:
    """A parsed `--gate-launcher`: `kind`, and for `command:TEMPLATE` the template, in which {module} and {order} are replaced.

    `nodes` is 0 where the allocation decides, `gpus` (a node) 0 where the node does.
    """

    kind: str
    template: str = ""
    nodes: int = 0
    gpus: int = 0
    alone: bool = False

    @classmethod
    def parse(cls, text: str) -> Launcher:
        """Parse the option. Raises LaunchError naming the launchers that exist."""
        kind, _, template = text.partition(":")
        if kind == "command" and template:
            if "{order}" not in template:
                raise LaunchError(f"--gate-launcher {text!r}: the command must contain {{order}}, the path of the order file")
            return cls(kind=kind, template=template)
        if text == "local":
            return cls(kind=text)
        for shape in (TORCHRUN, SLURM):
            if found := shape.fullmatch(text):
                sizes = found.groupdict()
                return cls(kind=kind, nodes=int(sizes.get("nodes") or 0), gpus=int(sizes.get("gpus") or 0))
        raise LaunchError(f"--gate-launcher {text!r}: use one of {', '.join(LAUNCHERS)}")

    def command(self, module: str, order: Path) -> list[str]:
        """The command line that runs `module` on `order`."""
        child = ["-m", module, *(["--order"] if module == "harness.evaluation" else []), str(order)]
        if self.kind == "local" or (self.kind == "torchrun" and self.alone):
            return [sys.executable, *child]
        processes = f"--nproc-per-node={self.gpus or 'gpu'}"
        one_node = [sys.executable, "-m", "torch.distributed.run", "--standalone", processes, *child]
        if self.kind == "torchrun":
            return one_node
        if self.kind == "slurm":
            nodes = 1 if module != "training.run" else self.nodes or int(os.environ.get("SLURM_JOB_NUM_NODES") or 1)
            # One task a node, free to use all its CPUs: torchrun starts the processes.
            srun = ["srun", f"--nodes={nodes}", "--ntasks-per-node=1", "--cpu-bind=none"]
            srun += [f"--gpus-per-node={self.gpus}"] if self.gpus else []
            srun.append(f"--job-name=seatrials-{order.parent.name}")
            if self.alone:
                return [*srun, sys.executable, *child]
            if module != "training.run":
                return [*srun, *one_node]
            return [*srun, "bash", "-c", MEETING, sys.executable, f"--nnodes={nodes}", processes, *child]
        return [part.replace("{module}", module).replace("{order}", str(order)) for part in shlex.split(self.template)]


def environment() -> dict[str, str]:
    """The child's environment: our packages importable, telemetry off, no tokenizer fork warnings."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.environ.get("PYTHONPATH", "")
    # Threads spin briefly before they sleep: see training/run.py.
    defaults = {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false", "GOMP_SPINCOUNT": "20000"}
    # PYTHONSAFEPATH: a package of the working directory must not stand in for one of ours.
    return {
        **defaults,
        **os.environ,
        "PYTHONPATH": os.pathsep.join(part for part in (root, path) if part),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }


def start(command: list[str], log: Path, detach: bool = False) -> subprocess.Popen[bytes]:
    """Start the child with its output appended to `log`. `detach` gives it a session of its own, to outlive us."""
    with log.open("ab") as output:
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(),
                start_new_session=detach,
            )
        except OSError as error:
            raise LaunchError(f"cannot start {shlex.join(command)}: {error}") from error


def wait(process: subprocess.Popen[bytes], poll: Callable[[], None]) -> int:
    """Wait for the child, calling `poll` now and then. Ctrl-C is passed on, and the child is given time to save its state."""
    try:
        while process.poll() is None:
            poll()
            time.sleep(POLL)
    except BaseException:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return process.returncode


def tail(log: Path, lines: int = 20) -> str:
    """The end of a log, for an error message."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
