"""Made-up personal data for the dirty crawl: e-mail addresses, telephone and identity numbers in the form of each language's country.

Nobody's: addresses end in example.org, telephone numbers hold 555, identity numbers are drawn at random (their check digits are right where the
form has one, since a masker may ask for it). English takes Singapore's forms; Javanese and Sundanese Indonesia's; Cebuano, Ilocano and Waray the
Philippines'.
"""

from __future__ import annotations

import random

from training.world import facts

# Telephone forms: 0 is a digit drawn, the rest stands.
_TELEPHONES = {
    "eng": "+65 8555 0000",
    "cmn": "+86 138 5550 0000",
    "vie": "+84 91 555 00 00",
    "ind": "+62 812-5550-0000",
    "tha": "+66 81 555 0000",
    "mya": "+95 9 555 000 000",
    "zsm": "+60 12-555 0000",
    "tgl": "+63 917 555 0000",
    "khm": "+855 12 555 000",
    "lao": "+856 20 5555 0000",
}
_COUNTRY = {"jav": "ind", "sun": "ind", "ceb": "tgl", "ilo": "tgl", "war": "tgl"}


def made_up(iso: str, rng: random.Random) -> dict[str, tuple[str, ...]]:
    """One of each: kind ("email", "telephone", "identity") -> what stands in the page."""
    person = facts.choose(rng, "person")
    country = _COUNTRY.get(iso, iso)
    return {
        "email": (f"{person}.{facts.choose(rng, 'town')}{rng.randrange(10, 99)}@example.org",),
        "telephone": (_filled(_TELEPHONES[country], rng),),
        "identity": (_identity(country, rng),),
    }


def _filled(form: str, rng: random.Random) -> str:
    # the zeros of country codes and prefixes: none of the forms above has one before its 555 but +60
    head, mark, tail = form.partition("555")
    return head + mark + "".join(str(rng.randrange(10)) if sign == "0" else sign for sign in tail)


def _digits(rng: random.Random, count: int) -> str:
    return "".join(str(rng.randrange(10)) for _ in range(count))


def _birthday(rng: random.Random) -> tuple[int, int, int]:
    return 1950 + rng.randrange(50), 1 + rng.randrange(12), 1 + rng.randrange(28)


def _identity(country: str, rng: random.Random) -> str:
    year, month, day = _birthday(rng)
    match country:
        case "eng":  # NRIC: S, seven digits, a check letter
            digits = _digits(rng, 7)
            total = sum(int(digit) * weight for digit, weight in zip(digits, (2, 7, 6, 5, 4, 3, 2), strict=True))
            return f"S{digits}{'JZIHGFEDCBA'[total % 11]}"
        case "cmn":  # GB 11643: region, birthday, serial, ISO 7064 mod 11-2
            digits = f"110101{year}{month:02}{day:02}{_digits(rng, 3)}"
            total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(digits))
            return digits + "10X98765432"[total % 11]
        case "vie":  # căn cước: province, century and sex, year, serial
            return f"001{1 if year >= 2000 else rng.randrange(2)}{year % 100:02}{_digits(rng, 6)}"
        case "ind":  # NIK: region, birthday, serial
            return f"320101{day:02}{month:02}{year % 100:02}{1 + rng.randrange(9998):04}"
        case "tha":  # 13 digits, the last of them a check digit
            digits = f"{1 + rng.randrange(8)}{_digits(rng, 11)}"
            total = sum(int(digit) * (13 - place) for place, digit in enumerate(digits))
            whole = digits + str((11 - total % 11) % 10)
            return f"{whole[0]}-{whole[1:5]}-{whole[5:10]}-{whole[10:12]}-{whole[12]}"
        case "mya":  # region/township(citizen)number
            return f"12/OUKAMA(N){_digits(rng, 6)}"
        case "zsm":  # MyKad: birthday, state, serial
            return f"{year % 100:02}{month:02}{day:02}-10-{_digits(rng, 4)}"
        case "tgl":  # PhilSys: sixteen digits
            return f"{1 + rng.randrange(9)}{_digits(rng, 3)}-{_digits(rng, 4)}-{_digits(rng, 4)}-{_digits(rng, 4)}"
        case "khm":  # nine digits and one more in brackets
            return f"{_digits(rng, 9)}({rng.randrange(10)})"
        case _:  # Lao: twelve digits
            return f"{1 + rng.randrange(9)}{_digits(rng, 11)}"
