"""The forms of personal data that `pii.py` masks: where in a text each kind stands. Digits are ASCII here; places are those of the text.

| kind | by its form alone | only after a word that says so |
|---|---|---|
| EMAIL | local@domain.tld | |
| IP | IPv4 with two octets of two digits or more, IPv6 with four groups or more; not after "version", "v", "build" | |
| ID | NIK of Indonesia (16 digits: province, date of birth), MyKad with hyphens (date of birth, place) | MyKad without |
| ID | Thailand's 13 digits with hyphens or spaces (checksum) | Thailand's without; Cambodia, Laos |
| ID | NRIC and FIN of Singapore (checksum), NRC of Myanmar in Burmese and Latin letters | Vietnam's CCCD and CMND |
| ID | SSS of the Philippines (2-7-1) | PhilSys, TIN and others of the Philippines |
| ID | China's 18 signs (date of birth, check digit) | |
| PHONE | + and country code; 00 and a code of the region; national with its 0, 9 to 13 digits, grouped as telephone numbers are | any of 7 to 15 digits |
| ADDRESS | house number and street together, in English, Indonesian, Malay, Vietnamese, Thai, Khmer and Burmese | |

A word such as "order" or "ISBN" before a number says that it is no person's. Of random numbers of 16 digits 3 % have the form of a NIK. National
forms are those of numbering plans and of the cards themselves; the checksums are Thailand's (mod 11) and Singapore's (weights 2765432).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

Spans = Iterator[tuple[int, int]]

KINDS = ("EMAIL", "IP", "ID", "PHONE", "ADDRESS")
LIKELY = re.compile(r"[\d@]")
_NEAR = 32  # characters before a number within which a word says what it is
_SEPARATOR = r"[ .\u00a0-]"  # of groups of digits

# Words before a number: what it is, or that it is none of a person's.
IDENTITY = re.compile(
    r"\b(?:nik|ktp|numero (?:ng|sa|ti|han) id|no\.? ?ktp|identity (?:card|number)|national id|id (?:card|number|no)|i/?c (?:no|number)|mykad|kad pengenalan|no\. ?k/?p"
    r"|philsys|philid|pcn|psn|crn|umid|tin|sss|gsis|cccd|cmnd|c\u0103n c\u01b0\u1edbc|ch\u1ee9ng minh|\u0111\u1ecbnh danh|passport|paspor)\b"
    r"|身份证|身分證|公民身份号码|ประชาชน|เลขประจำตัว|ບັດປະຈຳຕົວ|ເລກປະຈຳຕົວ|អត្តសញ្ញាណ|မှတ်ပုံတင်|နိုင်ငံသားစိစစ်ရေး",
    re.IGNORECASE,
)
TELEPHONE = re.compile(
    r"\b(?:tel|telp|telepon|telefon|telephone|phone|hp|hotline|mobile|cell|whatsapp|wa|sms|fax|faks|call|hubungi|tawag|contact|"
    r"điện thoại|sđt|đt|dđ|liên hệ|zalo)\b|โทร|มือถือ|ໂທ|ເບີ|ទូរស័ព្ទ|ទូរសព្ទ|លេខទំនាក់ទំនង|ဖုန်း",
    re.IGNORECASE,
)
IMPERSONAL = re.compile(
    r"(?:isbn|issn|doi|order|invoice|receipt|ref|sku|serial|barcode|pesanan|faktur|resi|đơn hàng|mã đơn|คำสั่งซื้อ|ใบเสร็จ|订单|#)[^\n]{0,16}\Z",
    re.IGNORECASE,
)
_VERSION = re.compile(r"(?:\bv|version|versi|phiên bản|รุ่น|release|build|ver\.?|firmware|section|chapter|§)[ :]*\Z", re.IGNORECASE)


def _said(text: str, start: int, words: re.Pattern[str]) -> bool:
    """Whether one of the words stands shortly before, on the same line."""
    return bool(words.search(text[max(0, start - _NEAR) : start].rpartition("\n")[2]))


# -------------------------------------------------------------------------------------------------------------- e-mail and IP

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9_%+-][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
)
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\d|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){3,7}(?![\w:])")


def _emails(text: str) -> Spans:
    return (match.span() for match in _EMAIL.finditer(text)) if "@" in text else iter(())


def _ips(text: str) -> Spans:
    for match in _IPV4.finditer(text):
        octets = match.group().split(".")
        wide = sum(len(octet) > 1 for octet in octets)
        plain = all(int(octet) < 256 and (octet == "0" or octet[0] != "0") for octet in octets)
        if wide >= 2 and plain and not _VERSION.search(text[max(0, match.start() - 16) : match.start()]):
            yield match.span()
    for match in _IPV6.finditer(text):
        groups = [group for group in match.group().split(":") if group]
        if len(groups) >= 4 and any(len(group) >= 3 for group in groups) and _is_ipv6(match.group()):
            yield match.span()


def _is_ipv6(text: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(text))
    except ValueError:
        return False


# ----------------------------------------------------------------------------------------------------------- identity numbers


def thai_checksum(digits: str) -> bool:
    """Whether the last of 13 digits is the one that the first 12 call for."""
    return (11 - sum(int(digit) * (13 - i) for i, digit in enumerate(digits[:12])) % 11) % 10 == int(digits[12])


def nric_checksum(number: str) -> bool:
    """Whether the letter at the end of a Singapore NRIC or FIN is the one that its seven digits call for."""
    prefix, digits, letter = number[0].upper(), number[1:8], number[8].upper()
    total = sum(int(digit) * weight for digit, weight in zip(digits, (2, 7, 6, 5, 4, 3, 2), strict=True))
    total += {"T": 4, "G": 4, "M": 3}.get(prefix, 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "F": "XWUTRQPNMLK", "G": "XWUTRQPNMLK", "M": "XWUTRQPNJLK"}[prefix]
    return letters[total % 11] == letter


def chinese_checksum(number: str) -> bool:
    """Whether the last of China's 18 signs (GB 11643) is the one that the others call for, and a date of birth stands in them."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17].upper() and _date(number[12:14], number[10:12]) and number[6:8] in ("19", "20")


