"""Crawls: files written by warcio, whole and broken in every way that a crawl is."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from training.curation.documents import CurationError, Document, Quarantined
from training.curation.sources import EMPTY, Origin, Sources, charset, documents_of
from training.curation.sources.records import records
from training.recipe import decode, encode

PARAGRAPHS = {
    "ind": "Kapal itu berangkat pagi-pagi sekali, dan tidak seorang pun di pelabuhan melihatnya pergi ke laut lepas.",
    "vie": "Con tàu rời bến từ sáng sớm, và không một ai ở cảng nhìn thấy nó đi ra biển khơi xa xôi hôm ấy.",
    "tha": "เรือลำนั้นออกจากท่าแต่เช้าตรู่ และไม่มีใครในท่าเรือเห็นมันแล่นออกไปสู่ทะเลกว้างใหญ่ในวันนั้นเลย",
}


def page(*paragraphs: str, head: str = "") -> str:
    """A page with a menu, paragraphs and a foot."""
    body = "".join(f"<p>{paragraph}</p>" for paragraph in paragraphs)
    return (
        f"<!DOCTYPE html><html><head>{head}<title>A page</title></head><body><nav><a href='/'>Home</a> <a href='/b'>About us</a></nav>"
        f"<main><article><h1>Berita</h1>{body}</article></main><footer>All rights reserved</footer></body></html>"
    )


class Crawl:
    """A WARC file in the making."""

    def __init__(self, packed: bool = True) -> None:
        self.file = io.BytesIO()
        self.writer = WARCWriter(self.file, gzip=packed)
        self.starts: list[int] = []

    def add(
        self,
        body: bytes | str,
        url: str = "https://a.example/1",
        status: str = "200 OK",
        kind: str = "text/html; charset=utf-8",
        **headers: str,
    ) -> Crawl:
        data = body.encode() if isinstance(body, str) else body
        given = [*([("Content-Type", kind)] if kind else []), *((name.replace("_", "-"), value) for name, value in headers.items())]
        http = StatusAndHeaders(status, given, protocol="HTTP/1.1")
        self.starts.append(self.file.tell())
        self.writer.write_record(self.writer.create_warc_record(url, "response", payload=io.BytesIO(data), http_headers=http))
        return self

    def other(self, kind: str, body: str, url: str = "https://a.example/1") -> Crawl:
        self.starts.append(self.file.tell())
        made = self.writer.create_warc_record(url, kind, payload=io.BytesIO(body.encode()), warc_content_type="text/plain")
        self.writer.write_record(made)
        return self

    @property
    def data(self) -> bytes:
        return self.file.getvalue()


class Found:
    """What reading a file gives."""

    def __init__(self, path: Path, data: bytes, settings: Sources | None = None) -> None:
        path.write_bytes(data)
        self.amiss: list[Quarantined] = []
        self.skipped: Counter[str] = Counter()
        self.documents = list(documents_of(path, settings or Sources(), self.amiss.append, self.skipped))
        self.texts = [made.text for made in self.documents]


def three(packed: bool = True) -> Crawl:
    crawl = Crawl(packed)
    for number, paragraph in enumerate(PARAGRAPHS.values()):
        crawl.add(page(paragraph, paragraph[::-1]), f"https://a.example/{number}")
    return crawl


# ---------------------------------------------------------------------------------------------------------------------- whole files


@pytest.mark.parametrize("packed", [True, False])
def test_pages_become_documents_without_menus(tmp_path: Path, packed: bool) -> None:
    found = Found(tmp_path / ("a.warc.gz" if packed else "a.warc"), three(packed).data)
    assert found.amiss == []
    assert [made.url for made in found.documents] == [f"https://a.example/{number}" for number in range(3)]
    for made, paragraph in zip(found.documents, PARAGRAPHS.values(), strict=True):
        assert paragraph in made.text
        assert "Home" not in made.text
        assert "All rights" not in made.text
        assert made.language == ""
        assert str(made.extra["date"]).startswith("20")


def test_what_is_no_page_is_counted_by_reason(tmp_path: Path) -> None:
    crawl = three().add("gone", status="404 Not Found").add("", status="301 Moved").add(b"\x89PNG", kind="image/png")
    crawl.add("<html><body></body></html>", url="https://a.example/empty").other("metadata", "fetched by hand").add(
        "x", Content_Encoding="br"
    )
    found = Found(tmp_path / "a.warc.gz", crawl.data)
    assert len(found.documents) == 3
    assert found.skipped == {
        "status 404": 1,
        "status 301": 1,
        "content type image/png": 1,
        "record type metadata": 1,
        "content encoding br": 1,
        "no main text": 1,
    }
    assert found.amiss == []


def test_wet_records_are_documents_as_they_are(tmp_path: Path) -> None:
    crawl = Crawl().other("warcinfo", "software: none")
    for number, text in enumerate(PARAGRAPHS.values()):
        crawl.other("conversion", f"Berita\n{text}", f"https://a.example/{number}")
    for name in ("a.warc.wet.gz", "a.wet.gz"):
        found = Found(tmp_path / name, crawl.data)
        assert found.texts == [f"Berita\n{text}" for text in PARAGRAPHS.values()]
        assert found.documents[1].url == "https://a.example/1"
        assert found.skipped == {"record type warcinfo": 1}


def test_a_file_packed_in_one_piece_reads_the_same(tmp_path: Path) -> None:
    """gzip over a whole file, as `gzip a.warc` does it, and members that end anywhere, as parallel packers write them."""
    data = three(packed=False).data
    expected = Found(tmp_path / "a.warc", data).texts
    assert Found(tmp_path / "b.warc.gz", gzip.compress(data)).texts == expected
    assert Found(tmp_path / "c.warc.gz", b"".join(gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700))).texts == expected


def test_source_and_licence_come_from_the_file_s_origin(tmp_path: Path) -> None:
    origins = (Origin(pattern="b*"), Origin(pattern="*.warc.gz", source="harbour crawl", licence="CC0", language="ind"))
    found = Found(tmp_path / "a.warc.gz", three().data, decode(encode(Sources(origins=origins))))
    assert {(made.source, made.licence, made.language) for made in found.documents} == {("harbour crawl", "CC0", "ind")}


def test_ids_are_unique_even_of_a_record_that_stands_twice(tmp_path: Path) -> None:
    data = three().data
    found = Found(tmp_path / "a.warc.gz", data + data)
    assert len({made.id for made in found.documents}) == 6
    assert all(made.id.startswith("a.warc.gz#") for made in found.documents)


# ------------------------------------------------------------------------------------------------------------------- transfer, encodings


@pytest.mark.parametrize(
    ("packing", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("gzip", bytes),
        ("", bytes),
    ],
    ids=["gzip", "zlib", "deflate", "gzip, unpacked by the crawler", "plain"],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_are_unpacked(tmp_path: Path, packing: str, pack: object, chunked: bool) -> None:
    body = pack(page(PARAGRAPHS["tha"]).encode())  # type: ignore[operator]
    headers = {"Content_Encoding": packing} if packing else {}
    if chunked:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:100], body[100:])) + b"0\r\n\r\n"
        headers["Transfer_Encoding"] = "chunked"
    found = Found(tmp_path / "a.warc.gz", Crawl().add(body, **headers).data)
    assert PARAGRAPHS["tha"] in found.texts[0]


@pytest.mark.parametrize(
    ("name", "language", "stated", "head"),
    [
        ("utf-8", "tha", "", ""),
        ("utf-8", "tha", "iso-8859-1", ""),
        ("tis-620", "tha", "windows-874", ""),
        ("tis-620", "tha", "", '<meta http-equiv="Content-Type" content="text/html; charset=tis-620">'),
        ("cp1252", "ind", "latin1", ""),
        ("utf-16", "vie", "", ""),
        ("utf-8-sig", "vie", "utf-8", ""),
        ("utf-16-le", "ind", "utf-16le", ""),
    ],
)
def test_encodings_are_found_where_they_are_stated(tmp_path: Path, name: str, language: str, stated: str, head: str) -> None:
    kind = f"text/html; charset={stated}" if stated else "text/html"
    found = Found(tmp_path / "a.warc.gz", Crawl().add(page(PARAGRAPHS[language], head=head).encode(name), kind=kind).data)
    assert found.amiss == []
    assert PARAGRAPHS[language] in found.texts[0]


def test_an_encoding_that_nobody_states_is_guessed() -> None:
    text = "เรือลำนั้นออกจากท่าแต่เช้าตรู่ และไม่มีใครในท่าเรือเห็น " * 8
    assert charset.decode(text.encode("tis-620")) == text
    text = "港口里没有一个人看见这艘船清早就驶向了广阔的大海，孩子们在岸边等了整整一天，直到太阳落山才回家去吃晚饭。" * 4
    assert charset.decode(text.encode("gb18030")) == text


def test_utf8_with_a_broken_letter_keeps_the_others() -> None:
    data = (PARAGRAPHS["tha"] * 3).encode()
    assert charset.decode(data[:-1]) == (PARAGRAPHS["tha"] * 3)[:-1] + "\ufffd"


def test_bytes_that_are_no_text_are_quarantined(tmp_path: Path) -> None:
    noise = b"<html>" + bytes(range(256)) * 40
    crawl = Crawl().add(noise, kind="text/html").add(page(PARAGRAPHS["ind"]))
    found = Found(tmp_path / "a.warc.gz", crawl.data)
    assert len(found.documents) == 1
    assert [(one.row, one.offset) for one in found.amiss] == [(1, 0)]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff"), max_size=60))
def test_valid_utf8_is_never_taken_for_anything_else(text: str) -> None:
    assert charset.decode(text.encode(), "iso-8859-1") == text


# ---------------------------------------------------------------------------------------------------------------------- broken files


def test_a_torn_file_keeps_what_comes_before(tmp_path: Path) -> None:
    crawl = three()
    found = Found(tmp_path / "a.warc.gz", crawl.data[:-40])
    assert len(found.documents) == 2
    (torn,) = found.amiss
    assert (torn.offset, torn.row) == (crawl.starts[2], 3)
    assert "torn" in torn.reason


def test_a_damaged_member_costs_its_own_record_only(tmp_path: Path) -> None:
    crawl = three()
    data = bytearray(crawl.data)
    middle = (crawl.starts[1] + crawl.starts[2]) // 2
    data[middle : middle + 8] = b"\xff" * 8
    found = Found(tmp_path / "a.warc.gz", bytes(data))
    assert [made.url[-1] for made in found.documents] == ["0", "2"]
    assert [one.offset for one in found.amiss] == [crawl.starts[1]]


def test_garbage_between_members_is_passed_over(tmp_path: Path) -> None:
    crawl = three()
    cut = crawl.starts[1]
    found = Found(tmp_path / "a.warc.gz", crawl.data[:cut] + b"\x1f\x8b\x08not really\x00" * 9 + crawl.data[cut:] + b"\0" * 600)
    assert len(found.documents) == 3
    assert [one.offset for one in found.amiss] == [cut]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("told", ["7", "90000", "-3", "many", "99999999999999999999999"])
def test_a_wrong_content_length_costs_its_own_record_only(tmp_path: Path, packed: bool, told: str) -> None:
    crawl = three(packed=False)
    first, second, third = (crawl.data[a:b] for a, b in zip(crawl.starts, [*crawl.starts[1:], None], strict=True))
    length = second.split(b"Content-Length: ")[1].split(b"\r\n")[0]
    parts = [first, second.replace(b"Content-Length: " + length, b"Content-Length: " + told.encode(), 1), third]
    data = b"".join(map(gzip.compress, parts) if packed else parts)
    found = Found(tmp_path / ("a.warc.gz" if packed else "a.warc"), data)
    assert [made.url[-1] for made in found.documents] == ["0", "2"]
    assert found.amiss
    assert all(one.row >= 2 for one in found.amiss)
    if not packed:
        assert found.amiss[0].offset == crawl.starts[1]


def test_a_record_over_the_limit_is_quarantined_and_the_rest_goes_on(tmp_path: Path) -> None:
    crawl = three().add("x" * 3_000_000, url="https://a.example/big").add(page(PARAGRAPHS["ind"]), url="https://a.example/last")
    found = Found(tmp_path / "a.warc.gz", crawl.data, Sources(largest_record=100_000))
    assert [made.url.rpartition("/")[2] for made in found.documents] == ["0", "1", "2", "last"]
    (big,) = found.amiss
    assert big.offset == crawl.starts[3]
    assert "over the limit of 100000" in big.reason


def test_a_body_that_unpacks_to_too_much_is_quarantined(tmp_path: Path) -> None:
    crawl = Crawl().add(gzip.compress(b"<html>" + b"a" * 5_000_000), Content_Encoding="gzip").add(page(PARAGRAPHS["ind"]))
    found = Found(tmp_path / "a.warc.gz", crawl.data, Sources(largest_record=100_000))
    assert len(found.documents) == 1
    assert ["unpacks to more" in one.reason for one in found.amiss] == [True]


def test_a_file_that_is_no_crawl_is_quarantined_whole(tmp_path: Path) -> None:
    for name, data in (
        ("a.warc.gz", b"no gzip at all" * 50),
        ("a.warc", b"one long line" * 9000),
        ("b.warc.gz", gzip.compress(b"some text\n" * 99)),
    ):
        found = Found(tmp_path / name, data)
        assert found.documents == []
        assert [one.offset for one in found.amiss] == [0]
    for data in (b"", gzip.compress(b""), gzip.compress(b"") * 2, bytes(512)):
        (told,) = Found(tmp_path / "empty.warc.gz", data).amiss
        assert (told.row, told.offset, told.reason, told.kept) == (0, 0, EMPTY, False)


def test_a_response_without_http_is_quarantined_and_dns_is_skipped(tmp_path: Path) -> None:
    crawl = Crawl(packed=False)
    head = "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: https://a.example/\r\nContent-Type: application/http\r\nContent-Length: 7"
    crawl.file.write(f"{head}\r\n\r\nnothing\r\n\r\n".encode())
    crawl.other("response", "20240101000000\na.example. IN A 1.2.3.4", "dns:a.example").add(page(PARAGRAPHS["ind"]))
    found = Found(tmp_path / "a.warc", crawl.data)
    assert len(found.documents) == 1
    assert [one.reason for one in found.amiss] == ["it holds no HTTP response"]
    assert found.skipped == {"a response that is not HTTP": 1}


@settings(max_examples=60)
@given(packed=st.booleans(), start=st.floats(0, 1), length=st.integers(1, 400), instead=st.binary(max_size=40))
def test_no_damage_is_fatal_and_what_it_does_not_touch_is_read(
    tmp_path_factory: pytest.TempPathFactory, packed: bool, start: float, length: int, instead: bytes
) -> None:
    crawl = Crawl(packed)
    for number, text in enumerate(PARAGRAPHS.values()):
        crawl.other("conversion", text, f"https://a.example/{number}")
    whole = crawl.data
    begin = int(start * (len(whole) - 1))
    end = min(len(whole), begin + length)
    ends = [*crawl.starts[1:], len(whole)]
    untouched = {text for text, first, last in zip(PARAGRAPHS.values(), crawl.starts, ends, strict=True) if last <= begin or end <= first}
    path = tmp_path_factory.mktemp("crawl") / ("a.wet.gz" if packed else "a.wet")
    found = Found(path, whole[:begin] + instead + whole[end:])
    missing = untouched - set(found.texts)
    # a plain file's record may run into the damage: its end is known by what follows
    assert len(missing) <= (0 if packed else 1)
    assert not missing or found.amiss


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"gone\.warc\.gz"):
        list(documents_of(tmp_path / "gone.warc.gz", Sources(), lambda _: None))


def test_records_are_read_one_at_a_time(tmp_path: Path) -> None:
    """A file is not read to its end before the first document is there."""
    path = tmp_path / "a.warc.gz"
    path.write_bytes(three().data + b"torn")
    amiss: list[Quarantined] = []
    stream: Iterator[Document] = documents_of(path, Sources(), amiss.append)
    next(stream)
    assert amiss == []
    assert len(list(stream)) == 2
    assert len(amiss) == 1
    assert [record.number for record in records(path, 2**20, amiss.append)] == [1, 2, 3]
