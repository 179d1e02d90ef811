"""Binary metrics: Clopper and Pearson, Tango and McNemar, against scipy, published numbers and brute force."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.rows import Rows, StatisticsError
from harness.statistics import compare, estimate
from harness.suites import Metric
from tests.harness.rows_kit import ACCURACY, pairs, rows_of

# --------------------------------------------------------------------------------------------------------------- binary


@pytest.mark.parametrize(("hits", "trials"), [(0, 20), (7, 20), (20, 20), (33, 47)])
def test_one_proportion_is_clopper_and_pearsons(hits: int, trials: int) -> None:
    """scipy.stats.binomtest is the reference, for bounds and p-values."""
    from scipy import stats

    found = estimate(rows_of([1] * hits + [0] * (trials - hits), names=("right",)), ACCURACY, ["ind"])
    assert found.kind == "proportion"
    exact = stats.binomtest(hits, trials)
    assert found.interval() == pytest.approx(tuple(exact.proportion_ci(0.95, method="exact")), abs=1e-6)
    assert found.p_above(0.25) == pytest.approx(stats.binomtest(hits, trials, 0.25, alternative="greater").pvalue)
    assert found.p_below(0.25) == pytest.approx(stats.binomtest(hits, trials, 0.25, alternative="less").pvalue)


@pytest.mark.parametrize(("gained", "lost", "n"), [(1, 7, 21), (0, 1, 44), (9, 3, 60)])
def test_tangos_interval_is_the_quartics(gained: int, lost: int, n: int) -> None:
    """An independent form: the interval's ends are roots of a quartic (Yang, Sun and Hardin 2013)."""
    from scipy import stats

    g, d, s = stats.norm.ppf(0.975) ** 2, gained - lost, gained + lost
    quartic = [
        n**2 * (n / g + 1) ** 2,
        -n * d * (n / g + 1) * (4 * n / g + 1),
        2 * n * d**2 * (3 * n / g + 2) / g - n**2 * (s / g + 1),
        n * d * (2 * s / g + 1) - d**3 * (4 * n / g + 1) / g,
        d**2 * (d**2 / g - s) / g,
    ]
    roots = sorted(root.real for root in np.roots(quartic) if abs(root.imag) < 1e-9 and -1 < root.real < 1)
    found = compare(*pairs(gained, lost, 0, n - gained - lost), ACCURACY, ["ind"])
    assert found.kind == "pairs"
    low, high = found.interval()
    expected = min(roots, key=lambda root: abs(root - low)), min(roots, key=lambda root: abs(root - high))
    # McNemar may hold an end back at nought
    assert low == pytest.approx(expected[0], abs=1e-6)
    assert high == pytest.approx(expected[1] if expected[1] > 0 or found.p_below(0.0) < 0.025 else 0.0, abs=1e-6)


def test_the_airway_example_is_the_published_one() -> None:
    """Bentur et al.'s 21 children (1 and 7 discordant), Tango -0.517 to -0.026 (Fagerland et al. 2014); McNemar holds it at 0."""
    found = compare(*pairs(1, 7, 1, 12), ACCURACY, ["ind"])
    assert found.lower(0.975) == pytest.approx(-0.517, abs=1e-3)
    assert found.upper(0.975) == pytest.approx(0.0, abs=1e-9)  # exact McNemar: p = .070 two-sided
    assert found.p_below(0.0) == pytest.approx(9 / 256)


@settings(max_examples=60, deadline=None)
@given(gained=st.integers(0, 12), lost=st.integers(0, 12), both=st.integers(0, 20), neither=st.integers(5, 20))
def test_mcnemar_holds_the_claim_of_a_difference(gained: int, lost: int, both: int, neither: int) -> None:
    """No bound passes zero unless exact McNemar agrees: the reference is a binomial test on the discordant pairs."""
    from scipy import stats

    assume(gained + lost > 0)
    found = compare(*pairs(gained, lost, both, neither), ACCURACY, ["ind"])
    exact = stats.binomtest(gained, gained + lost, alternative="greater").pvalue
    assert found.p_above(0.0) >= exact - 1e-12
    if found.lower() > 1e-9:
        assert exact < 0.05


