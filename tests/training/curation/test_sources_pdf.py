"""PDF files made by reportlab: pages in order, whole words, and files that are broken or shut."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reportlab.pdfgen import canvas

from training.curation.documents import Document, Quarantined
from training.curation.sources import Origin, Sources, documents_of
from training.curation.sources.pdf import whole_words


def written(pages: list[list[str]]) -> bytes:
    """A PDF of these pages of lines."""
    file = io.BytesIO()
    sheet = canvas.Canvas(file, invariant=1)
    for lines in pages:
        for number, line in enumerate(lines):
            sheet.drawString(72, 760 - 16 * number, line)
        sheet.showPage()
    sheet.save()
    return file.getvalue()


def shut(data: bytes, password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def read(path: Path, data: bytes, settings: Sources | None = None) -> tuple[list[Document], list[Quarantined], Counter[str]]:
    path.write_bytes(data)
    amiss: list[Quarantined] = []
    skipped: Counter[str] = Counter()
    return list(documents_of(path, settings or Sources(), amiss.append, skipped)), amiss, skipped


def test_pages_stand_in_order_and_cut_words_are_whole(tmp_path: Path) -> None:
    data = written([["The harbour was very qui-", "et that morning."], ["Nobody had seen the boats."]])
    settings = Sources(origins=(Origin(pattern="*.pdf", source="reports", licence="CC-BY-4.0", language="eng"),))
    (made,), amiss, _ = read(tmp_path / "a.pdf", data, settings)
    assert made.text == "The harbour was very quiet that morning.\n\nNobody had seen the boats."
    assert (made.source, made.licence, made.language, made.extra["pages"]) == ("reports", "CC-BY-4.0", "eng", 2)
    assert amiss == []


def test_files_of_one_name_have_ids_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first = read(tmp_path / "a.pdf", written([["One text of its own."]]))[0][0].id
    assert first == read(tmp_path / "a.pdf", written([["One text of its own."]]))[0][0].id
    assert first != read(tmp_path / "b" / "a.pdf", written([["Another text of its own."]]))[0][0].id


def test_a_file_that_opens_with_a_password_only_is_quarantined(tmp_path: Path) -> None:
    data = written([["A text for a few."]])
    documents, amiss, _ = read(tmp_path / "a.pdf", shut(data, "secret"))
    assert documents == []
    assert ["password" in one.reason for one in amiss] == [True]
    assert read(tmp_path / "b.pdf", shut(data, ""))[0][0].text == "A text for a few."


@pytest.mark.parametrize("data", [b"", b"no PDF", b"%PDF-1.7\n" + bytes(range(256)) * 20])
def test_a_broken_file_is_quarantined(tmp_path: Path, data: bytes) -> None:
    documents, amiss, _ = read(tmp_path / "a.pdf", data)
    assert documents == []
    assert [(one.file, one.row) for one in amiss] == [(str(tmp_path / "a.pdf"), 1)]


def test_a_torn_file_is_quarantined_or_read_as_far_as_it_goes(tmp_path: Path) -> None:
    data = written([[f"Line {line} of page {page}." for line in range(20)] for page in range(4)])
    for size in range(200, len(data), len(data) // 7):
        documents, amiss, skipped = read(tmp_path / "a.pdf", data[:size])
        assert documents or amiss or skipped


def test_a_broken_page_does_not_cost_the_others(tmp_path: Path) -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(written([["The first page."], ["The second page."], ["The third page."]])))
    broken = pypdf.generic.DecodedStreamObject()
    broken.set_data(b"not deflated at all")
    broken[pypdf.generic.NameObject("/Filter")] = pypdf.generic.NameObject("/NoSuchFilter")
    writer.pages[1][pypdf.generic.NameObject("/Contents")] = writer._add_object(broken)
    file = io.BytesIO()
    writer.write(file)
    (made,), amiss, _ = read(tmp_path / "a.pdf", file.getvalue())
    assert made.text == "The first page.\n\nThe third page."
    assert [one.row for one in amiss] == [2]


def test_pages_without_text_are_counted_and_large_files_quarantined(tmp_path: Path) -> None:
    assert read(tmp_path / "a.pdf", written([[], []]))[2] == {"a PDF without text": 1}
    _, amiss, _ = read(tmp_path / "a.pdf", written([["Some text"]]), Sources(largest_pdf=100))
    assert "over the limit of 100" in amiss[0].reason


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("pela-\nbuhan", "pelabuhan"),
        ("pela-  \n   buhan itu", "pelabuhan itu"),
        ("anak-\nanak", "anak-anak"),
        ("kebiru-\nbiruan", "kebiru-biruan"),
        ("bermain-\nmain", "bermain-main"),
        ("Anak-\nanak", "Anak-anak"),
        ("Jakarta-\nBandung", "Jakarta-\nBandung"),
        ("1990-\n1995", "1990-\n1995"),
        ("so\u00adft, ha\u00ad\nrd", "soft, hard"),
        ("the end -\nand more", "the end -\nand more"),
    ],
)
def test_words_are_joined_but_for_the_hyphens_of_their_own(text: str, whole: str) -> None:
    assert whole_words(text) == whole


@given(st.text(max_size=80))
def test_text_without_hyphens_is_left_alone(text: str) -> None:
    plain = text.replace("-", "").replace("\u2010", "").replace("\u00ad", "")
    assert whole_words(plain) == plain
