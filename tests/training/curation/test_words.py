"""Words of scripts without spaces: nothing lost, no cluster cut, right on words everybody knows, and no larger than a dictionary's words."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from training.curation.words import bare, pieces, spaced, words
from training.pretraining.sources import rows_of

LETTERS = "กขจนรวยอเแโไะาำัิีื็่้์ๆ๑ກຂຄຫນຣວອຍເແໄະາຳັົຽ່້໌໑កខនរស្ាំ់៍៖ៗ១ကခငနသ်္ျြွှောိုံ့း၊၏၁水龙a B1'.,-\n\u200b\u200d\u0301"
TEXTS = st.one_of(st.text(alphabet=LETTERS, max_size=60), st.text(max_size=30))
LANGUAGES = st.sampled_from(["", "eng", "tha", "lao", "khm", "mya", "cmn"])


@given(TEXTS, LANGUAGES)
@example("\u0e01\u0301\u0e33 \u0301a", "")
@example("\r\n\u0e40\u0e40\u0e40", "tha")
def test_the_pieces_joined_are_the_text(text: str, language: str) -> None:
    assert "".join(pieces(text, language)) == text
    for word in words(text, language):
        assert word
        assert not re.search(r"[\s\u200b]", word)


@given(TEXTS, LANGUAGES)
@example(".\u0301abc", "")
@example("İİ ΑΣ", "")
def test_spaced_text_has_the_same_words(text: str, language: str) -> None:
    assert words(spaced(text, language), language) == words(text, language)
    assert spaced(spaced(text, language), language) == spaced(text, language)


@given(TEXTS, LANGUAGES)
def test_no_cut_falls_within_a_grapheme_cluster(text: str, language: str) -> None:
    starts = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    place = 0
    for piece in pieces(text, language):
        place += len(piece)
        assert place in starts


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("tha", "เป็นคนไทย", "เป็น|ค|น|ไท|ย"),
        ("tha", "เมื่อวันจันทร์เสียใจมาก", "เมื่อ|วัน|จัน|ทร์|เสีย|ใจ|มา|ก"),
        ("tha", "ก็ต่าง ๆ ฤๅ", "ก็|ต่า|ง|ๆ|ฤๅ"),
        ("lao", "ແມ່ນແລ້ວ, 2024!", "ແມ່ນ|ແລ້ວ|2024"),
        ("lao", "ຄວາມເປັນເອກະລາດຂອງປະເທດລາວ", "ຄວາມ|ເປັນ|ເອ|ກະ|ລາດ|ຂອງ|ປະ|ເທດ|ລາວ"),
        ("lao", "ບອກວ່າໃຫຍ່ຫຼາຍ", "ບອກ|ວ່າ|ໃຫຍ່|ຫຼາຍ"),
        ("khm", "ខ្ញុំចាប់ប្រយោជន៍ផ្សេងៗ", "ខ្ញុំ|ចាប់|ប្រ|យោ|ជន៍|ផ្សេ|ង|ៗ"),
        ("mya", "မြန်မာစာ၊ အင်္ဂလိပ်။", "မြန်|မာ|စာ|အင်္ဂ|လိပ်"),
        ("mya", "ဥက္ကဋ္ဌ၏ ၂၀၂၄ခုနှစ်", "ဥက္ကဋ္ဌ|၏|၂၀၂၄|ခု|နှစ်"),
        ("cmn", "打开水龙头。GPT-4模型", "打|开|水|龙|头|gpt-4|模|型"),
        ("eng", "Well, it's a (well-known) “thing”…", "well|it's|a|well-known|thing"),
        ("eng", "see ไทยแลนด์ now", "see|ไทยแลนด์|now"),
        ("", "see ไทย now", "see|ไท|ย|now"),
        ("", "", ""),
        ("", "\u0301 ... \u200b", ""),
    ],
)
def test_words_that_everybody_knows(language: str, text: str, wanted: str) -> None:
    assert "|".join(words(text, language)) == wanted


def test_a_long_word_is_stripped_like_a_short_one() -> None:
    assert bare("(" + "Ab" * 100 + ").") == "ab" * 100
    assert bare("_x_") == "x"


def test_repeated_marks_and_letters_take_time_in_proportion() -> None:
    """Ornaments and stretched words of the web: 20,000 of a kind in a row are no worse than 20,000 letters of text."""
    for text in ("เ", "ก่", "ກ", "ອ", "ກອ", "ក្", "က်", "!"):
        begun = time.process_time()
        assert "".join(pieces("ยื" + text * 20_000 + "a")) == "ยื" + text * 20_000 + "a"
        words("a" + text * 20_000 + "a")
        assert time.process_time() - begun < 2.0, text
    begun = time.process_time()
    words("ยื" + "ื" * 20_000)
    assert time.process_time() - begun < 2.0


# ------------------------------------------------------------------------------------------------------------ against others

_ICU = """
const lines = require('fs').readFileSync(0, 'utf8').split('\\n').filter(x => x).map(x => JSON.parse(x));
const cut = new Intl.Segmenter(process.argv[1], {granularity: 'word'});
for (const text of lines) console.log(JSON.stringify([...cut.segment(text)].map(x => x.segment)));
"""


def boundaries(parts: list[str]) -> set[int]:
    """Where the inner cuts fall."""
    found, place = set(), 0
    for part in parts[:-1]:
        place += len(part)
        found.add(place)
    return found


def recall_of_icu(sentences: list[str], code: str, language: str) -> tuple[float, float]:
    """(share of ICU's cuts that are cuts of ours, share of ours that are ICU's) at places between two letters."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: its Intl.Segmenter (ICU's dictionaries) is what units are compared with")
    sent = "\n".join(json.dumps(sentence) for sentence in sentences)
    done = subprocess.run([node, "-e", _ICU, code], input=sent, capture_output=True, text=True, check=True, timeout=120)
    both = theirs_all = ours_all = 0
    for sentence, line in zip(sentences, done.stdout.splitlines(), strict=True):
        letters = {i for i in range(1, len(sentence)) if regex.match(r"[\p{L}\p{M}]{2}", sentence[i - 1 : i + 1])}
        theirs, ours = boundaries(json.loads(line)) & letters, boundaries(pieces(sentence, language)) & letters
        both, theirs_all, ours_all = both + len(theirs & ours), theirs_all + len(theirs), ours_all + len(ours)
    return both / theirs_all, both / ours_all


