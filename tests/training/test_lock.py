"""Code that bears on an artifact does not move unseen."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from training import lock
from training.lock import LockError


def test_the_lock_is_that_of_the_code() -> None:
    """Fails when code of a stage moved: raise the recipe's version, or `python -m training.lock write --equal "how"`."""
    lock.check()


def test_every_builder_is_locked_with_what_it_trains_with() -> None:
    now = lock.current()
    assert now.keys() == lock.builders().keys()
    for builder in ("training.pretraining.continual:build", "training.pretraining.scratch:build"):
        modules = now[builder]["modules"]
        assert {
            "training.pretraining.loop",
            "training.pretraining.attention",
            "training.pretraining.packing",
            "training.world.text",
        } <= modules.keys()
        assert all(name.startswith(("training.", "training/")) or name == "training" for name in modules)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package of five modules: stage -> a (in a function), relative b, c (as a name of its package); d is imported for types only."""
    files = {
        "training/__init__.py": "",
        "training/stage.py": '''
            """Builds."""
            from __future__ import annotations
            from typing import TYPE_CHECKING
            import json
            from .b import number
            from training.parts import c
            if TYPE_CHECKING:
                from training.d import Kind

            def build(recipe, job):
                """Do it."""
                from training.a import helper
                return helper(number)
        ''',
        "training/a.py": "def helper(x):\n    return x\n",
        "training/b.py": "number = 1\n",
        "training/d.py": "class Kind: pass\n",
        "training/parts/__init__.py": "",
        "training/parts/c.py": "import os\n",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content), encoding="utf-8")
    return tmp_path


def hashes(tree: Path) -> dict[str, str]:
    return dict(lock.current(tree, {"training.stage:build": 1})["training.stage:build"]["modules"])


def test_imports_are_followed_wherever_they_stand(tree: Path) -> None:
    assert set(hashes(tree)) == {"training", "training.stage", "training.a", "training.b", "training.parts", "training.parts.c"}


@pytest.mark.parametrize(
    ("name", "old", "new", "moves"),
    [
        ("training/a.py", "return x", "return x + 1", True),
        ("training/b.py", "1", "2", True),
        ("training/b.py", "1", "1.0", True),
        ("training/parts/c.py", "os", "sys", True),
        ("training/stage.py", "Do it.", "Do it well.", False),
        ("training/stage.py", "import json", "import json  # for later", False),
        ("training/a.py", "    return x", "\n\n    return (x)", False),
        ("training/d.py", "pass", "x = 1", False),
    ],
)
def test_what_counts_as_moved(tree: Path, name: str, old: str, new: str, moves: bool) -> None:
    before = hashes(tree)
    path = tree / name
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert bool(lock.changed(before, hashes(tree))) is moves


def entry(version: int = 1, **modules: str) -> dict[str, dict[str, object]]:
    return {"s:build": {"version": version, "modules": modules}}


def test_the_message_names_builder_modules_and_mend() -> None:
    (line,) = lock.compare(entry(a="1", b="1"), entry(a="1", b="2", c="3"))
    assert line.startswith("s:build: b, c moved under version 1. Raise `version`")
    assert "--equal" in line
    assert lock.compare(entry(a="1"), entry(a="1")) == []
    assert "write the lock" in lock.compare(entry(a="1"), entry(version=2, a="2"))[0]
    assert "not in the lock" in lock.compare({}, entry())[0]
    assert "no recipe names it" in lock.compare(entry(), {})[0]


def test_moved_code_is_locked_again_only_with_a_version_or_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locks" / "stages.json"
    now = entry(a="1")
    monkeypatch.setattr(lock, "current", lambda: now)
    with pytest.raises(LockError, match="there is no lock"):
        lock.check(path)
    lock.write(path)
    lock.check(path)

    now = entry(a="2")
    with pytest.raises(LockError, match="a moved under version 1"):
        lock.check(path)
    with pytest.raises(LockError, match="a moved under version 1"):
        lock.write(path)
    with pytest.raises(LockError, match="a moved under version 1"):
        lock.write(path, equal="  ")
    lock.write(path, equal="renamed a variable")
    lock.check(path)
    notes = json.loads(path.read_text(encoding="utf-8"))["equal"]
    assert notes == [{"reason": "renamed a variable", "builders": {"s:build": ["a"]}, "version": {"s:build": 1}}]

    now = entry(version=2, a="3")
    with pytest.raises(LockError, match="write the lock"):
        lock.check(path)
    lock.write(path)
    lock.check(path)
    assert json.loads(path.read_text(encoding="utf-8"))["equal"] == []


def test_a_broken_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "stages.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LockError, match=r"stages.json cannot be read"):
        lock.check(tmp_path / "stages.json")


def test_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "check", lambda: None)
    assert lock.main(["check"]) == 0

    def moved() -> None:
        raise LockError("s:build: a moved")

    monkeypatch.setattr(lock, "check", moved)
    assert lock.main(["check"]) == 1
    assert "a moved" in capsys.readouterr().err
