"""Where Hall's transform ends: one document with much of the bytes, p-values and bounds as one, and what stays as it was without it."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.statistics import Estimate, _hall_inverse, compare
from tests.harness.rows_kit import BITS, rows_of


def uneven(effects: np.ndarray, share: float, shift: float = 0.0) -> Estimate:
    """The paired difference of documents whose own differences are `effects`; the first holds `share` of the bytes, none is like another."""
    size = np.linspace(0.6, 1.4, len(effects))
    if share:
        size[0] = size[1:].sum() * share / (1 - share)
    base = size * (2.0 + shift)
    return compare(rows_of(base + size * effects, size), rows_of(base, size), BITS, ["ind"])


def endless(found: Estimate, side: int, confidence: float = 0.95) -> float:
    """The bound by Hall's transform without an end: the rule that this one replaced."""
    from scipy import stats

    q = float(stats.t.ppf(confidence, found.degrees))
    return found.value - side * max(q, side * _hall_inverse(side * q, found.skewness)) * found.standard_error


@pytest.mark.parametrize("big", [-0.20, -0.22])
def test_a_big_document_that_agrees_with_the_others_decides(big: float) -> None:
    """26 documents, one with a third of the bytes, 25 of them better: clear of -.10, as the plain t says and Hall's without an end did not.

    At a line that the big document contradicts nothing is decided.
    """
    effects = np.concatenate([[big, 0.02], np.linspace(-0.45, -0.21, 24)])
    found = uneven(effects, 1 / 3)
    assert (effects < 0).sum() == 25
    assert found.skewness > 0.5
    assert endless(found, -1) > -0.10
    assert found.upper() < -0.10
    assert found.p_below(-0.10) < 0.05
    assert found.upper() == pytest.approx(dataclasses.replace(found, skewness=0.0).upper())
    assert found.p_below(big - 0.02) > 0.05


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(5, 60), tail=st.sampled_from(["normal", "exponential", "lognormal"]))
def test_even_weights_keep_halls_bound(seed: int, n: int, tail: str) -> None:
    """Where no cluster dominates, bounds are Hall's up to 3 / |skewness| standard errors, to the rounding, and that distance past it."""
    effects = getattr(np.random.default_rng(seed), tail)(size=n)
    found = uneven(effects, 0.0)
    straight = dataclasses.replace(found, skewness=0.0)
    for side, bound in ((1, found.lower()), (-1, found.upper())):
        old = abs(found.value - endless(found, side)) / found.standard_error
        now = abs(found.value - bound) / found.standard_error
        plain = (found.value - straight.lower()) / found.standard_error
        assert now == pytest.approx(min(old, max(plain, 3 / abs(found.skewness))), rel=1e-9)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(5, 40),
    share=st.floats(0, 0.9),
    tail=st.sampled_from(["normal", "exponential", "lognormal", "standard_cauchy"]),
    seed_sd=st.sampled_from([0.0, 0.0, 0.5]),
)
def test_p_values_are_monotone_and_bounds_invert_them(seed: int, n: int, share: float, tail: str, seed_sd: float) -> None:
    """Far beyond where Hall's transform ends as well, at any dominance; with seed variance the p-values alone (their bounds are Satterthwaite's)."""
    found = uneven(getattr(np.random.default_rng(seed), tail)(size=n), share)
    wide = found.widened(seed_sd * found.standard_error, 5)
    lines = found.value + found.standard_error * np.concatenate(
        [np.linspace(-15, 15, 61), 3 / found.skewness * np.array([-1.001, -1, -0.999])]
    )
    lines.sort()
    for tail_of, sign in ((wide.p_above, 1), (wide.p_below, -1)):
        p = np.array([tail_of(line) for line in lines])
        assert ((p >= 0) & (p <= 1)).all()
        assert (sign * np.diff(p) >= -1e-12).all()
    if seed_sd:
        return
    hair = 1e-6 * found.standard_error
    for confidence in (0.6, 0.9, 0.95, 0.99, 0.999):
        low, high = found.lower(confidence), found.upper(confidence)
        assert found.p_above(low - hair) < 1 - confidence < found.p_above(low + hair)
        assert found.p_below(high + hair) < 1 - confidence < found.p_below(high - hair)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 0.9), shift=st.floats(-1, 1), scale=st.floats(0.1, 10))
def test_dominated_bounds_move_with_the_numbers(seed: int, share: float, shift: float, scale: float) -> None:
    """A common shift changes nothing, one of the effects shifts the bounds, a scale scales them, a negation swaps and mirrors them."""
    effects = np.random.default_rng(seed).exponential(size=26)
    low, high = uneven(effects, share).interval()
    assert uneven(effects, share, shift).interval() == pytest.approx((low, high), abs=1e-8)
    assert uneven(effects + shift, share).interval() == pytest.approx((low + shift, high + shift), abs=1e-8)
    assert uneven(effects * scale, share).interval() == pytest.approx((low * scale, high * scale), abs=1e-7)
    assert uneven(-effects, share).interval() == pytest.approx((-high, -low), abs=1e-8)


def test_dominance_shortens_halls_reach_smoothly() -> None:
    """Three until a cluster has half of the variance by its weight, down to nought at all of it; seed variance dilutes the share."""
    effects = np.random.default_rng(0).normal(size=26)
    reach = [uneven(effects, share)._reach for share in np.linspace(0.02, 0.98, 40)]
    assert reach[0] == 3.0
    assert reach[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(reach))
    found = uneven(effects, 1 / 3)
    share = found.weight.max() ** 2 / (found.weight**2).sum()
    assert found._reach == pytest.approx(6 * (1 - share))
    assert found.widened(2 * found.standard_error, 5)._reach == pytest.approx(3.0)
