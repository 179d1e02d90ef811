"""What a corpus costs before it is made: core-hours by the measured rate of each layer, disk by what each step writes. Arithmetic alone.

The rates are those of README's table "200,000 documents" (generated text of five scripts, one or two processes); `benchmarks/speed/test_curation.py` measures
them again. They hold for text that is extracted already; a layer without a rate is named, and its hours are missing from the sum. Each layer is
charged for the text that reaches it, of which `leaves` says what is known: layer -> the share of bytes that it leaves. Bytes are decimal.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from training.curation.exact import FULL, Exact
from training.curation.settings import Curation

# GB of text a core-hour.
RATES: Mapping[str, float] = {
    "ids": 169.06, "url": 137.90, "lines": 64.57, "language": 49.96, "rules": 20.00, "near": 88.89, "exact": 11.90, "pii": 161.77,
    "perplexity": 17.64, "quality": 18.53, "decontaminate": 23.01,
}  # fmt: skip
SLOT_BYTES = 16  # of a table of `exact` (`exact_windows.py`, which is not imported: numba compiles there)


class CorpusCostError(Exception):
    """Sizes that are none."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerCost:
    """A layer at its place: the bytes of text that reach it, and its core-hours (None: its rate was not measured)."""

    name: str
    bytes_in: float
    core_hours: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusCost:
    """What a chain costs on so much text. Disk is counted before compression (shards are zstd's), so it is an upper bound."""

    text_bytes: float
    why: str  # where that figure comes from
    leaves: Mapping[str, float]
    layers: tuple[LayerCost, ...]
    corpus_bytes: float
    work_bytes: float  # at the peak: what extraction and every step keep, or what they have kept by then and the two texts of `exact`
    exact_passes: int  # over its text, at least; 0 without the layer

    @property
    def core_hours(self) -> float:
        """Of the layers whose rate is known."""
        return math.fsum(layer.core_hours or 0.0 for layer in self.layers)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The layers whose rate is not."""
        return tuple(dict.fromkeys(layer.name for layer in self.layers if layer.core_hours is None))


def corpus_cost(chain: Curation, text_bytes: float, leaves: Mapping[str, float] | None = None, why: str = "") -> CorpusCost:
    """The cost of a chain on `text_bytes` of text. A layer that `leaves` does not name is taken to leave all. Raises CorpusCostError."""
    told = dict(leaves or {})
    if not text_bytes > 0:
        raise CorpusCostError(f"{text_bytes:g} bytes of text: give more than nought")
    if unknown := [name for name in told if name not in {layer.name for layer in chain.layers}]:
        raise CorpusCostError(f"leaves names {unknown[0]!r}, which the chain has not: {', '.join(layer.name for layer in chain.layers)}")
    if odd := [name for name, share in told.items() if not 0 < share <= 1]:
        raise CorpusCostError(f"leaves says that {odd[0]} leaves {told[odd[0]]:g} of its text: a share is above 0 and at most 1")
    now = float(text_bytes)
    work = peak = now  # what extraction writes
    passes, layers = 0, []
    for layer in (None, *chain.layers):
        name = "ids" if layer is None else layer.name
        layers.append(LayerCost(name=name, bytes_in=now, core_hours=now / 1e9 / RATES[name] if name in RATES else None))
        if isinstance(layer, Exact):
            passes, peak = exact_passes(layer, now), max(peak, work + 2 * now)  # a round's text and the next one's, gone when it is done
        now *= told.get(name, 1.0)
        work += now
    return CorpusCost(
        text_bytes=text_bytes,
        why=why,
        leaves=told,
        layers=tuple(layers),
        corpus_bytes=now,
        work_bytes=max(peak, work),
        exact_passes=passes,
    )


def exact_passes(layer: Exact, text_bytes: float) -> int:
    """How often `exact` sweeps its text for anchors at the least: its tables hold 2.4 anchors a gram's length, `memory_mb` bounds them."""
    anchors = text_bytes * 2.4 / (layer.least_bytes - max(1, layer.least_bytes // 2) + 1)
    return max(1, math.ceil(anchors / int(layer.memory_mb * 2**20 // SLOT_BYTES * FULL)))