SOURCES = {
    "tha": ("th", "universal_dependencies/pud/tha/test.jsonl", 0.98),
    "lao": ("lo", "un/udhr/lao/train.jsonl", 0.95),
    "khm": ("km", "ye-kyaw-thu/khPOS/khm/train.jsonl", 0.98),
    "mya": ("my", "ye-kyaw-thu/myPOS/mya/train.jsonl", 0.92),
    "cmn": ("zh", "un/udhr/cmn/train.jsonl", 1.0),
}


@pytest.mark.parametrize("language", SOURCES)
def test_the_cuts_of_a_dictionary_are_cuts_of_ours(language: str, hub: Path) -> None:
    """ICU finds words by dictionary; a unit of ours is hardly ever larger than one of them. In Burmese it cuts some syllables (နှ|င့်); we do not."""
    code, file, least = SOURCES[language]
    sentences = [str(row["text"]).replace("/n", "").replace("\n", " ") for row in rows_of(hub / file)][:300]
    recall, precision = recall_of_icu(sentences, code, language)
    print(f"{language}: {recall:.4f} of ICU's cuts are ours, {precision:.3f} of ours are ICU's")
    assert recall >= least


def test_the_cuts_of_annotators_are_cuts_of_ours(hub: Path) -> None:
    """myPOS lost its segmentation but for the tag /n, left where a noun ends: those ends are cuts of ours."""
    right = found = 0
    for row in rows_of(hub / SOURCES["mya"][1]):
        parts = re.split(r"/n(?![a-z])", str(row["text"]))
        gold = boundaries(parts)
        joined = "".join(parts)
        right += len(gold & boundaries(pieces(joined, "mya")))
        found += len(gold - {len(joined)})
    print(f"{right} of {found} ends of nouns")
    assert found > 100
    assert right / found >= 0.98
