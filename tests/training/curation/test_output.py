"""A command's directory: whole, or not at all, and never over another's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.curation.documents import CurationError
from training.curation.output import whole_directory


def test_it_is_there_when_all_of_it_is(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "out"
    with whole_directory(output) as aside:
        (aside / "a").mkdir()
        (aside / "a" / "file").write_text("x")
        assert not output.exists()
    assert (output / "a" / "file").read_text() == "x"
    assert list(output.parent.iterdir()) == [output]


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    with whole_directory(tmp_path / "out") as aside:
        (tmp_path / "out").mkdir()
        (aside / "file").write_text("x")
    assert (tmp_path / "out" / "file").is_file()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with whole_directory(tmp_path / "out") as aside:
            (aside / "file").write_text("x")
            raise error

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in (".", "file", "link"):
        with pytest.raises(CurationError, match="name another, or remove it"), whole_directory(tmp_path / name):
            pass
    with pytest.raises(CurationError, match="nothing can be written beside it"), whole_directory(tmp_path / "file" / "out"):
        pass

    def late() -> None:
        with whole_directory(tmp_path / "late") as aside:
            (tmp_path / "late").mkdir()
            (tmp_path / "late" / "theirs").write_text("x")
            (aside / "ours").write_text("y")

    with pytest.raises(CurationError, match="was made by another"):
        late()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "late", "link"]
