"""What layers are given beside the corpus, made of the same words: examples of good and bad text, evaluation text, and the pages as a crawl has them.

All of it is written once under the corpus (`curation_corpus.py`), and grows with it as it does where one works: a twentieth of the documents as examples
of each class and language (the paper's 10,000 at 200,000 documents), evaluation texts in a fixed number, a tenth of the documents as pages.
"""

from __future__ import annotations

import functools
import html
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.curation_corpus import LANGUAGES, MEAN_BYTES, PASSAGES, Corpus, joined, passage, tongue, written
from training.curation.decontaminate import write_ngrams
from training.curation.documents import Document, read, write
from training.whole import whole

EXAMPLES, PAGES = 20, 10  # a class and language has the 20th part of the corpus as examples; a crawl the 10th as pages
EVALUATION = 1_000  # texts of a language, as many as FLORES has; a fifth of them passages that stand in the corpus
RECORDS = 1_000  # pages a WARC file


def _once(made: Corpus, name: str, make: Callable[[Path], object]) -> Path:
    """A directory under the corpus, made where it is not there yet."""
    directory, aside = made.directory / name, made.directory / f"{name}.part"
    if not directory.is_dir():
        aside.mkdir(exist_ok=True)
        make(aside)
        aside.rename(directory)
    return directory


def settings(layer: str, made: Corpus) -> list[str]:
    """What a layer is told on this corpus, as --set takes it."""
    if layer == "quality":
        directory = _once(made, "examples", functools.partial(_examples, count=max(50, made.documents // EXAMPLES)))
        return [f"quality.{side}={directory / side}.parquet" for side in ("positives", "negatives")]
    if layer == "decontaminate":
        return [f"decontaminate.ngrams={_once(made, 'evaluation', _evaluation) / 'windows.npz'}"]
    return []


def _examples(directory: Path, count: int) -> None:
    """Good text has the frequencies of the corpus, bad text none."""

    def told(evenly: bool) -> Iterator[Document]:
        for iso in LANGUAGES:
            words = tongue(iso)
            for number in range(count):
                rng = np.random.default_rng([40 + evenly, number, *iso.encode()])
                text = joined(*written(words, rng, int(MEAN_BYTES / (words.mean_bytes + 1)), evenly))
                yield Document(id=f"{iso}-{number}", text=text, language=iso)

    write(directory / "positives.parquet", told(False))
    write(directory / "negatives.parquet", told(True))


def _evaluation(directory: Path) -> None:
    """Of the texts 200 a language stand in a twentieth of the documents, the others in none."""
    texts = [
        (f"{iso}/{number}", passage(iso, 0, 30, number, 40, 90) if number < PASSAGES else passage(iso, 0, 50, number, 40, 90))
        for iso in LANGUAGES
        for number in range(EVALUATION)
    ]
    write_ngrams(texts, directory / "windows.npz")


def pages(made: Corpus) -> Corpus:
    """A tenth of the corpus as WARC files of HTML pages, in the directory `shards` as a corpus is."""
    directory = _once(made, "pages", functools.partial(_crawl, made=made))
    count, size = map(int, (directory / "size.txt").read_text().split())
    return Corpus(directory=directory, documents=count, bytes=size)


def _crawl(directory: Path, made: Corpus) -> None:
    found: list[Document] = []
    for shard in made.shards:
        found += read(shard, lambda _: None)
        if len(found) >= made.documents // PAGES:
            break
    found = found[: made.documents // PAGES]
    (directory / "shards").mkdir(exist_ok=True)
    for number, start in enumerate(range(0, len(found), RECORDS)):
        with whole(directory / "shards" / f"{number:05d}.warc.gz") as aside, aside.open("wb") as file:
            _warc(found[start : start + RECORDS], file)
    (directory / "size.txt").write_text(f"{len(found)} {sum(len(one.text.encode()) for one in found)}\n")


def _warc(found: list[Document], file: Any) -> None:
    from warcio.statusandheaders import StatusAndHeaders
    from warcio.warcwriter import WARCWriter

    writer = WARCWriter(file, gzip=True)
    for one in found:
        head = StatusAndHeaders("200 OK", [("Content-Type", "text/html; charset=utf-8")], protocol="HTTP/1.1")
        writer.write_record(writer.create_warc_record(one.url, "response", payload=io.BytesIO(_page(one).encode()), http_headers=head))


def _page(one: Document) -> str:
    """The text between the menu, the side and the foot of its site."""
    title, *lines = [html.escape(line) for line in one.text.split("\n") if line.strip()]
    links = "".join(f'<li><a href="/{one.language}/{number}">{title[:12]} {number}</a></li>' for number in range(12))
    return (
        f'<!DOCTYPE html><html lang="{one.language}"><head><title>{title}</title><meta charset="utf-8">'
        "<style>body { margin: 0 }</style><script>var page = 1;</script></head>"
        f"<body><header><nav><ul>{links}</ul></nav></header><main><article><h1>{title}</h1>"
        + "".join(f"<p>{line}</p>" for line in lines)
        + f"</article><aside><ul>{links}</ul></aside></main><footer><p>&copy; {title[:12]}</p></footer></body></html>"
    )
