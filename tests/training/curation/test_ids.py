"""Of documents with one id the first stays: against brute force, over shards that no extraction made (test_extract.py has those it made)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.curation.relational_kit import decisions
from training.curation.documents import Document
from training.curation.ids import Ids

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
