"""The `--gate-*` options, the markers, and the settings that they make. A test pins the list of options."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.plugin.house import intruder
from harness.plugin.naming import RUNS, explain_empty, named_stages

if TYPE_CHECKING:
    from harness.pipeline import Pipeline
    from harness.profiles import Profile
    from harness.settings import Settings

STAGES = r"\b(curation|base|expand|stage\d|nightly|release)\b"  # read where the graph itself cannot be imported
PIPELINE: pytest.StashKey[Pipeline] = pytest.StashKey()
SELECTED = pytest.StashKey[tuple[str, ...]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """One group, one prefix."""
    group = parser.getgroup("gate", "release gates (Seatrials)")
    add = group.addoption
    add(
        "--gate-profile",
        default="nano",
        metavar="NAME|FILE.py",
        help="what is trained and judged: nano (default), smol, sailor2-1b|8b|20b, or a profile file",
    )
    add(
        "--gate-store",
        default=os.environ.get("SEATRIALS_STORE", ".seatrials"),
        metavar="DIR",
        help="artifact store (default .seatrials; SEATRIALS_STORE)",
    )
    add(
        "--gate-hub",
        default=os.environ.get("SEATRIALS_HUB"),
        metavar="DIR",
        help="local mirror of Hub data sets, DATASET/CONFIG/SPLIT.jsonl|parquet (SEATRIALS_HUB)",
    )
    add(
        "--gate-originals",
        action="append",
        default=[],
        metavar="DIR",
        help="a checkout of a benchmark's own code, whose prompts and shots are read (never run); may be given again for another",
    )
    add("--gate-report", metavar="FILE.html", help="write the report as one self-contained page")
    add("--gate-build", action="append", default=[], metavar="STAGE", help="build this stage, in a profile that builds only what is named")
    add(
        "--gate-launcher",
        default="local",
        metavar="local|torchrun[:GPUS]|slurm[:NODES[xGPUS]]|command:...",
        help="how the child that builds a stage is started",
    )
    add("--gate-backend", default="hf", metavar="hf|vllm|URL", help="who answers the suites; a URL holds {stage} for the model's name")
    add("--gate-detach", action="store_true", help="submit the build and return; running again certifies")
    add("--gate-dry-run", action="store_true", help="print commands, tokens, hours, memory and disk; run nothing")
    add("--gate-ungated", action="store_true", help="build on checkpoints that did not pass; nothing of such a run can be blessed")
    add("--gate-replay", metavar="RECORD.json", help="apply today's gates to the stored answers of a run; no inference")
    add("--gate-bless", action="store_true", help="make these results the baseline (all must pass); needs --gate-reason")
    add("--gate-reason", default="", metavar="TEXT", help="why the results are blessed")
    add("--gate-variant", action="append", default=[], metavar="STAGE@NAME", help="take another recipe of a stage")
    add("--gate-samples", choices=("quick", "full"), help="a fixed sample of each suite, or everything")


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, Any, Any]:
    """A dry run has nothing to share out, and would wait for workers that it gives nothing to do."""
    if config.option.gate_dry_run and hasattr(config.option, "numprocesses"):
        config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers; where `-m` names a stage, check the house and make the pipeline."""
    if found := intruder():
        if any(argument.startswith("--gate-") for argument in config.invocation_params.args) or re.search(
            STAGES, config.option.markexpr or ""
        ):
            raise pytest.UsageError(found)
        return
    from training.stages import GRAPH

    for stage in GRAPH.values():
        config.addinivalue_line("markers", f"{stage.name}: gates of {stage.name} and its ancestors (paper {stage.paper}): {stage.purpose}")
    config.addinivalue_line("markers", "nightly: every stage of the profile, and its planted defects; alarms on a fail or a build error")
    config.addinivalue_line("markers", "release: every stage of the profile; all gates must pass")
    named = named_stages(config)
    if not named or config.option.help or config.option.markers:
        explain_empty(config)
        return
    from harness import launch, profiles
    from harness.gates import GatesError
    from harness.pipeline import Pipeline
    from harness.plugin.progress import terminal_progress
    from harness.plugin.summary import Summary
    from harness.store import StoreError

    try:
        profile = profiles.load(config.option.gate_profile)
        selected = tuple(profile.stages) if set(named) & set(RUNS) else tuple(name for name in named if name in profile.stages)
        if missing := [name for name in named if name not in RUNS and name not in profile.stages]:
            raise profiles.ProfileError(f"profile {profile.name} has no stage {missing[0]}; it has {', '.join(profile.stages)}")
        pipeline = Pipeline(_settings(config, profile), terminal_progress(config))
    except (profiles.ProfileError, GatesError, launch.LaunchError, StoreError) as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[PIPELINE] = pipeline
    config.stash[SELECTED] = selected
    config.pluginmanager.register(Summary(config), "seatrials-summary")


def _settings(config: pytest.Config, profile: Profile) -> Settings:
    from harness import launch
    from harness.profiles import ProfileError
    from harness.settings import Settings

    option = config.option
    launch.Launcher.parse(option.gate_launcher)
    for stage in option.gate_build:
        if stage not in profile.stages:
            raise ProfileError(f"--gate-build {stage}: profile {profile.name} has no such stage; it has {', '.join(profile.stages)}")
    if missing := [path for path in option.gate_originals if not Path(path).is_dir()]:
        raise ProfileError(f"--gate-originals {missing[0]}: no such directory; name a checkout of the benchmark's code")
    if option.gate_hub and not Path(option.gate_hub).is_dir():
        whence = "SEATRIALS_HUB" if option.gate_hub == os.environ.get("SEATRIALS_HUB") else "--gate-hub"
        raise ProfileError(
            f"{whence} {option.gate_hub}: no such directory; name one that holds DATASET/CONFIG/SPLIT.jsonl, or leave it out"
        )
    if option.gate_report and (wrong := _no_place(Path(option.gate_report).absolute())):
        raise ProfileError(f"--gate-report {option.gate_report}: {wrong}; name a file, such as report.html")
    if option.gate_bless and not option.gate_reason:
        raise ProfileError('--gate-bless needs --gate-reason "...": a baseline moves for a stated reason')
    return Settings(
        profile=profile,
        store=Path(option.gate_store).absolute(),
        hub=Path(option.gate_hub).absolute() if option.gate_hub else None,
        originals=tuple(Path(path).absolute() for path in option.gate_originals),
        build=tuple(option.gate_build),
        launcher=option.gate_launcher,
        detach=option.gate_detach,
        ungated=option.gate_ungated,
        bless=option.gate_bless,
        replay=Path(option.gate_replay) if option.gate_replay else None,
        variants=tuple(option.gate_variant),
        samples=option.gate_samples or "",
        backend=option.gate_backend,
    )


def _no_place(report: Path) -> str:
    """Why no file can be at a path, seen before the hours of a run and not after; "" where it can (directories are made)."""
    if os.path.isdir(report):
        return "it is a directory"
    nearest = next(parent for parent in report.parents if os.path.lexists(parent))
    if not os.path.isdir(nearest):
        return f"{nearest} is not a directory"
    try:
        tempfile.TemporaryFile(dir=nearest).close()  # what permissions say is not all that counts
    except OSError as error:
        return f"nothing can be written in {nearest} ({error.strerror})"
    return ""
