"""Of documents with one id the first stays: against brute force, over shards that no extraction made (test_extract.py has those it made)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.curation.relational_kit import decisions, shards
from training.curation.documents import Document
from training.curation.engine import Engine
from training.curation.ids import AGAIN, Ids

SHARDS = st.lists(st.lists(st.sampled_from(["a", "b", "c", "ก", " a"]), max_size=7), max_size=4)


@given(found=SHARDS)
@settings(max_examples=60, deadline=None)
def test_equal_to_brute_force(found: list[list[str]]) -> None:
    made = [[Document(id=name, text=f"teks {number} {row}") for row, name in enumerate(part)] for number, part in enumerate(found)]
    first: dict[str, tuple[int, int]] = {}
    for number, part in enumerate(decisions(Ids(), made)):
        for row, decision in enumerate(part):
            one = made[number][row]
            at = first.setdefault(one.id, (number, row))
            if at == (number, row):
                assert decision.document is one
            else:
                assert decision.reason == "duplicate id"
                assert (decision.told["row"], decision.told["kept_row"]) == (row + 1, at[1] + 1)
                assert decision.told["file"].endswith(f"shard-{number:05d}.parquet")
                assert decision.told["kept_file"].endswith(f"shard-{at[0]:05d}.parquet")


def test_processes_are_handed_the_shards_and_hand_back_eight_bytes_a_document(tmp_path: Path) -> None:
    """The plan is the same whatever the number of workers, and no text of an id comes back."""
    handed: list[np.ndarray] = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Watched(Engine):
        def map(self, function: Any, items: Any) -> Iterator[Any]:
            for result in super().map(function, items):
                handed.append(result)
                yield result

    names = [[f"{(number * 700 + row) % 2_500}: a long name" for row in range(2_100)] for number in range(3)]
    (tmp_path / "in").mkdir()
    paths = shards(tmp_path / "in", [[Document(id=name, text="teks") for name in part] for part in names])
    made = []
    for workers in (1, 2):
        work = tmp_path / str(workers)
        work.mkdir()
        Ids().prepare(paths, work, Watched(workers=workers))
        made.append((work / AGAIN).read_bytes())
    assert made[0] == made[1]
    assert [len(result) for result in handed] == [2_100] * 6
    assert {result.nbytes for result in handed} == {8 * 2_100}
    seen: set[str] = set()
    expected = [number << 32 | row for number, part in enumerate(names) for row, name in enumerate(part) if name in seen or seen.add(name)]  # type: ignore[func-returns-value]
    assert pyarrow.parquet.read_table(tmp_path / "1" / AGAIN).column("position").to_pylist() == expected
    assert expected
