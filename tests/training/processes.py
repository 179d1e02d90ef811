"""Several processes of `python -m training.run` on one order, told of each other as torchrun would; gloo, on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(order: Path, size: int) -> list[subprocess.Popen[bytes]]:
    """Start them all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "training.run", str(order)], cwd=ROOT, env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        )
        for rank in range(size)
    ]


def run(order: Path, size: int = 2, seconds: float = 400) -> list[int]:
    """Start them, wait for them, and return their exit codes."""
    children = start(order, size)
    try:
        return [child.wait(timeout=seconds) for child in children]
    finally:
        for child in children:
            child.kill()
