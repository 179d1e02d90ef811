"""What stood around a build and is recorded as drift, never as identity: package versions, device, threads, the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "seatrials",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "trl",
    "lm-eval",
    "datasets",
    "numpy",
    "pyarrow",
    "flash-attn",
    "vllm",
)
DEVICES = Path("/dev")


def environment(*, threads: int | None = None, device: str | None = None) -> dict[str, Any]:
    """Package versions, Python, platform, device and threads. The device is a guess from the driver's files: torch is not loaded."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "packages": packages,
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "device": device or expected_device(),
        "threads": threads if threads is not None else _processors(),
        "torch": packages.get("torch", ""),
    }


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def expected_device() -> str:
    """`cuda` or `cpu`: what `auto` will come to here, by the build of torch and the driver's device files. Loads neither.

    The driver's version file alone says little: it is the machine's, and stands in a container that was given no GPU too.
    """
    try:
        built = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        built = "+cpu"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    given = any(DEVICES.glob("nvidia[0-9]*")) or (DEVICES / "dxg").exists()  # dxg: Windows' subsystem for Linux
    return "cuda" if given and not hidden and not built.endswith("+cpu") else "cpu"


def git_state(directory: Path | None = None) -> dict[str, Any] | None:
    """{"commit": 40 hex digits, "dirty": bool} of the checkout that `directory` (ours) is the top of, else None.

    No remote, branch or user name is read, so no credential can reach a record. The repository's index is not touched.
    """
    top = (directory or Path(__file__).resolve().parent.parent).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(top), *arguments]
        quiet = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20, env=quiet).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != top:
            return None  # installed inside somebody else's repository
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
