"""Windows of text that occur more than once: a rolling hash of every window, proven byte by byte. The kernels of `exact.py`.

A window is the shortest run of whole units, starting at a unit, that counts at least `least`. Counted by bytes, a unit is a byte and every
window has `least` of them. Counted by script, a unit is a character: it counts 1 (a Thai, Lao, Khmer or Burmese letter takes 3 bytes and
says what a Latin letter says: of the same declaration the four need .9 to 1.4 times the characters of English), and 3 for U+3000 to U+9FFF,
ideographs and kana, of which Chinese needs a quarter. What a window is depends on its own content only, so two equal passages have equal
windows whatever stands around them and whatever language their documents are said to be in: matching is symmetric.

Two sweeps, each over the whole text, each in as many passes (hash partitions) as memory asks for; passes are independent.
1. Anchors. Of the grams of half a window that a window holds, the one with the smallest hash, the first of equals, is its anchor: equal
   windows have equal anchors at the same place. A table of anchors, 4 in 100 bytes, finds those that occur twice.
2. Windows whose anchor occurs twice, and no others, go into a table from content to its first place. Equal hashes are compared byte by
   byte, so no collision is ever taken for a match, and no window that recurs is missed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

FULLEST = 0.85  # of a table's slots; a pass that would fill more is split in two
_BASE = np.uint64(0x9E3779B97F4A7C15)
Bytes = Any  # numpy arrays; numba compiles for what they are
SLOT_BYTES = 16


class Ruler(NamedTuple):
    """How windows are measured and hashed. By byte value: `weight` what it adds, `opens` whether a unit starts with it, `mix` its hash."""

    least: int
    gram: int
    weight: Bytes
    opens: Bytes
    mix: Bytes
    powers: Bytes


def ruler(least: int, scaled: bool) -> Ruler:
    """Windows of at least `least` bytes, or with `scaled` of what counts as much in the script at hand."""
    weight, opens = np.ones(256, np.int64), np.ones(256, np.bool_)
    if scaled:
        weight[0x80:0xC0], opens[0x80:0xC0] = 0, False
        weight[0xE3:0xEA] = 3
    mix = np.random.default_rng(20241204).integers(0, 2**64, 256, dtype=np.uint64, endpoint=False)
    powers = np.ones(4 * least + 16, np.uint64)  # no unit has more than 4 bytes a count
    for index in range(1, len(powers)):
        powers[index] = np.uint64(int(powers[index - 1]) * int(_BASE) % 2**64)
    return Ruler(least, max(1, least // 2), weight, opens, mix, powers)


@numba.njit(nogil=True, cache=True)
def _spread(value):  # type: ignore[no-untyped-def]
    """A bijection that makes every bit depend on every bit (the finaliser of SplitMix64)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@numba.njit(nogil=True, cache=True)
def _same(text, first, second, length):  # type: ignore[no-untyped-def]
    differing = np.uint8(0)  # no early way out: the loop is done many bytes at a time
    for index in range(length):
        differing |= text[first + index] ^ text[second + index]
    return differing == 0


@numba.njit(nogil=True, cache=True)
def _mark(bits, place):  # type: ignore[no-untyped-def]
    bits[place >> 3] |= np.uint8(1 << (place & 7))


@numba.njit(nogil=True, cache=True)
def _marked(bits, place):  # type: ignore[no-untyped-def]
    return (bits[place >> 3] >> (place & 7)) & 1


@numba.njit(nogil=True, cache=True)
def _enter(text, key, place, length, keep_first, keys, places, marks):  # type: ignore[no-untyped-def]
    """Look up a content, entering it where it is new (returns 1); mark it, and unless the first is kept the first too, where it is not.

    `length` 0 takes equal hashes for equal contents: enough for anchors, which only choose what is compared.
    """
    mask = np.uint64(len(keys) - 1)
    slot = key & mask
    while True:
        at = np.int64(slot)
        if places[at] < 0:
            keys[at], places[at] = key, place
            return 1
        if keys[at] == key and (length == 0 or _same(text, places[at], place, length)):
            _mark(marks, place)
            if not keep_first:
                _mark(marks, places[at])
            return 0
        slot = (slot + np.uint64(1)) & mask


