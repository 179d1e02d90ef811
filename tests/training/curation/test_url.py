"""One document a URL, the longest: the canonical form, and the layer against brute force (suites.md, topic 7)."""

from __future__ import annotations

import itertools
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.curation.relational_kit import decisions, shards
from training.curation import narrow, url
from training.curation.addresses import canonical, is_address
from training.curation.documents import CurationError, Document
from training.curation.engine import Engine
from training.curation.layer import Decision
from training.curation.url import Url

GOLDEN = "//example.com/a/b?p=1&q=2"


@pytest.mark.parametrize(
    "same",
    [
        "http://example.com/a/b?p=1&q=2",
        "HTTPS://WWW.Example.COM/a/b?p=1&q=2",
        "//example.com/a/b?p=1&q=2",
        "www.example.com/a/b?p=1&q=2",
        " https://example.com/a/b?p=1&q=2\n",
        "http://example.com:80/a/b/?q=2&p=1",
        "https://example.com.:443/a/b?p=1&q=2#part",
        "https://someone:secret@example.com/a/./x/../b?p=1&q=2",
        "https://example.com/%61/b?p=1&q=2&utm_source=mail&UTM_Medium=x&fbclid=Iw&gclid=1",
        "https://example.com/a/b;jsessionid=0A1B?&p=1&&q=2&PHPSESSID=7",
        "https://example.com/a/b?p=1&sid=0123456789abcdef0123&q=2",
        "https://example.com/a/b?utm%5Fcampaign=x&%70=%31&q=2",
    ],
)
def test_addresses_of_one_page(same: str) -> None:
    assert canonical(same) == GOLDEN


@pytest.mark.parametrize(
    "other",
    [
        "https://m.example.com/a/b?p=1&q=2",
        "https://example.com:8080/a/b?p=1&q=2",
        "https://example.com/A/b?p=1&q=2",
        "https://example.com/a%2Fb?p=1&q=2",
        "https://example.com/a//b?p=1&q=2",
        "https://example.com/a/b?p=2&q=1",
        "https://example.com/a/b?p=1&q=2&sid=17",
        "https://example.com/a/b?p=1&q=2&ref=x",
        "https://example.com/a/b?p=1&q=2%26utm_source=x",
    ],
)
def test_addresses_of_other_pages(other: str) -> None:
    assert canonical(other) not in ("", GOLDEN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://ไทย.example/ข่าว?ค=ก ข", "https://XN--O3CW4H.example/%E0%B8%82%E0%B9%88%E0%B8%B2%E0%B8%A7?%e0%b8%84=%E0%B8%81+%E0%B8%82"),
        ("http://Bücher.example/", "https://xn--bcher-kva.example"),
        ("http://b%C3%BCcher.example", "https://bücher.example"),
        ("http://example.com/a%7eb%3d", "http://example.com/a~b%3D"),
        ("http://example.com/50%", "http://example.com/50%25"),
        ("http://[2001:DB8::1]:80/x", "https://[2001:db8::1]/x"),
        ("http://example.com/?", "http://www.example.com"),
    ],
)
def test_scripts_and_encodings(one: str, other: str) -> None:
    assert canonical(one) == canonical(other) != ""


@pytest.mark.parametrize(
    "none",
    ["", "n/a", "example", "mailto:a@example.com", "ftp://example.com/", "http://", "http:///a", "http://a b/", "http://[::1/", "http://x:port/",
     "http://a..b/", "http://x:99999/", "javascript:void(0)", f"http://{'ü' * 80}.com/", "http://-/"],
)  # fmt: skip
def test_what_is_no_url(none: str) -> None:
    assert canonical(none) == ""


def test_repeated_parameters_keep_their_order() -> None:
    assert canonical("http://a.b/?t=2&s=0&t=1") == "//a.b?s=0&t=2&t=1"
    assert canonical("http://www.com/") == "//www.com"


text = st.text(alphabet="aA/.;%?&=+#2fé :@_-~ü\x7f", max_size=14)


@settings(max_examples=300)
@given(host=st.sampled_from(["a.b", "WWW.a.b", "bücher.de", "a.b:80", "a.b:8080", "1.2.3.4"]), tail=text)
def test_the_canonical_form_is_its_own(host: str, tail: str) -> None:
    once = canonical(f"http://{host}/{tail}")
    assert once.isascii()
    assert canonical(once) == once


names = st.sampled_from(["p", "q", "id", "a b", "ü"])


