"""The cost of a corpus: its rates are those that README states, and its sums are those of a count by hand."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation import cost
from training.curation.cost import CorpusCostError, corpus_cost
from training.curation.exact import FULL, Exact
from training.curation.settings import DEFAULT_LAYERS, Curation, of
from training.recipes import sailor2

README = Path(__file__).resolve().parents[3] / "README.md"
DEFAULT = of({"layers": list(DEFAULT_LAYERS)})


def test_rates_are_those_of_the_readme() -> None:
    """GB a core-hour is the fourth column of the table of 200,000 documents."""
    stated = {
        name: float(rate)
        for name, rate in re.findall(r"^\| `(\w+)` \| [\d.]+ \| [\d,]+ \| ([\d.]+) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    }  # of a layer that stands in both tables the later one
    assert {name: stated[name] for name in cost.RATES} == dict(cost.RATES)


def test_a_terabyte_through_the_default_chain_is_about_what_was_measured_of_the_chain() -> None:
    """183 core-hours, of 20,000 documents and older code; the layers' own rates know no document that an earlier one dropped."""
    assert corpus_cost(DEFAULT, 1e12).core_hours == pytest.approx(183, rel=0.15)


def test_the_slot_of_a_table_is_that_of_exact() -> None:
    pytest.importorskip("numba")
    from training.curation import exact_windows

    assert cost.SLOT_BYTES == exact_windows.SLOT_BYTES


def test_each_layer_is_charged_for_what_reaches_it() -> None:
    found = corpus_cost(sailor2.curation().chain, 8e12, {"url": 0.5, "lines": 0.9})
    reached = {layer.name: layer.bytes_in for layer in found.layers}
    assert reached == pytest.approx({"ids": 8e12, "url": 8e12, "lines": 4e12} | dict.fromkeys(list(reached)[3:], 3.6e12))
    by_hand = 8000 / 169.06 + 8000 / 137.9 + 4000 / 64.57 + 3600 * (1 / 49.96 + 1 / 20 + 1 / 88.89 + 1 / 11.9 + 1 / 161.77)
    by_hand += 3600 * (1 / 17.64 + 1 / 18.53 + 1 / 23.01)
    assert found.core_hours == pytest.approx(by_hand)
    assert found.unmeasured == ()
    assert found.corpus_bytes == pytest.approx(3.6e12)
    # extraction, ids, url, and nine layers from lines to pii
    assert found.work_bytes == pytest.approx(8e12 + 8e12 + 4e12 + 9 * 3.6e12)


def test_a_layer_without_a_rate_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "RATES", {name: rate for name, rate in cost.RATES.items() if name not in ("near", "pii")})
    found = corpus_cost(DEFAULT, 1e12)
    assert found.unmeasured == ("near", "pii")
    assert found.core_hours < corpus_cost(of({"layers": ["url", "lines", "language", "rules", "exact"]}), 1e12).core_hours + 1e-6


def test_two_texts_of_exact_stand_beside_what_is_kept() -> None:
    found = corpus_cost(Curation(layers=(Exact(),)), 1e9)
    assert found.work_bytes == pytest.approx(4e9)  # extraction, ids, and two texts; what it keeps comes after those are gone
    assert corpus_cost(Curation(layers=()), 1e9).work_bytes == pytest.approx(2e9)


@given(st.floats(1, 1e15), st.floats(0.1, 100))
def test_twice_the_text_costs_twice(size: float, times: float) -> None:
    one, other = (corpus_cost(sailor2.curation().chain, amount, sailor2.LEAVES) for amount in (size, size * times))
    assert other.core_hours == pytest.approx(times * one.core_hours)
    assert other.work_bytes == pytest.approx(times * one.work_bytes)
    assert other.corpus_bytes <= other.work_bytes


@given(st.integers(10**6, 10**14), st.integers(0, 20), st.integers(16, 400))
def test_passes_are_those_that_exact_plans_where_memory_is_a_power_of_two(size: int, power: int, least: int) -> None:
    layer = Exact(least_bytes=least, least_left=0, memory_mb=2**power)
    slots = 2**power * 2**20 // cost.SLOT_BYTES
    expected = int(size * 2.4 / (least - max(1, least // 2) + 1))
    planned = max(1, -(-expected // int(slots * FULL)))  # Exact._swept with one worker
    assert cost.exact_passes(layer, size) == pytest.approx(planned, abs=1)


@pytest.mark.parametrize(
    ("size", "leaves", "words"),
    [
        (0, {}, "more than nought"),
        (math.nan, {}, "more than nought"),
        (1e9, {"quality": 0.2}, "leaves names 'quality', which the chain has not"),
        (1e9, {"url": 0.0}, "url leaves 0 of its text"),
        (1e9, {"url": 1.5}, "url leaves 1.5"),
    ],
)
def test_sizes_that_are_none(size: float, leaves: dict[str, float], words: str) -> None:
    with pytest.raises(CorpusCostError, match=words):
        corpus_cost(DEFAULT, size, leaves)