def _date(day: str, month: str) -> bool:
    return 1 <= int(day) <= 31 and 1 <= int(month) <= 12


def _nik(digits: str) -> bool:
    """Province, then the date of birth (a woman's day has 40 added), then a number that is not 0000."""
    day = int(digits[6:8])
    return digits[:2] in _PROVINCES and _date(str(day - 40 if day > 40 else day), digits[8:10]) and digits[12:] != "0000"


_PROVINCES = frozenset(
    [
        "11",
        "12",
        "13",
        "14",
        "15",
        "16",
        "17",
        "18",
        "19",
        "21",
        "31",
        "32",
        "33",
        "34",
        "35",
        "36",
        "51",
        "52",
        "53",
        "61",
        "62",
        "63",
        "64",
        "65",
        "71",
        "72",
        "73",
        "74",
        "75",
        "76",
        "81",
        "82",
        "91",
        "92",
        "93",
        "94",
        "95",
        "96",
        "97",
    ]
)


def _mykad(digits: str) -> bool:
    """Date of birth as year, month, day; then a place of birth that is given out."""
    return _date(digits[4:6], digits[2:4]) and digits[6:8] not in (
        "00",
        "17",
        "18",
        "19",
        "20",
        "69",
        "70",
        "73",
        "80",
        "81",
        "94",
        "95",
        "96",
        "97",
    )


