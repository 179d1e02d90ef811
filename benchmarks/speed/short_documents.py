"""Short labelled documents to identify the language of: real text of a mirror, and generated words, whose letters are right and whose sentences are not.

    python -m benchmarks.speed.short_documents real --hub DIR --output asked.jsonl

A document has SHORTEST to LONGEST characters: sentences of one source are taken together until they are long enough, long ones are cut at a space. No
document is asked about twice, and languages stand mixed. `repeating` draws words by Zipf's law as the generated crawl does; in `unrepeated` no word of
a language occurs twice, so that nothing remembered of words can help.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.speed.curation_corpus import tongue
from training.identification import CORPORA
from training.languages import LANGUAGES

Labelled = tuple[str, str]  # iso, text
SHORTEST, LONGEST = 100, 200
KINDS = ("real", "repeating", "unrepeated")

# (language, directory in the mirror, field of a row); those of CORPORA come before them.
SOURCES = (
    *((iso, "indonlp/NusaX-MT/parallel", iso) for iso in ("eng", "ind", "jav", "sun")),
    ("ind", "afaji/indonli/indonli", "premise"),
    ("jav", "facebook/belebele/jav_Latn", "flores_passage"),
    ("khm", "ye-kyaw-thu/khPOS/khm", "text"),
    ("mya", "ye-kyaw-thu/myPOS/mya", "text"),
    ("tha", "pythainlp/wisesight_sentiment/wisesight_sentiment", "texts"),
    *((one.iso, f"google/xquad/{one.xquad}", "context") for one in LANGUAGES if one.xquad),
    *((one.iso, f"cambridgeltl/xcopa/{one.xcopa}", "premise") for one in LANGUAGES if one.xcopa),
    *((one.iso, f"CohereLabs/Global-MMLU-Lite/{one.mmlu}", "question") for one in LANGUAGES if one.mmlu),
)


def cut(texts: Iterable[str]) -> Iterator[str]:
    """Documents of SHORTEST to LONGEST characters; what is left over at the end is none."""
    waiting = ""
    for text in texts:
        for sentence in re.split(r"(?<=[.;:!?])\s+", " ".join(text.split())):
            waiting = f"{waiting} {sentence}".strip()
            while len(waiting) >= SHORTEST:
                at = len(waiting) if len(waiting) <= LONGEST else waiting.rfind(" ", SHORTEST, LONGEST)
                at = at if at > 0 else LONGEST
                yield waiting[:at]
                waiting = waiting[at:].strip()


def real(hub: Path, most: int) -> list[Labelled]:
    """At most so many of a language and source; a source that the mirror does not have is passed over."""
    found: list[Labelled] = []
    for iso, where, field in (*((one.iso, f"{path}/{one.iso}", "text") for path in CORPORA.values() for one in LANGUAGES), *SOURCES):
        rows = (
            json.loads(line) for path in sorted((hub / where).glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()
        )
        texts = dict.fromkeys(text for row in rows if (text := row[field]))
        found += [(iso, text) for text in list(dict.fromkeys(cut(texts)))[:most]]
    return mixed(found)


def generated(kind: str, most: int) -> list[Labelled]:
    """At most so many of each language, of words drawn by Zipf's law or of words of which none occurs twice."""
    found: list[Labelled] = []
    for number, one in enumerate(LANGUAGES):
        told, rng = tongue(one.iso), np.random.default_rng([number, KINDS.index(kind)])
        count = min(len(told.words), most * SHORTEST) if kind == "unrepeated" else most * SHORTEST
        drawn = rng.permutation(len(told.words))[:count] if kind == "unrepeated" else told.draw(rng, count)
        gap = " " if one.script == "Latin" else ""
        found += [(one.iso, text) for text in _joined(told.words[drawn].tolist(), gap)][:most]
    return mixed(found)


def _joined(words: Sequence[str], gap: str) -> Iterator[str]:
    own: list[str] = []
    size = 0
    for word in words:
        own.append(word)
        size += len(word) + len(gap)
        if size > (SHORTEST + LONGEST) // 2:
            yield gap.join(own)[:LONGEST]
            own, size = [], 0


def mixed(found: Sequence[Labelled]) -> list[Labelled]:
    """In an order that is the same every time, no text twice."""
    kept = {text: iso for iso, text in found}
    return random.Random(0).sample([(iso, text) for text, iso in kept.items()], len(kept))


def write(path: Path, asked: Iterable[Labelled]) -> None:
    """One {"language", "text"} a line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"language": iso, "text": text}, ensure_ascii=False) + "\n" for iso, text in asked)


def read(path: Path) -> list[Labelled]:
    """What `write` wrote."""
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line)
    return [(row["language"], row["text"]) for row in rows]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.short_documents")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--hub", type=Path, help="the mirror, for real text")
    parser.add_argument("--most", type=int, default=1000, help="documents of a language and source")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    if given.kind == "real" and given.hub is None:
        parser.error("real text is read from a mirror: name it with --hub")
    asked = real(given.hub, given.most) if given.kind == "real" else generated(given.kind, given.most)
    write(given.output, asked)
    print(f"{len(asked):,} documents in {given.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