@settings(max_examples=40, deadline=None)
@given(gained=st.integers(0, 10), lost=st.integers(0, 10), rest=st.integers(5, 30), line=st.floats(-0.9, 0.9))
def test_tangos_restricted_likelihood_by_brute_force(gained: int, lost: int, rest: int, line: float) -> None:
    """The closed form of the restricted estimate maximises the multinomial likelihood over a fine grid."""
    assume(gained + lost > 0)
    n = gained + lost + rest
    low, high = max(0.0, -line), (1 - line) / 2
    grid = np.linspace(low, high, 20_001)[1:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = gained * np.log(grid + line) + lost * np.log(grid) + rest * np.log(1 - 2 * grid - line)
    q = grid[np.nanargmax(np.where(np.isfinite(likelihood), likelihood, -np.inf))]
    z = (gained - lost - n * line) / math.sqrt(n * (2 * q + line * (1 - line)))
    found = compare(*pairs(gained, lost, 0, rest), ACCURACY, ["ind"])
    side = -1 if line > 0 else 1  # the side on which McNemar does not speak
    from scipy import stats

    expected = stats.norm.sf(side * z)
    actual = found.p_above(line) if side > 0 else found.p_below(line)
    if line != 0:
        assert actual == pytest.approx(expected, abs=2e-3)


def test_several_questions_a_passage_are_clustered() -> None:
    """Ten questions a passage that succeed or fail together are worth ten times fewer; all right is worth the passages."""
    right = np.repeat(np.random.default_rng(0).integers(0, 2, 30), 10)
    rows = rows_of(right, names=("right",), clusters=np.repeat(np.arange(30), 10))
    found = estimate(rows, ACCURACY, ["ind"])
    alone = estimate(rows_of(right, names=("right",)), ACCURACY, ["ind"])
    assert found.kind == "clustered"
    assert (found.upper() - found.lower()) > 2.5 * (alone.upper() - alone.lower())
    perfect = estimate(rows_of(np.ones(300), names=("right",), clusters=np.repeat(np.arange(30), 10)), ACCURACY, ["ind"])
    assert (perfect.kind, perfect.counts) == ("proportion", (30, 30))
    assert perfect.lower() == pytest.approx(0.05 ** (1 / 30))
    turned = compare(rows, dataclasses.replace(rows, values={"right": 0 * rows.values["right"]}), ACCURACY, ["ind"])
    assert turned.kind == "clustered"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_what_was_decided_all_or_nothing_is_worth_its_clusters(share: float) -> None:
    """The denominator says what was decided (here three of four); a share without an exception is no certainty, and no riddle either."""
    decided = np.tile([1.0, 1.0, 1.0, 0.0], 30)
    values = np.stack([share * decided, decided])
    rows = rows_of(*values, names=("same", "decided"), clusters=np.repeat(np.arange(30), 4))
    metric = Metric(name="consistency", numerator="same", denominator="decided", direction="higher", ceiling=1.0)
    found = estimate(rows, metric, ["ind"])
    assert (found.kind, found.counts) == ("proportion", (30 * int(share), 30))
    least = 0.05 ** (1 / 30)
    assert (found.lower(), found.upper()) == pytest.approx((least, 1.0) if share else (0.0, 1 - least))
    mixed = estimate(rows_of(*np.stack([decided * (np.arange(120) % 3 > 0), decided]), names=("same", "decided")), metric, ["ind"])
    assert mixed.kind == "clustered"


CONSISTENCY = Metric(name="consistency", numerator="same", denominator="decided", direction="higher", ceiling=1.0)


def test_clusters_that_decided_nothing_are_no_trials() -> None:
    """28 of 30 responses are empty and the other two right: a share of 1 that rests on two trials, not on thirty."""
    decided = np.array([1.0, 1.0] + [0.0] * 28)
    found = estimate(rows_of(decided, decided, names=("same", "decided")), CONSISTENCY, ["ind"])
    assert (found.kind, found.counts, found.clusters, found.samples) == ("proportion", (2, 2), 2, 2)
    assert found.lower() == pytest.approx(0.05**0.5)
    assert len(found.names) == 2


def test_a_mean_of_languages_is_worth_what_its_poorest_language_allows() -> None:
    """Thirty clusters decided in ind and two in jav: the mean may be half of jav's doubt off. Balanced languages lose nothing."""
    decided = np.array([1.0] * 30 + [1.0, 1.0] + [0.0] * 28)
    languages = ["ind"] * 30 + ["jav"] * 30

    def lower(clusters: list[int]) -> tuple[int, ...]:
        rows = rows_of(decided, decided, names=("same", "decided"), languages=languages, clusters=clusters)
        return estimate(rows, CONSISTENCY, ["ind", "jav"]).counts

    assert lower([*range(30), *range(30)]) == (4, 4)
    assert lower([*range(60)]) == (4, 4)
    decided = np.ones(60)
    assert lower([*range(30), *range(30)]) == (30, 30)
    assert lower([*range(60)]) == (60, 60)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 99), st.integers(1, 40))
