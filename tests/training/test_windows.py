"""Windows of bytes: equal ones have equal hashes, and dress does not count."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from training.windows import SEPARATOR, normalised, window_hashes


@given(st.binary(max_size=300), st.integers(1, 60))
@settings(deadline=None)
def test_equal_windows_have_equal_hashes_and_unequal_ones_do_not(data: bytes, window: int) -> None:
    hashes = window_hashes(data, window)
    assert len(hashes) == max(0, len(data) - window + 1)
    seen: dict[bytes, int] = {}
    for start, value in enumerate(hashes.tolist()):
        assert seen.setdefault(data[start : start + window], value) == value
    assert len(set(seen.values())) == len(seen), "a collision among a few hundred windows"


@given(st.text(max_size=80))
def test_dress_does_not_count_and_no_text_holds_the_separator(text: str) -> None:
    assert normalised(f" {text}\n\t") == normalised(text)
    assert SEPARATOR not in normalised(text)


@given(st.lists(st.text(max_size=30), max_size=6))
def test_paragraphs_are_normalised_one_by_one_as_they_are_together(paragraphs: list[str]) -> None:
    assert b"".join(normalised(paragraph) for paragraph in paragraphs) == normalised("\n".join(paragraphs))
