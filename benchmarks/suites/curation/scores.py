"""What both sources of rows share: a row before it is one, and metrics that are ratios of sums over rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from harness.suites import Metric

# The layers of a chain; `extract` stands for records of which no document was made, `ids` for those whose id came again.
LAYERS = ("url", "lines", "rules", "language", "perplexity", "quality", "near", "exact", "pii", "decontaminate")

AUC = Metric(name="auc", numerator="auc", denominator="told_apart", direction="higher", chance=0.5, ceiling=1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One row to be: `values` are those that are not nought."""

    name: str
    cluster: str
    language: str
    stratum: str
    values: Mapping[str, float]
    shown: Mapping[str, str]


def ratio(name: str, numerator: str, denominator: str, direction: Literal["higher", "lower"], binary: bool = True) -> Metric:
    """A share of which the best is all or nothing."""
    ceiling = 1.0 if direction == "higher" else 0.0
    return Metric(name=name, numerator=numerator, denominator=denominator, direction=direction, ceiling=ceiling, binary=binary)


def share_dropped(layer: str) -> Metric:
    """Of what reached a layer, the share it dropped: neither much nor little is good, so there is no best."""
    return Metric(name=f"share_{layer}", numerator=f"dropped_by_{layer}", denominator=f"seen_by_{layer}", direction="lower", binary=True)


def share_cut(layer: str) -> Metric:
    """Of the bytes that a layer met in the documents it kept, the share it cut: no best either."""
    return Metric(name=f"text_cut_{layer}", numerator=f"cut_by_{layer}", denominator=f"met_by_{layer}", direction="lower", binary=False)
