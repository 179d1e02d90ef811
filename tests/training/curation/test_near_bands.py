"""Which bands serve a threshold, against datasketch and the references; the curve of what is caught."""

from __future__ import annotations

import numpy as np
import pytest

from training.curation.near_bands import caught, optimal


@pytest.mark.parametrize(
    ("threshold", "permutations", "expected"),
    [(0.7, 256, (25, 10)), (0.7, 250, (25, 10)), (0.75, 256, (21, 12)), (0.8, 128, (9, 13)), (0.8, 256, (17, 15))],
)
def test_the_bands_of_the_references(threshold: float, permutations: int, expected: tuple[int, int]) -> None:
    assert optimal(threshold, permutations) == expected


@pytest.mark.parametrize("permutations", [32, 128, 256])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_as_good_as_datasketch_chooses(threshold: float, permutations: int) -> None:
    """Its integrals are sums of steps of .001, so of nearly equal choices it may take another; by fine sums ours is never worse."""
    lsh = pytest.importorskip("datasketch").MinHashLSH(threshold=threshold, num_perm=permutations)

    def area(bands: int, rows: int) -> float:
        similarity = (np.arange(200_000) + 0.5) / 200_000
        found = caught(similarity, bands, rows)
        return float(np.where(similarity < threshold, found, 1 - found).mean())

    ours = optimal(threshold, permutations)
    assert area(*ours) <= area(lsh.b, lsh.r) + 1e-6
    assert abs(ours[0] - lsh.b) <= 1


def test_the_curve_of_the_reference() -> None:
    assert [round(float(caught(s, 25, 10)), 2) for s in (0.7, 0.8)] == [0.51, 0.94]
    assert caught(0.9, 25, 10) > 0.9999
    assert [round(float(caught(s, 9, 13)), 2) for s in (0.7, 0.8, 0.9)] == [0.08, 0.40, 0.93]
    assert caught(1.0, 25, 10) == 1
    assert caught(0.0, 25, 10) == 0
