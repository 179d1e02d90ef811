"""The command line where the machine gives way: a full disk, a worker killed for memory, two runs into one output. Each is told, and gone on from."""

from __future__ import annotations

import dataclasses
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.curation import chain, documents, extract
from training.curation.__main__ import main
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.layer import LAYERS, Decision, Judge, Layer
from training.curation.settings import Curation

ROOT = Path(__file__).resolve().parents[3]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dies(Layer):
    """Its process gets SIGKILL, as from the kernel that is out of memory, as long as the file `while_there` stands."""

    name = "dies"
    while_there: str = ""

    def judge(self, work: Path) -> Judge:
        def judge(batch: Sequence[Document], shard: int, first: int) -> list[Decision]:
            if shard == 1 and Path(self.while_there).exists():
                os.kill(os.getpid(), signal.SIGKILL)
            return [Decision(document=made) for made in batch]

        return judge


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files of documents, a shard each."""
    monkeypatch.setattr(extract, "INPUT_BYTES", 1)
    (tmp_path / "pool").mkdir()
    for number in range(3):
        # bytes that no compression makes less of
        made = [Document(id=f"{number}-{row}", text=os.urandom(200).hex()) for row in range(40)]
        documents.write(tmp_path / "pool" / f"{number}.jsonl", made)
    return tmp_path / "pool"


def files(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob("*")) if path.is_file()}


def texts(output: Path) -> list[str]:
    return [made.text for path in sorted((output / "shards").iterdir()) for made in documents.read(path, print)]


def test_a_full_disk_is_told_and_the_same_command_goes_on(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pii", "--input", str(pool), "--output", str(tmp_path / "out"), "--workers", "1"]
    written, left = documents.write, iter([True] * 4 + [False])

    def full(path: Path, made: object) -> int:
        if not next(left, True):
            raise OSError(28, "No space left on device", str(path))
        return written(path, made)  # type: ignore[arg-type]

    monkeypatch.setattr(documents, "write", full)
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "No space left on device" in err
    assert err.splitlines()[-1].endswith("run again to go on")
    assert "Traceback" not in err
    assert not (tmp_path / "out/run.json").exists()
    assert main(command) == 0
    assert main([*command[:4], str(tmp_path / "undisturbed"), *command[5:]]) == 0
    mine, theirs = files(tmp_path / "out"), files(tmp_path / "undisturbed")
    assert mine == theirs


def test_a_file_that_cannot_grow_any_more_is_told_by_the_writers_of_the_libraries_too(pool: Path, tmp_path: Path) -> None:
    """The kernel refuses to let a file grow: what Arrow writes ends the same way as what Python writes."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    command = [sys.executable, "-m", "training.curation", "pii", "--input", str(pool), "--output", str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, preexec_fn=limited)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "File too large" in done.stderr
    assert done.stderr.rstrip().endswith("run again to go on")
    assert main(command[3:]) == 0
    assert len(texts(tmp_path / "out")) == 120


def test_a_worker_killed_for_memory_is_told_and_the_same_command_goes_on(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(LAYERS, "dies", f"{__name__}:Dies")
    there = tmp_path / "there"
    there.touch()
    command = ["dies", "--input", str(pool), "--output", str(tmp_path / "out"), "--workers", "2", "--set", f"dies.while_there={there}"]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "a worker process was killed" in err
    assert "run again to go on" in err
    assert "fewer --workers" in err
    there.unlink()
    assert main(command) == 0
    assert len(texts(tmp_path / "out")) == 120


def test_a_second_run_into_an_output_that_is_being_written_is_refused(pool: Path, tmp_path: Path) -> None:
    """It is refused at any time of the first one's, leaves nothing changed, and nothing is left of the lock at the end."""
    output, refused = tmp_path / "out", []
    second = [sys.executable, "-m", "training.curation", "pii", "--input", str(pool), "--output", str(output), "--workers", "1"]

    def told(line: str) -> None:
        if line.startswith("01-pii  2/3"):
            before = files(output)
            refused.append(subprocess.run(second, capture_output=True, text=True, cwd=ROOT, timeout=300))
            assert files(output) == before

    from training.curation.pii import Pii

    recipe = Curation(layers=(Pii(),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract, "INPUT_BYTES", 1)
        chain.run(recipe, [str(pool)], output, Engine(workers=1), told)
    (other,) = refused
    assert other.returncode == 2
    assert f"another run is writing {output}" in other.stderr
    assert "wait for it" in other.stderr
    assert len(texts(output)) == 120
    assert not [path for path in output.iterdir() if path.name.startswith(".")]
    said: list[str] = []
    chain.run(recipe, [str(pool)], output, Engine(workers=1), said.append)
    assert said == [f"{output} is complete already"]


def test_the_lock_of_a_run_that_was_killed_or_failed_stops_nobody(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / chain.LOCK).touch()  # what SIGKILL leaves

    def fails(*_: object) -> None:
        raise CurationError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(chain, "_publish", fails)
        with pytest.raises(CurationError, match="stopped"):
            chain.run(Curation(layers=()), [str(pool)], output, Engine(workers=1))
    chain.run(Curation(layers=()), [str(pool)], output, Engine(workers=1))
    assert len(texts(output)) == 120


def test_where_nothing_can_be_locked_the_run_says_so_and_goes_on(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_locks(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", without_locks)
    said: list[str] = []
    chain.run(Curation(layers=()), [str(pool)], tmp_path / "out", Engine(workers=1), said.append)
    assert "cannot be locked (" in said[0]
    assert said[0].endswith("keep other runs away from it")
    assert len(texts(tmp_path / "out")) == 120