_SOLE = r"(?<![\w.,/=-])"  # no part of a longer number or word: no decimal, no piece of a code, no parameter of a URL
_SOLE_END = r"(?![\w/-]|[.,]\d)"
_NRC_LATIN = r"(?:[A-Za-z]{1,4}){2,4}\((?:N|C|P|E|T|TH|AC|NC|V|M|Naing|Pyu|Ei|Thar)\)"
_NRC_BURMESE = r"[က-ဿ်ျ-ှ]{1,24}[ ]?\((?:နိုင်|ဧည့်|ပြု|သာသနာ|သာ|သီ|စ|န)\)"
_ALWAYS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (re.compile(rf"{_SOLE}\d{{16}}{_SOLE_END}", re.ASCII), _nik),
    (re.compile(rf"{_SOLE}\d{{17}}[\dXx]{_SOLE_END}", re.ASCII), lambda digits: True),  # its check digit is looked at below
    (re.compile(rf"{_SOLE}\d{{6}}-\d\d-\d{{4}}{_SOLE_END}", re.ASCII), _mykad),
    (re.compile(rf"{_SOLE}[1-8]([ -])\d{{4}}\1\d{{5}}\1\d\d\1\d{_SOLE_END}", re.ASCII), thai_checksum),
    (re.compile(r"(?<![A-Za-z0-9])[STFGM]\d{7}[A-Z](?![A-Za-z0-9])"), lambda number: True),  # its letters are checked below
    (re.compile(rf"{_SOLE}(?!0)\d\d-\d{{7}}-\d{_SOLE_END}", re.ASCII), lambda digits: True),  # with a 0, a telephone's extension
    (re.compile(rf"(?<!\d)(?:1[0-4]|[1-9])[ ]?/[ ]?(?:{_NRC_LATIN}|{_NRC_BURMESE})[ ]?\d{{6}}(?!\d)"), lambda digits: True),
)
# After a word: 8 to 16 digits, grouped or not; a check digit in brackets may follow (Cambodia).
_AFTER_WORD = re.compile(rf"{_SOLE}\d(?:[ -]?\d){{7,15}}(?:[ ]?\(\d+\))?{_SOLE_END}", re.ASCII)


def _identities(text: str) -> Spans:
    taken: list[tuple[int, int]] = []
    for pattern, holds in _ALWAYS:
        for match in pattern.finditer(text):
            number = match.group()
            if number[0].isalpha():
                right = nric_checksum(number)
            else:
                right = chinese_checksum(number) if len(number) == 18 and number[:17].isdigit() else holds(re.sub(r"\D", "", number))
            if right and not IMPERSONAL.search(text[max(0, match.start() - _NEAR) : match.start()]):
                taken.append(match.span())
    for match in _AFTER_WORD.finditer(text):
        if _said(text, match.start(), IDENTITY) and not any(start < match.end() and match.start() < end for start, end in taken):
            taken.append(match.span())
    return iter(taken)


# ------------------------------------------------------------------------------------------------------------------ telephone

_S = f"{_SEPARATOR}?"
_STARTS = r"(?<![A-Za-z0-9#_])(?<!\d[-./,:])(?<![A-Za-z][-/_])"
_ENDS = r"(?![A-Za-z0-9_]|[-./,:]\d|%)"
_INTERNATIONAL = re.compile(rf"(?<![\w+])(?:\+[1-9]|00(?=6[0-6]|84|85[56]|95|67[03])\d)(?:{_S}\(?\d{{1,12}}\)?){{1,7}}{_ENDS}", re.ASCII)
_NATIONAL = re.compile(
    rf"{_STARTS}(?:\(0[1-9]\d{{0,2}}\){_S}\d{{3,8}}(?:{_SEPARATOR}\d{{3,5}})*"  # (021) 555 1234
    rf"|0[1-9]{_SEPARATOR}\d{{3,9}}(?:{_SEPARATOR}\d{{3,6}})*"  # 02 123 4567, 09-123456789
    rf"|0[1-9]\d{{1,2}}(?:{_SEPARATOR}\d{{2,8}}){{1,4}}"  # 081-234-5678, 0812 3456 7890, 0912 34 56 78
    rf"|0[1-9]\d{{7,11}}){_ENDS}",
    re.ASCII,
)
_SAID = re.compile(rf"{_STARTS}\(?\d{{1,5}}\)?(?:{_SEPARATOR}?\d{{2,8}}){{1,5}}{_ENDS}", re.ASCII)