@given(
    start=st.sampled_from(["http://", "https://", "HTTP://", "//", "ftp://", "www.", "", " http://", "http:/"]),
    host=st.text(alphabet="aZ0-_.:@%[]ü\u212a\ud800 ", max_size=8),
    tail=st.text(alphabet="/?#a:[%\n\ud800ü", max_size=4),
)
@settings(max_examples=500, deadline=None)
def test_an_address_is_what_has_a_canonical_form(start: str, host: str, tail: str) -> None:
    assert is_address(start + host + tail) == (canonical(start + host + tail) != "")


@given(items=st.dictionaries(names, st.text(alphabet="x1ü&=", max_size=3), max_size=5), data=st.data())
def test_the_order_of_parameters_does_not_matter(items: dict[str, str], data: st.DataObject) -> None:
    pairs = [f"{quote(name)}={quote(value)}" for name, value in items.items()]
    shuffled = data.draw(st.permutations([*pairs, "utm_id=1"]))
    assert canonical(f"http://a.b/?{'&'.join(pairs)}") == canonical(f"http://a.b/?{'&'.join(shuffled)}")


# ------------------------------------------------------------------------------------------------------------- the layer

addresses = st.sampled_from(["", "n/a", "http://a.b/1", "https://www.a.b/1/", "http://a.b/2", "http://a.b/2#x", "http://c.d"])
documents = st.lists(
    st.lists(st.tuples(addresses, st.text(alphabet="aไé", min_size=1, max_size=4)), min_size=1, max_size=7), min_size=1, max_size=4
)


@settings(max_examples=40)
@given(found=documents, unit=st.sampled_from(["characters", "bytes"]), at_once=st.sampled_from([narrow.AT_ONCE, 5]))
def test_equal_to_brute_force(found: list[list[tuple[str, str]]], unit: url.Unit, at_once: int) -> None:
    rows = [
        [Document(id=f"{shard}-{row}", text=words, url=address) for row, (address, words) in enumerate(part)]
        for shard, part in enumerate(found)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrow, "AT_ONCE", at_once)
        made = decisions(Url(unit=unit), rows)
    best: dict[str, Document] = {}
    for document in itertools.chain.from_iterable(rows):
        size = len(document.text) if unit == "characters" else len(document.text.encode())
        holder = best.get(canonical(document.url))
        if holder is None or size > (len(holder.text) if unit == "characters" else len(holder.text.encode())):
            best[canonical(document.url)] = document
    for document, decision in zip(itertools.chain.from_iterable(rows), itertools.chain.from_iterable(made), strict=True):
        address = canonical(document.url)
        if not address:
            assert decision.document is document
            assert decision.counts == {url.NOT_A_URL if document.url else url.NO_URL: 1}
        elif best[address] is document:
            assert decision == Decision(document=document)
        else:
            assert (decision.reason, decision.detail) == ("same URL", f"kept is {best[address].id}")


def test_characters_and_bytes_choose_differently() -> None:
    rows = [[Document(id="long", text="abcdef", url="http://a.b"), Document(id="heavy", text="ไทย", url="http://a.b")]]
    assert [decision.reason for decision in decisions(Url(), rows)[0]] == ["", "same URL"]
    assert [decision.reason for decision in decisions(Url(unit="bytes"), rows)[0]] == ["same URL", ""]


def test_ties_go_to_the_first_by_shard_and_row() -> None:
    rows = [[Document(id=f"{shard}{row}", text="x", url="http://a.b") for row in range(3)] for shard in range(2)]
    kept = [decision.document.id for part in decisions(Url(), rows) for decision in part if decision.document]
    assert kept == ["00"]


def test_no_document_with_a_url() -> None:
    made = decisions(Url(), [[Document(id="a", text="x")], [Document(id="b", text="x", url="?")]])
    assert [decision.counts for part in made for decision in part] == [{url.NO_URL: 1}, {url.NOT_A_URL: 1}]


def test_a_unit_that_is_none_is_refused() -> None:
    with pytest.raises(CurationError, match=r"url\.unit is 'words'.*characters or bytes"):
        Url(unit="words")  # type: ignore[arg-type]


def test_the_plan_is_all_that_is_left(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    Url().prepare(shards(tmp_path, [[Document(id="a", text="x", url="http://a.b")]]), work, Engine(workers=2))
    assert [entry.name for entry in work.iterdir()] == ["dropped-000.parquet"]
