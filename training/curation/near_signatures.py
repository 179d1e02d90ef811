"""Texts to shingles, shingles to MinHash signatures, signatures to the keys of bands: one numba kernel for each step.

Two schemes, which differ in what a shingle is and how it is hashed; everything after is the same:

splitmix    the default. Units are runs between white space, lower-cased by code point; each character of Thai, Lao, Khmer, Burmese and Han is a
            unit of its own, since these scripts do not space words (finding words or syllables, as words.py does, costs ten times the rest). A
            shingle is n units, its hash 64 bits finished as in SplitMix64 (Steele, Lea, Flood 2014). Permutation i takes x, the upper 32 bits, to
            a_i x + b_i mod 2^32, a_i odd: a bijection, eight to an AVX2 register.
sha1        text-dedup 0.4.0's, for equal partitions: units are re.split(r"\\W"), empty ones too; the first 4 bytes of SHA-1, little-endian, go to
            ((a_i x + b_i mod 2^64) mod 2^61 - 1) mod 2^32 with numpy's RandomState(42).

A text with fewer than n units is one shingle. A text with none has no shingle, no key, and is nobody's duplicate.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from training.curation.near_bands import Scheme

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

# First and last code points of Myanmar (with extensions), Khmer, Thai, Lao and Han.
UNSPACED = (
    (0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0x1780, 0x17FF), (0x19E0, 0x19FF), (0x0E00, 0x0E7F), (0x0E80, 0x0EFF),
    (0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF),
)  # fmt: skip
LAST_CASED = 0x1F000  # no letter beyond it has case, nor is any white space
SPACE, ALONE, POINT = -1, 1 << 24, (1 << 24) - 1
_WORD_END = re.compile(r"\W")

_MIX1, _MIX2, _ODD = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15)
_27, _30, _31, _32, _61 = (np.uint64(bits) for bits in (27, 30, 31, 32, 61))
_M61, _LOW32 = np.uint64(2**61 - 1), np.uint64(2**32 - 1)
_0, _1 = np.uint64(0), np.uint64(1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shingles:
    """Hashes of the shingles of a batch of texts: those of text i are hashes[offsets[i]:offsets[i + 1]]. `characters`: code points of each text."""

    hashes: U64
    offsets: I64
    characters: I64


@functools.cache
def classes() -> npt.NDArray[np.int32]:
    """What each code point is: SPACE, or its lower-case form, with ALONE set where it is a unit by itself."""
    table = np.arange(0x110000, dtype=np.int32)
    for point in range(LAST_CASED):
        character = chr(point)
        # U+200B parts words, most of all in Khmer and Burmese
        table[point] = SPACE if character.isspace() or point == 0x200B else ord(character.lower()[0])
    for first, last in UNSPACED:
        table[first : last + 1] |= ALONE
    return table


def warm() -> None:
    """Do once what every process would do at its first batch: the table of code points, and all that numba needs to load any kernel."""
    classes()
    _stream(2)


def shingles(texts: Any, scheme: Scheme) -> Shingles:
    """The shingles of an Arrow array of strings, in their order (splitmix, repeated ones too) or as a sorted set (sha1)."""
    if scheme.hash == "sha1":
        return _sha1(texts, scheme.shingle)
    import pyarrow

    texts = texts.cast(pyarrow.large_string())
    texts = texts.fill_null("") if texts.null_count else texts  # it imports pyarrow.compute, even for nothing
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    # Arrow leaves out the buffer of a column of empty strings
    content = np.frombuffer(data if data is not None and data.size else b"\0", dtype=np.uint8)
    return Shingles(**dict(zip(("hashes", "offsets", "characters"), _shingles(content, bounds, classes(), scheme.shingle), strict=True)))


def _sha1(texts: Any, n: int) -> Shingles:
    hashes, counts, characters = [], [0], []
    for text in texts.to_pylist():
        units = _WORD_END.split((text or "").lower())
        grams = {" ".join(units[at : at + n]) for at in range(max(1, len(units) - n + 1))} if text and not text.isspace() else set()
        digests = b"".join(hashlib.sha1(gram.encode(), usedforsecurity=False).digest()[:8] for gram in grams)
        hashes.append(np.unique(np.frombuffer(digests, dtype="<u8")))
        counts.append(len(hashes[-1]))
        characters.append(len(text or ""))
    joined = np.concatenate([np.empty(0, dtype=np.uint64), *hashes])
    return Shingles(hashes=joined, offsets=np.cumsum(counts), characters=np.array(characters, dtype=np.int64))


def signatures(found: Shingles, scheme: Scheme) -> npt.NDArray[np.uint32]:
    """The minima of a batch, uint32 (texts, bands * rows); all ones for a text without shingles."""
    used = scheme.bands * scheme.rows
    if scheme.hash == "sha1":
        random = np.random.RandomState(42)
        multipliers = random.randint(1, 2**61 - 1, size=scheme.permutations, dtype=np.uint64)
        increments = random.randint(0, 2**61 - 1, size=scheme.permutations, dtype=np.uint64)
        return _minima61(found.hashes, found.offsets, multipliers[:used], increments[:used])
    drawn = _stream(2 * used)
    return _minima32(found.hashes, found.offsets, drawn[::2] | np.uint32(1), drawn[1::2].copy())


def keys(minima: npt.NDArray[np.uint32], found: Shingles, salt: U64, scheme: Scheme) -> tuple[U64, U64]:
    """(keys of the bands, uint64 (bands, texts); keys of the shingle sequences, 0 for a text without any).

    Texts of different `salt` (their languages') share no key. Two of 10^9 documents share a key by chance with probability .03 a band; a shared
    key of a band is verified, one of a sequence is not.
    """
    return _keys(minima, found.hashes, found.offsets, salt, scheme.bands, scheme.rows)


def sets(found: Shingles) -> Shingles:
    """The same as sorted sets, for comparing."""
    hashes, offsets = _sets(found.hashes, found.offsets)
    return Shingles(hashes=hashes, offsets=offsets, characters=found.characters)


# ---------------------------------------------------------------------------------------------------------------- kernels


@numba.njit(cache=True, nogil=True)
def _mix(value: Any) -> Any:
    value = (value ^ (value >> _30)) * _MIX1
    value = (value ^ (value >> _27)) * _MIX2
    return value ^ (value >> _31)


@numba.njit(cache=True)
def _stream(number: int) -> npt.NDArray[np.uint32]:
    """SplitMix64 from 0, the upper halves: the same on every machine and version."""
    drawn = np.empty(number, dtype=np.uint32)
    state = _0
    for at in range(number):
        state += _ODD
        drawn[at] = np.uint32(_mix(state) >> _32)
    return drawn


@numba.njit(cache=True, nogil=True)
def _point(data: Any, at: int, end: int) -> tuple[Any, int]:
    """(code point, where the next begins) of UTF-8; a byte that cannot be decoded is a point of its own."""
    byte = np.int64(data[at])
    if byte < 0x80:
        return byte, at + 1
    if 0xC0 <= byte < 0xE0 and at + 1 < end:
        return (byte & 0x1F) << 6 | np.int64(data[at + 1] & 0x3F), at + 2
    if 0xE0 <= byte < 0xF0 and at + 2 < end:
        return (byte & 0x0F) << 12 | np.int64(data[at + 1] & 0x3F) << 6 | np.int64(data[at + 2] & 0x3F), at + 3
    if 0xF0 <= byte < 0xF5 and at + 3 < end:
        point = (
            (byte & 0x07) << 18 | np.int64(data[at + 1] & 0x3F) << 12 | np.int64(data[at + 2] & 0x3F) << 6 | np.int64(data[at + 3] & 0x3F)
        )
        return min(point, 0x10FFFF), at + 4
    return byte, at + 1


@numba.njit(cache=True, nogil=True)
def _units(data: Any, at: int, end: int, table: Any, units: Any) -> tuple[int, int]:
    """Hashes of the units of a text into `units`; (how many, code points)."""
    count = characters = 0
    word = _0
    inside = False
    while at < end:
        point, at = _point(data, at, end)
        characters += 1
        entry = table[point]
        if entry >= 0 and not entry & ALONE:
            word = (word ^ np.uint64(entry)) * _ODD if inside else (_ODD ^ np.uint64(entry)) * _ODD
            inside = True
            continue
        if inside:
            units[count] = _mix(word)
            count += 1
            inside = False
        if entry >= 0:
            units[count] = _mix((_ODD ^ np.uint64(entry & POINT)) * _ODD)
            count += 1
    if inside:
        units[count] = _mix(word)
        count += 1
    return count, characters


@numba.njit(cache=True, nogil=True)
def _shingles(data: Any, bounds: Any, table: Any, n: int) -> tuple[Any, Any, Any]:
    texts = len(bounds) - 1
    longest = 0
    for text in range(texts):
        longest = max(longest, bounds[text + 1] - bounds[text])
    units = np.empty(longest + 1, dtype=np.uint64)
    hashes = np.empty(bounds[texts] - bounds[0] + 1, dtype=np.uint64)
    offsets = np.zeros(texts + 1, dtype=np.int64)
    characters = np.empty(texts, dtype=np.int64)
    at = 0
    for text in range(texts):
        count, characters[text] = _units(data, bounds[text], bounds[text + 1], table, units)
        width = min(n, count)
        if count:
            for first in range(count - width + 1):
                value = np.uint64(width)
                for unit in range(first, first + width):
                    value = value * _MIX1 + units[unit]
                hashes[at] = _mix(value)
                at += 1
        offsets[text + 1] = at
    return hashes[:at].copy(), offsets, characters


@numba.njit(cache=True, nogil=True)
def _minima32(hashes: Any, offsets: Any, multipliers: Any, increments: Any) -> Any:
    texts, used = len(offsets) - 1, len(multipliers)
    minima = np.empty((texts, used), dtype=np.uint32)
    upper = np.empty(max(1, np.max(offsets[1:] - offsets[:-1])) if texts else 1, dtype=np.uint32)
    for text in range(texts):
        count = offsets[text + 1] - offsets[text]
        for at in range(count):
            upper[at] = np.uint32(hashes[offsets[text] + at] >> _32)
        # one permutation at a time over all shingles: the compiler makes it a vector loop without a store
        for row in range(used):
            multiplier, increment = multipliers[row], increments[row]
            least = np.uint32(0xFFFFFFFF)
            for at in range(count):
                least = min(least, np.uint32(multiplier * upper[at] + increment))
            minima[text, row] = least
    return minima


@numba.njit(cache=True, nogil=True)
def _minima61(hashes: Any, offsets: Any, multipliers: Any, increments: Any) -> Any:
    texts, used = len(offsets) - 1, len(multipliers)
    minima = np.empty((texts, used), dtype=np.uint32)
    for text in range(texts):
        for row in range(used):
            least = _LOW32
            for at in range(offsets[text], offsets[text + 1]):
                value = multipliers[row] * (hashes[at] & _LOW32) + increments[row]
                value = (value & _M61) + (value >> _61)
                least = min(least, (value - _M61 if value >= _M61 else value) & _LOW32)
            minima[text, row] = np.uint32(least)
    return minima


@numba.njit(cache=True, nogil=True)
def _keys(minima: Any, hashes: Any, offsets: Any, salt: Any, bands: int, rows: int) -> tuple[Any, Any]:
    texts = len(offsets) - 1
    keys = np.zeros((bands, texts), dtype=np.uint64)
    sequences = np.zeros(texts, dtype=np.uint64)
    for text in range(texts):
        if offsets[text + 1] == offsets[text]:
            continue
        for band in range(bands):
            key = salt[text]
            for row in range(band * rows, band * rows + rows):
                key = _mix(key * _ODD + np.uint64(minima[text, row]))
            keys[band, text] = key
        key = salt[text]
        for at in range(offsets[text], offsets[text + 1]):
            key = (key ^ hashes[at]) * _ODD
            key ^= key >> _32
        sequences[text] = max(_mix(key), _1)
    return keys, sequences


@numba.njit(cache=True, nogil=True)
def _sets(hashes: Any, offsets: Any) -> tuple[Any, Any]:
    found = np.empty(len(hashes), dtype=np.uint64)
    bounds = np.zeros_like(offsets)
    at = 0
    for text in range(len(offsets) - 1):
        first = at
        for value in np.sort(hashes[offsets[text] : offsets[text + 1]]):
            if at == first or value != found[at - 1]:
                found[at] = value
                at += 1
        bounds[text + 1] = at
    return found[:at].copy(), bounds
