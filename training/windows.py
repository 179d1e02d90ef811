"""Windows of bytes of a text as it is compared: what curation decontaminates by, and what stands between training and evaluation text.

A text is compared after Unicode compatibility folding, in lower case and without white space: dress does not count. Windows are of bytes,
because no segmenter knows all the scripts.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]

WINDOW = 50  # bytes: some eight English words, or five Thai ones
PRIME = 0x9E3779B97F4A7C15 | 1  # odd, so that it has an inverse modulo 2**64
SEPARATOR = b"\xff"  # between two texts that are hashed at once: no normalised text holds it


def shortest(window: int = WINDOW) -> int:
    """Bytes of the shortest evaluation text that is looked for, half a window: a shorter one is a phrase, which stands in any large corpus."""
    return max(1, window // 2)


def normalised(text: str) -> bytes:
    """The text as it is compared."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(folded.split()).encode("utf-8", "surrogatepass")


def window_hashes(data: bytes, window: int = WINDOW) -> Hashes:
    """A 64-bit hash of every window of `data`, [max(0, len - window + 1)]; a text shorter than a window has none.

    The hash of data[i : i + w] is sum_j data[i + j] * p**j modulo 2**64: by prefix sums, so that all windows cost one pass.
    """
    import numpy as np

    count = len(data) - window + 1
    if count <= 0:
        return np.zeros(0, dtype=np.uint64)
    values = np.frombuffer(data, dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    powers = np.full(len(data), PRIME, dtype=np.uint64)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)
    inverses = np.full(count, pow(PRIME, -1, 1 << 64), dtype=np.uint64)
    inverses[0] = 1
    inverses = np.multiply.accumulate(inverses)
    sums = np.zeros(len(data) + 1, dtype=np.uint64)
    np.add.accumulate(values * powers, out=sums[1:])
    return (sums[window:] - sums[:-window]) * inverses