def test_rows_that_decided_nothing_do_not_move_an_estimate(seed: int, empty: int) -> None:
    """Adding clusters without a denominator, on either or both sides, is adding nothing."""
    rng = np.random.default_rng(seed)
    size, level = rng.integers(1, 9, 30).astype(float), rng.random(30)

    def side(shift: float, more: int) -> Rows:
        return rows_of([*(size * (level + shift)), *[0.0] * more], [*size, *[0.0] * more], names=("same", "decided"))

    for padded, plain in (
        (estimate(side(0, empty), CONSISTENCY, ["ind"]), estimate(side(0, 0), CONSISTENCY, ["ind"])),
        (compare(side(0.1, empty), side(0, empty), CONSISTENCY, ["ind"]), compare(side(0.1, 0), side(0, 0), CONSISTENCY, ["ind"])),
    ):
        assert (padded.samples, padded.clusters, padded.interval()) == (plain.samples, plain.clusters, pytest.approx(plain.interval()))


def test_a_pair_needs_both_of_its_sides() -> None:
    """Where ours decides in thirty clusters and the reference in two of them, two pairs were seen."""
    ours, theirs = np.ones(30), np.array([1.0] * 2 + [0.0] * 28)
    found = compare(
        rows_of(ours, ours, names=("same", "decided")), rows_of(0 * theirs, theirs, names=("same", "decided")), CONSISTENCY, ["ind"]
    )
    assert (found.clusters, found.samples) == (2, 2)


def test_a_yes_or_no_of_some_rows_is_a_proportion_of_those() -> None:
    """A binary metric whose denominator says which rows it is about has Clopper and Pearson's bounds over them."""
    metric = Metric(name="rate", numerator="hit", denominator="asked", direction="lower", ceiling=1.0, binary=True)
    asked = np.array([1.0] * 20 + [0.0] * 15)
    found = estimate(rows_of([1.0] * 5 + [0.0] * 30, asked, names=("hit", "asked")), metric, ["ind"])
    assert (found.kind, found.counts, found.value) == ("proportion", (5, 20), 0.25)
    with pytest.raises(StatisticsError, match="not 0 or 1"):
        estimate(rows_of([1.0] * 35, asked, names=("hit", "asked")), metric, ["ind"])


@pytest.mark.parametrize("line", [-1 + 1e-16, -1 + 1e-12, -0.999, 0.999, 1 - 1e-12, 1 - 1e-16])
def test_a_line_within_rounding_of_the_end_is_no_coin_toss(line: float) -> None:
    """The restricted variance vanishes there; the p-value must not be one half."""
    found = compare(*pairs(4, 9, 10, 7), ACCURACY, ["ind"])
    near, far = (found.p_above(line), found.p_below(line)) if line < 0 else (found.p_below(line), found.p_above(line))
    assert near < 1e-6
    assert far > 1 - 1e-6
