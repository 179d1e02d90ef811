"""What the suite takes for personal data in a corpus without a truth: numbers of people, and nothing that is a date, a price or a book. All made up."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.curation.private import stands
from training.curation.pii import mask
from training.recipe import WorldText
from training.world import text
from training.world.language import LANGUAGES

LEFT = [
    "tulis ke budi.santoso@contoh.co.id ya",
    "call +62 812-3456-7890 now",
    "+6581234567",
    "+1 (415) 555-0123",
    "WA 0812-3456-7890",
    "kantor (021) 555-1234",
    "012-345 6789",
    "02 123 4567",
    "โทร.081-234-5678ครับ",
    "โทร081-234-5678",
    "ĐT: 0912 34 56 78, gọi",
    "0912.345.678",
    "(02) 8123 4567",
    "ဖုန်း ၀၉-၁၂၃၄၅၆၇၈၉",
    "โทร ๐๘๑-๒๓๔-๕๖๗๘",
    "MyKad 900115-14-5678",
    "1-2345-67890-12-1",
    "34-1234567-8",
    "PhilSys 1234-5678-9012-3456",
]
NOT = [
    "On 01-02-2024, 2024-01-02 03:04:05, 12/05/1999, 01.02.2024 and 17 August 1945.",
    "05 06 2024 dan 07 08 2024, jam 09.30, 08:15-09:45",
    "01-02-2024 03-04-2024",
    "dari 2024-01-02-2024-03-04, musim 2019-2020-2021 dan 1998 1999 2000 2001",
    "Rp 1.250.000,00 naik 12.500.000 atau US$ 1,234,567.89; 10 000 000 000 dong; 0.123456789; 0,75",
    "ราคา 1,500,000 บาท และ 12 345 678 กีบ",
    "ISBN 978-0-306-40615-7, ISBN 0-306-40615-2, 979-12-200-0852-5",
    "EAN 8991234567890, order 20240102123456, 3174015508900003",
    "version 10.0.19041.1234, v0.12.345.678",
    "https://contoh.id/2024/01/02/0812-3456?id=0812-345-6789",
    "INV-2024-0001-123456, SKU AB-0812-345-678",
    "skor 3-2, 21-19, 21-15; Mat 5:3-12; 01 02 03 04 05 06",
    "9-10-11-12-13",
    "see @handle on example.com, 5 @ 3.50 each",
    "write to <EMAIL>, <PHONE> or <ID>",
    "-0.0123 012345 07",
    "1-800 rumah, 100-200-300 orang",
]


@pytest.mark.parametrize("said", LEFT)
def test_a_number_of_a_person_stands(said: str) -> None:
    assert stands(said)
    assert stands(f"Baris lain.\n{said}\nBaris lain.")


@pytest.mark.parametrize("said", NOT)
def test_what_is_no_ones_does_not(said: str) -> None:
    assert not stands(said)


@given(
    st.dates(datetime.date(1800, 1, 1), datetime.date(2099, 12, 31)),
    st.dates(datetime.date(1800, 1, 1), datetime.date(2099, 12, 31)),
    st.sampled_from(["%d-%m-%Y", "%d.%m.%Y", "%d/%m/%Y", "%Y-%m-%d", "%d %m %Y", "%Y %m %d"]),
    st.sampled_from([" ", " - ", ", ", "-", "\n"]),
)
def test_no_dates_do(one: object, other: object, form: str, between: str) -> None:
    assert not stands(f"tanggal {one:{form}}{between}{other:{form}} itu")


@given(
    st.integers(0, 10**13),
    st.sampled_from([",", ".", " "]),
    st.sampled_from(["Rp ", "US$", "฿", "", "-"]),
    st.sampled_from([",00", ".50", "", " đồng", "%"]),
)
def test_no_prices_do(number: int, by: str, before: str, after: str) -> None:
    assert not stands(f"harga {before}{number:,}{after} saja".replace(",", by))


@pytest.mark.parametrize("said", [said for said in LEFT if "PhilSys 1234" not in said])
def test_the_layers_mask_leaves_none(said: str) -> None:
    assert not stands(mask(said)[0])


def test_the_worlds_text_has_none() -> None:
    for iso in LANGUAGES:
        assert not any(stands(made.text) for made in text.documents(WorldText(language=iso, documents=40, seed=11)))
