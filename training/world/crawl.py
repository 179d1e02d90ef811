"""A small dirty crawl in the languages of the world: WARC files, and the truth of what was planted in them.

    python -m training.world.crawl DIR --pages 200 --seed 0

`DIR/crawl-00000.warc.gz` ... hold the responses of hosts that nobody has, in an order that mixes languages; `DIR/truth.jsonl` says of each record
which trouble it has and what should become of it (`crawl_truth.py`). Dates and record ids are fixed by the seed, so equal settings give equal
bytes (with the same zlib). The last file ends inside its last record. Text and words are ours, Apache-2.0; no native speaker has reviewed them.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import hashlib
import io
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from training.whole import whole
from training.world import crawl_truth
from training.world.crawl_pages import Capture
from training.world.crawl_trouble import Planter
from training.world.crawl_truth import KINDS, Truth
from training.world.language import LANGUAGES, WorldError

FEWEST = 100  # pages of a language that every kind of trouble has room in
RECORDS = 1_000  # a file
BEGUN = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)  # noqa: UP017


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crawl:
    """How large a crawl is: `pages` records of each language, troubles among them (about half); or pages of the kinds `only`, as many of each."""

    languages: tuple[str, ...] = LANGUAGES
    pages: int = 200
    seed: int = 0
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be made."""
        if unknown := [iso for iso in self.languages if iso not in LANGUAGES]:
            raise WorldError(f"the small world has no language {unknown[0]!r}: it has {', '.join(LANGUAGES)}")
        if not self.languages or len(set(self.languages)) < len(self.languages):
            raise WorldError("a crawl has at least one language, and each of them once")
        if unknown := [kind for kind in self.only if kind not in KINDS or not KINDS[kind].share]:
            raise WorldError(
                f"no trouble {unknown[0]!r} is planted on pages: there are {', '.join(name for name in KINDS if KINDS[name].share)}"
            )
        if self.only and (self.pages < len(self.only) or self.pages % len(self.only)):
            raise WorldError(
                f"{self.pages} pages a language are not as many of each of {', '.join(self.only)}: take a multiple of {len(self.only)}"
            )
        if self.pages < FEWEST and not self.only:
            raise WorldError(f"{self.pages} pages a language have no room for every kind of trouble: {FEWEST} at least")
        if self.seed < 0:
            raise WorldError(f"seed {self.seed}: 0 or more")


def write(crawl: Crawl, directory: Path) -> list[Path]:
    """Write the crawl into the directory, truth last; returns its WARC files in order. Raises WorldError where it holds another crawl's files."""
    directory.mkdir(parents=True, exist_ok=True)
    found = [(truth, capture) for iso in crawl.languages for truth, capture in Planter(iso, crawl.pages, crawl.seed, crawl.only).pages]
    found.sort(key=lambda made: hashlib.sha256(made[0].record.encode()).digest())
    found.append(_torn(crawl))
    files = []
    for number, at in enumerate(range(0, len(found), RECORDS)):
        part = found[at : at + RECORDS]
        data, last = _warc(f"{crawl.seed}/{number}", part, at)
        path = directory / f"crawl-{number:05d}.warc.gz"
        _whole(path, data[: last + (len(data) - last) // 2] if at + RECORDS >= len(found) else data)
        files.append(path)
    if strange := sorted(set(directory.glob("*.warc.gz")) - set(files)):
        raise WorldError(f"{strange[0]} is not of this crawl; give another directory, or remove it")
    crawl_truth.write([truth for truth, _ in found], directory / crawl_truth.FILE)
    return files


def truth(directory: Path) -> list[Truth]:
    """What was planted, one entry a response record, in the order of the records. Raises WorldError."""
    return crawl_truth.read(directory / crawl_truth.FILE)


def _torn(crawl: Crawl) -> tuple[Truth, Capture]:
    """The page that the crawl ends in: one more clean one, of which half the bytes are missing."""
    known, capture = Planter(crawl.languages[0], FEWEST, crawl.seed + 1).pages[-1]
    url = known.url + "-torn"
    group = f"{known.declared}/torn"
    kind = KINDS["torn"]
    return (
        dataclasses.replace(known, url=url, kind="torn", group=group, fate=kind.fate, layers=kind.layers),
        dataclasses.replace(capture, url=url),
    )


def _warc(name: str, part: Sequence[tuple[Truth, Capture]], first: int) -> tuple[bytes, int]:
    """The bytes of a WARC file of these responses, and where its last record starts."""
    try:
        from warcio.statusandheaders import StatusAndHeaders
        from warcio.warcwriter import WARCWriter
    except ImportError as error:
        raise WorldError("a crawl is written by warcio, which is not installed: pip install 'seatrials[curation]'") from error
    sink = io.BytesIO()
    writer: Any = WARCWriter(sink, gzip=True)

    def put(kind: str, url: str, record: str, number: int, payload: BinaryIO, head: Any = None) -> None:
        date = (BEGUN + datetime.timedelta(seconds=7 * number)).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"WARC-Record-ID": f"<urn:uuid:{record}>", "WARC-Date": date}
        sort = {} if head else {"warc_content_type": "application/warc-fields", "length": len(payload.getbuffer())}  # type: ignore[attr-defined]
        writer.write_record(writer.create_warc_record(url, kind, payload=payload, http_headers=head, warc_headers_dict=told, **sort))

    own = str(uuid.UUID(bytes=hashlib.sha256(f"warcinfo/{name}".encode()).digest()[:16], version=4))
    put("warcinfo", "", own, first, io.BytesIO(b"software: seatrials training.world.crawl\r\nformat: WARC File Format 1.0\r\n"))
    last = 0
    for number, (known, capture) in enumerate(part, first):
        last = sink.tell()
        headers = [("Content-Type", capture.content_type), ("Content-Length", str(len(capture.body)))]
        head = StatusAndHeaders(capture.status, headers, protocol="HTTP/1.1")
        put("response", capture.url, known.record, number, io.BytesIO(capture.body), head)
    return sink.getvalue(), last


def _whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with whole(path) as aside:
        aside.write_bytes(data)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m training.world.crawl", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pages", type=int, default=Crawl.pages, help=f"records a language (default {Crawl.pages}, at least {FEWEST})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--languages", type=lambda given: tuple(given.split(",")), default=LANGUAGES, help="ISO 639-3 codes, by commas")
    given = parser.parse_args(arguments)
    try:
        files = write(Crawl(languages=given.languages, pages=given.pages, seed=given.seed), given.directory)
    except (WorldError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in files)
    print(
        f"{len(truth(given.directory)):,} records in {len(files)} files, {size / 1e6:.1f} MB; the truth is in {given.directory / crawl_truth.FILE}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