@numba.njit(nogil=True, cache=True)
def _sweep(text, offsets, ruler, anchors_only, wanted, keep_first, part, parts, keys, places, marks):  # type: ignore[no-untyped-def]
    """One pass; marks the starts of what recurs. Returns the number of contents entered, -1 where the table grew too full."""
    most, filled = np.int64(len(keys) * FULLEST), np.int64(0)
    ring = 1
    while ring < ruler.least + 16:
        ring *= 2
    ring_place, ring_hash, ring_mask = np.empty(ring, np.int64), np.empty(ring, np.uint64), ring - 1
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        if end - start < ruler.least:
            continue
        p = q = start  # the window
        held, h = 0, np.uint64(0)
        s = e = start  # the gram that is built
        gram_held, g = 0, np.uint64(0)
        head = tail = 0  # a queue of grams, hashes rising: the first is the window's anchor
        last = np.int64(-1)
        while True:
            while q < end and (held < ruler.least or not ruler.opens[text[q]]):
                h = h * _BASE + ruler.mix[text[q]]
                held += ruler.weight[text[q]]
                q += 1
            if held < ruler.least:
                break
            while True:  # every gram that ends within the window
                while e < q and (gram_held < ruler.gram or not ruler.opens[text[e]]):
                    g = g * _BASE + ruler.mix[text[e]]
                    gram_held += ruler.weight[text[e]]
                    e += 1
                if gram_held < ruler.gram:
                    break
                while tail > head and ring_hash[(tail - 1) & ring_mask] > g:
                    tail -= 1
                ring_place[tail & ring_mask], ring_hash[tail & ring_mask] = s, g
                tail += 1
                while True:
                    g -= ruler.mix[text[s]] * ruler.powers[e - s - 1]
                    gram_held -= ruler.weight[text[s]]
                    s += 1
                    if s >= e or ruler.opens[text[s]]:
                        break
            while ring_place[head & ring_mask] < p:
                head += 1
            anchor = ring_place[head & ring_mask]
            if anchors_only:
                if anchor != last:
                    last = anchor
                    key = _spread(ring_hash[head & ring_mask])
                    if (key >> np.uint64(40)) % parts == part:
                        filled += _enter(text, key, anchor, 0, False, keys, places, marks)
            elif _marked(wanted, anchor):
                key = _spread(h)
                if (key >> np.uint64(40)) % parts == part:
                    filled += _enter(text, key, p, q - p, keep_first, keys, places, marks)
            if filled > most:
                return -1
            while True:
                h -= ruler.mix[text[p]] * ruler.powers[q - p - 1]
                held -= ruler.weight[text[p]]
                p += 1
                if p >= q or ruler.opens[text[p]]:
                    break
    return filled


def sweep(
    text: Bytes, offsets: Bytes, rule: Ruler, *, wanted: Bytes | None, keep_first: bool, part: int, parts: int, slots: int, marks: Bytes
) -> int:
    """Mark in `marks`, a bit a byte of text, where hash partition `part` of `parts` recurs; returns how many contents it met.

    Without `wanted` it marks anchors, with it (the anchors marked) the starts of windows: all but the first of equals, or with
    `keep_first` False all. `offsets` are where documents start, and the end; `slots`, a power of two, is the size of the table. A pass
    that does not fit is done in two.
    """
    keys, places = np.empty(slots, np.uint64), np.full(slots, -1, np.int64)
    none = np.zeros(0, np.uint8) if wanted is None else wanted
    met = int(_sweep(text, offsets, rule, wanted is None, none, keep_first, np.uint64(part), np.uint64(parts), keys, places, marks))
    if met >= 0:
        return met
    if parts > 2**20:
        raise MemoryError("more distinct windows share a hash than the table holds; raise exact.memory_mb")
    del keys, places
    return sum(
        sweep(text, offsets, rule, wanted=wanted, keep_first=keep_first, part=half, parts=2 * parts, slots=slots, marks=marks)
        for half in (part, part + parts)
    )


@numba.njit(nogil=True, cache=True)
def _cover(text, offsets, ruler, marks, found):  # type: ignore[no-untyped-def]
    """Ranges that marked windows cover, as (document, start, end) in the document; counts them where `found` is too short to take them."""
    count = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        p = q = start
        held = 0
        left = right = np.int64(-1)
        while p < end:
            if p & 7 == 0 and p + 8 <= end and marks[p >> 3] == 0 and q <= p + 8:  # nothing marked in the next eight bytes
                p += 8
                while p < end and not ruler.opens[text[p]]:
                    p += 1
                q, held = p, 0
                continue
            if _marked(marks, p):
                while q < end and (held < ruler.least or not ruler.opens[text[q]]):
                    held += ruler.weight[text[q]]
                    q += 1
                if p > right:
                    count += _put(text, start, end, document, left, right, found, count)
                    left = p
                right = q
            while True:
                if p < q:
                    held -= ruler.weight[text[p]]
                p += 1
                if p >= end or ruler.opens[text[p]]:
                    break
            q = max(q, p)
        count += _put(text, start, end, document, left, right, found, count)
    return count


@numba.njit(nogil=True, cache=True)
def _put(text, start, end, document, left, right, found, count):  # type: ignore[no-untyped-def]
    """A range drawn in to whole characters; 0 where there is none."""
    if left < 0:
        return 0
    while left < right and text[left] & 0xC0 == 0x80:
        left += 1
    while right > left and right < end and text[right] & 0xC0 == 0x80:
        right -= 1
    if left == right:
        return 0
    if count < len(found):
        found[count, 0], found[count, 1], found[count, 2] = document, left - start, right - start
    return 1


def covered(text: Bytes, offsets: Bytes, rule: Ruler, marks: Bytes) -> Bytes:
    """The byte ranges under the marked windows, on borders of characters: int64 of (ranges, 3), document, start and end in it, in order."""
    count = int(_cover(text, offsets, rule, marks, np.empty((0, 3), np.int64)))
    found = np.empty((count, 3), np.int64)
    _cover(text, offsets, rule, marks, found)
    return found