def _phones(text: str) -> Spans:
    taken: list[tuple[int, int]] = []
    for pattern, least, most, said in ((_INTERNATIONAL, 9, 15, False), (_NATIONAL, 9, 13, False), (_SAID, 7, 15, True)):
        for match in pattern.finditer(text):
            digits = sum(character.isdigit() for character in match.group())
            if not least <= digits <= most or any(start < match.end() and match.start() < end for start, end in taken):
                continue
            before = text[max(0, match.start() - _NEAR) : match.start()]
            if IMPERSONAL.search(before) or (said and (not _said(text, match.start(), TELEPHONE) or _dated(match.group()))):
                continue
            taken.append(match.span())
    return iter(taken)


def _dated(number: str) -> bool:
    """Whether the digits are a date, or years one after the other."""
    return bool(
        re.fullmatch(r"\d{1,2}[ .-]\d{1,2}[ .-]\d{4}|\d{4}[ .-]\d{1,2}[ .-]\d{1,2}|(?:1[89]|20)\d\d(?:[ .-](?:1[89]|20)\d\d)+", number)
    )


# ------------------------------------------------------------------------------------------------------------ street addresses

_CAPITAL = r"[A-ZÀ-ỸĐ][\w'.-]{0,20}"
_NAME = rf"{_CAPITAL}(?: {_CAPITAL}){{0,3}}"
_NUMBER = r"\d{1,4}[A-Za-z]?(?:/\d{1,4}[A-Za-z]?){0,3}"
_STREETS = (
    rf"\b{_NUMBER} (?:{_CAPITAL} ){{1,3}}(?:Street|St\.?|Road|Rd\.?|Avenue|Ave\.?|Lane|Drive|Boulevard|Blvd\.?|Crescent)(?![\w])",
    rf"\b(?:Jl\.?|Jln\.?|Jalan|Lorong|Gang|Gg\.) ?{_NAME},? (?:Blok \w{{1,4}},? )?(?:No\.?|Nomor|Nombor) ?{_NUMBER}(?:,? RT\.? ?\d+ ?/? ?RW\.? ?\d+)?",
    rf"\bNo\.? ?{_NUMBER},? (?:Jalan|Jln\.?|Lorong|Lrg\.?|Persiaran|Lebuh) {_NAME}",
    rf"(?<!\w)(?:[Ss]ố )?{_NUMBER},? (?:đường|phố|Đường|Phố) {_NAME}",
    r"(?:บ้าน)?เลขที่ ?\d{1,4}(?:/\d{1,4})? ?(?:(?:หมู่ที่|หมู่|ม\.|ซอย|ซ\.|ถนน|ถ\.|แขวง|ตำบล|ต\.|เขต|อำเภอ|อ\.) ?[^\s,]{1,30},? ?){1,6}",
    r"ផ្ទះ(?:លេខ)? ?\d{1,4}\w{0,3},? ?(?:ផ្លូវ|មហាវិថី)(?:លេខ)? ?[^\s,។]{1,30}",
    r"အမှတ် ?(?:\(\d{1,4}[^\s\d]{0,2}\)[၊,]? ?|\d{1,4}(?:[၊,] ?| ))[က-႟]{1,40}လမ်း",
)
_ADDRESS = re.compile("|".join(_STREETS))


def _addresses(text: str) -> Spans:
    for match in _ADDRESS.finditer(text):
        start, end = match.span()
        yield start, start + len(text[start:end].rstrip(" ,"))


FIND: dict[str, Callable[[str], Spans]] = {"EMAIL": _emails, "IP": _ips, "ID": _identities, "PHONE": _phones, "ADDRESS": _addresses}
