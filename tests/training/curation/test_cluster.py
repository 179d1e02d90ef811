"""The stage `curation` on a Ray cluster: the same corpus, said in the record; a cluster that cannot be joined is an error at once."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import profiles
from harness.settings import Settings
from tests.training import small
from training.curation import cluster, stage
from training.curation.decontaminate import Decontaminate, write_ngrams
from training.curation.documents import CurationError
from training.curation.engine import Engine
from training.curation.lines import Lines
from training.curation.near import Near
from training.curation.settings import Curation
from training.curation.url import Url
from training.recipe import CurateCorpus
from training.world.crawl import Crawl

HERE = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HERE, reason="Ray is not installed: pip install 'seatrials[curation-ray]'")
RECIPE = CurateCorpus(
    crawl=Crawl(languages=("ind",), pages=100),
    chain=Curation(layers=(Url(), Lines(), Near(), Decontaminate(cut=True))),
)


@pytest.fixture
def ray_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of that name stands in, where there is none: what is tested comes before it is used."""
    if not HERE:
        stand_in = type(sys)("ray")
        stand_in.is_initialized = lambda: False  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "ray", stand_in)
        monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: stand_in)


def refusing() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# ------------------------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize(("told", "runner"), [("", "native"), ("local", "ray"), ("auto", "ray"), ("head:6379", "ray")])
def test_the_order_says_where_the_stage_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, runner: str) -> None:
    class Seen(Exception):
        pass

    seen = []

    def described(engine: Engine) -> str:
        seen.append(engine)
        raise Seen

    monkeypatch.setattr(Engine, "described", described)
    with pytest.raises(Seen):
        stage.build(RECIPE, small.job(tmp_path, tmp_path, stage="curation", ray=told))
    assert [(engine.runner, engine.address) for engine in seen] == [(runner, told)]
    assert not list((tmp_path / "resume").iterdir())  # a cluster that does not answer is said before anything is made


def test_the_environment_of_the_run_chooses_and_no_fingerprint_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.pipeline import Pipeline

    nano = profiles.load("nano")

    def made() -> tuple[str, str | None]:
        settings = Settings(profile=nano, store=tmp_path / "store")
        return settings.ray, Pipeline(settings).fingerprint("base")

    monkeypatch.delenv("SEATRIALS_RAY", raising=False)
    before = made()
    monkeypatch.setenv("SEATRIALS_RAY", "head:6379")
    after = made()
    assert (before[0], after[0]) == ("", "head:6379")
    assert before[1] == after[1] is not None


# -------------------------------------------------------------------------------------------------------- what goes wrong


def test_ray_that_is_missing_is_named_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CurationError, match=r"Ray, which is not installed: pip install 'seatrials\[curation-ray\]'"):
        Engine(runner="ray", address="local").described()


@pytest.mark.usefixtures("ray_is_here")
@pytest.mark.parametrize("address", ["head", "head:", "http://head:6379", "a b:1", ":6379"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(CurationError, match="is no address of a Ray cluster: give local, auto, or HOST:PORT"):
        cluster.join(address)


@pytest.mark.usefixtures("ray_is_here")
def test_an_address_where_nothing_answers_is_refused_at_once() -> None:
    """Ray itself waits for two minutes and ends the process."""
    port, started = refusing(), time.monotonic()
    with pytest.raises(CurationError, match=rf"no Ray cluster at 127\.0\.0\.1:{port} can be joined: .*refused.*leave SEATRIALS_RAY"):
        cluster.join(f"127.0.0.1:{port}")
    with pytest.raises(CurationError, match=r"at 127\.0\.0\.1:99999 can be joined"):
        cluster.join("127.0.0.1:99999")
    assert time.monotonic() - started < cluster.ANSWERS


@pytest.mark.usefixtures("ray_is_here")
def test_a_port_that_is_not_rays_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "JOINS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(CurationError, match="something listens there, and no Ray"):
        cluster.join(f"127.0.0.1:{mute.getsockname()[1]}")


def test_the_build_ends_with_one_message(tmp_path: Path) -> None:
    """In a process of its own, as the pipeline starts it."""
    address = f"127.0.0.1:{refusing()}"
    order = small.order(tmp_path / "work", tmp_path, RECIPE, stage="curation", ray=address)
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run([sys.executable, "-m", "training.run", str(order)], env={**os.environ, "PYTHONPATH": root}, timeout=300)
    assert done.returncode == 1
    told = json.loads((tmp_path / "work" / "error.json").read_text())
    assert told["type"] == "CurationError"
    assert address in told["message"] if HERE else "curation-ray" in told["message"]


@needs_ray
def test_a_build_keeps_its_own_signals() -> None:
    """Ray takes SIGTERM, at which a build saves its state."""
    kept = signal.getsignal(signal.SIGTERM)
    with cluster._own_signals():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is kept


# ----------------------------------------------------------------------------------------------------------- a real cluster


HEAD = """
import sys
import ray
print(ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False).address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


def environment() -> dict[str, str]:
    """Without the token that a cluster of one process asks every other one for."""
    ours = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_AUTH_MODE": "disabled"}
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3]), **ours}


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a cluster of two cores that another process holds; it ends with that."""
    process = subprocess.Popen([sys.executable, "-c", HEAD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(60)


def built(work: Path, directory: Path, ray: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The stage's files but build.json, and what that says; a process sets Daft's runner once, so in one of its own."""
    order = small.order(work, directory, RECIPE, stage="curation", ray=ray, threads=2, evaluation=str(directory / "windows.npz"))
    command = [sys.executable, "-m", "training.run", str(order)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=500)
    assert done.returncode == 0, done.stderr
    result = work / "result"
    files = {path.relative_to(result).as_posix(): path.read_bytes() for path in sorted(result.rglob("*")) if path.is_file()}
    return files, json.loads(files.pop("build.json"))


@pytest.mark.slow
@needs_ray
def test_the_stage_on_a_ray_cluster_leaves_the_same_corpus_and_says_so(tmp_path: Path, head: str) -> None:
    write_ngrams([("0", "Di pelabuhan itu ada sebuah kapal tua yang berlayar ke pulau seberang setiap pagi.")], tmp_path / "windows.npz")
    here, told = built(tmp_path / "native", tmp_path, "")
    there, said = built(tmp_path / "ray", tmp_path, head)
    assert {name for name in here if name.startswith("shards/")}
    assert {name for name in here if here[name] != there.get(name)} == set()
    assert here.keys() == there.keys()
    assert told["layers"] == said["layers"]
    assert "environment" not in told
    engine = said["environment"]["curation engine"]
    assert engine.startswith("Ray ")
    assert engine.endswith("1 node, 2 CPUs")
    assert head not in json.dumps(said)
