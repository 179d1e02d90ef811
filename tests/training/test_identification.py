"""Language identification: invariants on any text, known sentences, and the accuracy on real corpora that the README states."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import identification
from training.identification import consistent, identify, identify_many, main, sentences
from training.languages import _RUN, LANGUAGES, WordTable, _script_of_letter, same_set
from training.recipe import WorldText
from training.telling_words import ENDINGS, INDONESIAN, MALAY
from training.world import text as world

OWN_SCRIPT = [language.iso for language in LANGUAGES if language.script != "Latin"]
# Drafted for this test.
FOREIGN = [
    "Toutes les personnes naissent libres et égales en dignité et en droits.",
    "Heute gehen wir mit den Kindern in den Park.",
    "Mañana iremos al mercado a comprar pescado fresco.",
    "Yarın sabah erkenden pazara gideceğiz.",
    "Jutro rano pójdziemy na targ kupić świeże ryby.",
    "Завтра утром мы пойдём на рынок за рыбой.",
]


def told(iso: str, documents: int = 12) -> list[str]:
    return [document.text for document in world.documents(WorldText(language=iso, documents=documents, split="held_out", seed=3))]


@pytest.mark.parametrize("iso", OWN_SCRIPT)
def test_a_script_of_one_language_decides(iso: str) -> None:
    assert {found.language for found in identify_many(told(iso))} == {iso}
    assert {found.by for found in identify_many(told(iso))} == {"script"}


@pytest.mark.parametrize("iso", [language.iso for language in LANGUAGES])
def test_held_out_stories_are_in_their_language_or_its_set(iso: str) -> None:
    for text in told(iso):
        found = identify(text)
        assert iso in found.among or any(same_set(iso, other) for other in found.among), text


@pytest.mark.parametrize("iso", ["eng", "vie", "ind", "jav", "ceb", "tha"])
@given(data=st.data())
def test_line_ends_case_and_noise_do_not_count(iso: str, data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(told(iso, 4)))
    noise = data.draw(st.sampled_from([" https://example.org/a?b=c ", " 12345 ", " ```print(1)``` ", " 🎉 ", "\n\n", "\t"]))
    changed = data.draw(st.sampled_from([text.upper(), text.lower(), text.replace(" ", "\n"), text.replace(". ", f".{noise}")]))
    assert identify(changed).language == identify(text).language


@given(st.text(max_size=60))
def test_any_text_has_an_answer_that_holds_together(text: str) -> None:
    found = identify(text)
    assert (found.language is None) == (found.by == "abstained")
    assert found.language is None or found.among == {found.language}
    for language in ("ind", "tha", "eng"):
        strict, as_set = consistent(text, language), consistent(text, language, as_set=True)
        assert not (strict and not as_set)  # the set holds wherever the language does


def plainly(text: str) -> tuple[str | None, frozenset[str], str]:
    """Language, among and why, computed letter by letter and n-gram by n-gram: nothing remembered of a word, no text excepted from a rule."""
    trained = identification._trained()
    cleaned = unicodedata.normalize("NFC", " ".join(identification._NOISE.sub(" ", text).split()))
    scripts = [script for letter in cleaned if (script := _script_of_letter(letter))]
    ranked = sorted(set(scripts), key=lambda script: (-scripts.count(script), script))
    if len(scripts) < (identification.LEAST_LETTERS if ranked[:1] == ["Latin"] else 2):
        return None, frozenset(), "short"
    if scripts.count(ranked[0]) <= len(scripts) / 2 or ranked[0] == "other":
        return None, frozenset(), "foreign"
    if ranked[0] != "Latin":
        return (iso := next(one.iso for one in LANGUAGES if one.script == ranked[0])), frozenset({iso}), ""
    letters = trained.letters
    runs = (f" {word} " for word in _RUN.findall(cleaned.lower()))
    found = [word[at : at + n] for word in runs for n in (2, 3, 4, 5, 6) for at in range(len(word) - n + 1)]
    grams = [letters._index[gram] for gram in found if gram in letters._index]
    scores = dict(zip(letters.isos, letters._log[grams].sum(axis=0).tolist(), strict=True))
    best, second = sorted(scores, key=lambda iso: (-scores[iso], iso))[:2]
    words = identification._WORD.findall(cleaned.lower())
    threes = identification._threes(words)
    least = identification.LEAST_KNOWN.get(best, identification.LEAST_KNOWN[""])
    if sum(gram in trained.known[best] for gram in threes) < least * len(threes):
        return None, frozenset(), "foreign"
    if best == "eng" and len(words) >= 6 and sum(word in identification.ENGLISH for word in words) * 12 < len(words):
        return None, frozenset(), "foreign"
    if best in identification.PAIR:
        pair = identification._indonesian_or_malay(words)
        return pair.language, pair.among, pair.why
    if (scores[best] - scores[second]) / len(scripts) < identification.LEAST_MARGIN:
        return None, frozenset({best, second}), "tie"
    return best, frozenset({best}), ""


def decisions(texts: list[str]) -> list[tuple[str | None, frozenset[str], str]]:
    return [(found.language, found.among, found.why) for found in identify_many(texts)]


@given(st.text(st.sampled_from("the and of á ก ខ汉 \n@#:`w.12Ж-'ilo"), max_size=80))
def test_what_is_remembered_or_skipped_for_speed_changes_no_decision(text: str) -> None:
    assert decisions([text]) == [plainly(text)]


def test_nor_on_real_sentences_with_and_without_noise(hub: Path) -> None:
    texts = [text for corpus in ("udhr", "pud", "csui") for one in LANGUAGES for text in sentences(hub, corpus, one.iso)[:60]]
    texts += [f"{text} www.a.b @c `d` e@f.g 12: http://h" for text in texts[::5]]
    assert len(texts) > 500
    assert decisions(texts) == [plainly(text) for text in texts]
    assert decisions(texts[::-1]) == [plainly(text) for text in texts[::-1]], "what was asked before does not count"


def test_nor_on_generated_text_of_every_language_in_any_length() -> None:
    texts = [text[:length] for one in LANGUAGES for text in told(one.iso, 3) for length in (10, 25, 60, 150, 1000)]
    texts += [unicodedata.normalize("NFD", text) for text in told("vie", 3)] + [
        f"{one} {other}" for one in told("eng", 2) for other in told("tha", 2)
    ]
    texts += FOREIGN
    found = decisions(texts)
    assert found == [plainly(text) for text in texts]
    assert len({language for language, _, _ in found}) == 16
    assert {why for _, _, why in found} == {"", "short", "foreign", "tie"}


WORDS = ["the", "rumah", "universiti", "kerana", "karena", "ang", "mga", "dagiti", "imah", "không", "ตลาด", "市场", "рынок"]
ODD = ["12", "@a.b", "'", "-", "\n", "\ud800", "\x00", "e\u0301"]
some_texts = st.one_of(st.text(max_size=40), st.lists(st.sampled_from(WORDS + ODD), max_size=25).map(" ".join))


@given(st.lists(some_texts, max_size=12), st.integers(1, 5))
def test_a_text_is_in_the_same_language_whatever_stands_beside_it(texts: list[str], at_once: int) -> None:
    alone = [identify(text) for text in texts]
    assert identify_many(texts) == alone
    assert identify_many(reversed(texts)) == alone[::-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification, "TOGETHER", at_once)
        assert identify_many(iter(texts)) == alone


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "\x00" * 50, "\ud800", "\udfff" * 40, "1234567890 " * 9, "๑๒๓๔๕ ๖๗๘", "'-’-'" * 9, "\u0301" * 30]
)
def test_text_without_letters_is_short(text: str) -> None:
    assert identify(text) == identify_many([text, "x", text])[2]
    assert identify(text).why == "short"


def test_odd_characters_among_letters_do_not_count() -> None:
    text = told("ceb", 1)[0]
    for odd in ("\ud800", "\x00", "\x00\x00 \udc80"):
        assert identify(text.replace(" ", f" {odd} ")) == identify(text)


def test_one_huge_line_is_in_the_language_of_its_sentences() -> None:
    for iso in ("ilo", "eng", "khm"):
        text = told(iso, 1)[0]
        few, many = identify(text), identify(f"{text} " * (300_000 // len(text)))
        assert many.language == few.language == iso
        assert many.margin == pytest.approx(few.margin)
    assert identify("a" * 300_000).language is None
    assert identify("กข" * 200_000).language == "tha"


def test_a_table_of_words_that_is_full_starts_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    monkeypatch.setattr("training.languages.REMEMBERED", 4)
    asked: list[str] = []

    def of_word(word: str) -> np.ndarray:
        asked.append(word)
        return np.array([len(word), 1.0])

    table = WordTable(of_word, 2)
    assert table.total([]).tolist() == [0, 0]
    assert table.total(["a", "bb", "a"]).tolist() == [4, 3]
    assert asked == ["a", "bb"]
    assert table.total(["ccc", "dd", "e", "a", "bb", "ff", "ggg"]).tolist() == [14, 7]
    assert table.total(["a", "bb"]).tolist() == [3, 2]


def test_an_english_reply_to_a_thai_prompt_is_seen() -> None:
    assert consistent("Of course! The market is open every day until six in the evening.", "tha") is False
    assert consistent("ตลาดเปิดทุกวันจนถึงหกโมงเย็น", "tha") is True
    assert consistent("OK", "tha") is None


@pytest.mark.parametrize("text", FOREIGN)
def test_other_languages_are_not_forced_into_ours(text: str) -> None:
    found = identify(text)
    assert found.language is None
    assert consistent(text, "ind") in (False, None)


def test_indonesian_and_malay_are_told_by_their_words_and_else_left_open() -> None:
    assert identify("Kami mencoba membeli tiket kereta karena harganya murah.").language == "ind"
    assert identify("Kami mencuba membeli tiket kereta kerana harganya murah.").language == "zsm"
    either = identify("Anak itu makan nasi di rumah bersama ibu dan adik.")
    assert either.language is None
    assert either.among == {"ind", "zsm"}
    assert consistent("Anak itu makan nasi di rumah bersama ibu dan adik.", "ind", as_set=True) is True
    assert not INDONESIAN & MALAY
    for tail, iso in ENDINGS.items():
        assert not [word for word in (MALAY if iso == "ind" else INDONESIAN) if word.endswith(tail)]


# Shares of sentences, as printed by `python -m training.identification accuracy`: (corpus, language) -> (right, right as a set) at least.
STATED = {
    ("udhr", "eng"): (0.97, 0.97), ("udhr", "vie"): (0.98, 0.98), ("udhr", "tgl"): (0.94, 0.98), ("udhr", "jav"): (0.95, 0.98),
    ("udhr", "sun"): (0.93, 0.97), ("udhr", "ceb"): (0.95, 0.98), ("udhr", "ilo"): (0.98, 0.98), ("udhr", "war"): (0.93, 0.98),
    ("udhr", "ind"): (0.20, 0.98), ("udhr", "zsm"): (0.40, 0.98), ("pud", "eng"): (0.95, 0.95), ("pud", "tha"): (0.98, 0.98), ("vtb", "vie"): (0.97, 0.97),
    ("csui", "jav"): (0.80, 0.93), ("ugnayan", "tgl"): (0.83, 0.96), ("gja", "ceb"): (0.60, 0.87),
}  # fmt: skip


@pytest.mark.parametrize(("corpus", "iso"), STATED)
def test_the_stated_accuracy_holds_on_real_text(hub: Path, corpus: str, iso: str) -> None:
    texts = sentences(hub, corpus, iso)[:300]
    if not texts:
        pytest.skip(f"the mirror has no {corpus} in {iso}")
    found = identify_many(texts)
    strict, as_set = STATED[corpus, iso]
    assert sum(one.language == iso for one in found) >= strict * len(texts)
    assert sum(any(same_set(iso, other) for other in one.among) for one in found) >= as_set * len(texts)


def test_indonesian_is_never_called_malay_for_certain(hub: Path) -> None:
    """Nor the other way round: what decides are words that the other does not have."""
    for iso, other in (("ind", "zsm"), ("zsm", "ind")):
        assert not [text for text in sentences(hub, "udhr", iso) if identify(text).language == other]


def test_a_mirror_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", "--hub", str(tmp_path)]) == 2
    assert "has no un/udhr" in capsys.readouterr().err
