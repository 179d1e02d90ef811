"""The drafted culture items: complete, in their own script and language, not to be guessed by length, and decided by their own answers."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.culture import answers, items
from harness.suites import SuiteError
from training.identification import identify
from training.languages import LANGUAGES, by_code, same_set, script_share

ALL = tuple(items.COUNTRY)
ENTRIES = [(language, entry) for language in ALL for entry in items.document(language).item]


def test_every_language_of_the_project_has_its_items() -> None:
    assert set(ALL) == {language.iso for language in LANGUAGES} - {"eng", "cmn"}
    assert {path.stem for path in items.HERE.glob("*.toml")} == set(ALL)
    assert len({entry.id for _, entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("language", ALL)
def test_a_language_has_enough_of_every_topic(language: str) -> None:
    found = items.document(language)
    topics = Counter(entry.topic for entry in found.item)
    assert set(topics) == set(items.TOPICS)
    assert min(topics.values()) >= 3
    assert len(found.item) >= 20  # a verdict needs twenty clusters
    assert all(entry.id.startswith(f"{language}-{entry.topic}-") for entry in found.item)
    assert "no native speaker has reviewed" in (items.HERE / f"{language}.toml").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("language", ALL)
def test_questions_are_in_their_script_and_language(language: str) -> None:
    script = by_code(language).script
    for entry in items.document(language).item:
        assert script_share(entry.question, script) > 0.75, entry.id
        assert script_share(entry.question_en, "Latin") == 1.0, entry.id
        found = identify(entry.question).language
        assert found is None or same_set(language, found), (entry.id, found)
        if script != "Latin":
            for text in (entry.answer, *entry.distractors):
                assert script_share(text, script) == 1.0, (entry.id, text)


@pytest.mark.parametrize("language", ALL)
def test_most_questions_are_told_to_be_in_their_language(language: str) -> None:
    found = [identify(entry.question).language for entry in items.document(language).item]
    assert sum(one is not None and same_set(language, one) for one in found) > 0.6 * len(found)


@pytest.mark.parametrize("form", ["question", "question_en"])
def test_no_question_stands_twice(form: str) -> None:
    for language in ALL:
        asked = Counter(" ".join(getattr(entry, form).casefold().split()) for entry in items.document(language).item)
        assert max(asked.values()) == 1, asked.most_common(1)


@pytest.mark.parametrize(("gold", "others"), [("answer", "distractors"), ("answer_en", "distractors_en")])
def test_length_tells_nothing(gold: str, others: str) -> None:
    """Who always takes the longest option, or the shortest, is right on about a quarter of the items: over all within three deviations."""
    for better in (max, min):
        hits = 0.0
        for _, entry in ENTRIES:
            lengths = [len(getattr(entry, gold)), *(len(text) for text in getattr(entry, others))]
            best = better(lengths)
            hits += (lengths[0] == best) / lengths.count(best)  # among equals one is taken at random
        share, deviation = hits / len(ENTRIES), (0.25 * 0.75 / len(ENTRIES)) ** 0.5
        assert abs(share - 0.25) < 3 * deviation, (better, share)


@pytest.mark.parametrize("language", ALL)
def test_every_alias_is_right_and_every_distractor_wrong(language: str) -> None:
    for item in items.drafted(language):
        for name, form in item.forms.items():
            assert all(answers.right(alias, form.aliases, form.rivals) for alias in form.aliases), (item.id, name)
            assert not any(answers.right(rival, form.aliases, form.rivals) for rival in form.rivals), (item.id, name)
            assert not any(answers.holds(form.parts[0].context, alias) for alias in form.aliases), (
                item.id,
                name,
            )  # not told by the question


def test_a_source_is_a_name_and_no_address() -> None:
    assert [entry.id for _, entry in ENTRIES if len(entry.source) < 8 or re.search(r"https?:|www\.", entry.source)] == []


# ------------------------------------------------------------------------------------------------------------ answers in words


@pytest.mark.parametrize(
    ("response", "name", "found"),
    [
        ("It is the Nam Khan river.", "Nam Khan", True),
        ("It is the Nam Khanh river.", "Nam Khan", False),  # whole words
        ("NAM-KHAN!", "Nam Khan", True),
        ("đó là Huế", "Hue", False),  # diacritics are letters' own
        ("จังหวัดนครปฐมครับ", "นครปฐม", True),
        ("นคร ปฐม", "นครปฐม", True),
        ("จังหวัดนครพนม", "นครปฐม", False),
        ("ចាស់ទុំ", "ចាស", False),  # a sign follows that belongs to the last letter
        ("ចាស់ ចាស", "ចាស", True),
        ("တန်ခူးလမှာ", "တန်ခူး", True),
        ("37 nats", "37", True),
        ("137 nats", "37", False),
        ("anything", "?", False),
        ("", "U", False),
    ],
)
def test_a_name_is_found_as_words_or_within_scripts_without_spaces(response: str, name: str, found: bool) -> None:
    assert answers.holds(response, name) is found


def test_an_answer_that_hedges_is_wrong_and_only_its_first_line_counts() -> None:
    assert answers.right("\nPapaya.\nOr mango", ("Papaya",), ("Mango",))
    assert not answers.right("Papaya or mango", ("Papaya",), ("Mango",))
    assert not answers.right("I do not know", ("Papaya",), ("Mango",))


@given(st.sampled_from(ENTRIES), st.sampled_from(["", "  ", "“", "\n"]), st.sampled_from(["", ".", "!", " \n"]))
def test_blanks_and_punctuation_around_an_answer_change_nothing(one: tuple[str, items.Entry], before: str, after: str) -> None:
    _, entry = one
    assert answers.right(f"{before}{entry.answer}{after}", (entry.answer,), entry.distractors)


# ---------------------------------------------------------------------------------------------------------------- bad input

ITEM = """
[[item]]
id = "lao-cuisine-01"
topic = "cuisine"
question = "ຫຍັງ?"
answer = "a"
aliases = []
distractors = ["b", "c", "d"]
question_en = "What?"
answer_en = "a"
aliases_en = []
distractors_en = ["b", "c", "d"]
source = "a book"
"""
HEAD = 'schema = 1\nlanguage = "lao"\ncountry = "Laos"\n'


def write(folder: Path, text: str) -> Path:
    (folder / "lao.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    (item,) = items.drafted("lao", write(tmp_path, HEAD + ITEM))
    assert (item.stratum, item.country, item.cluster) == ("cuisine", "Laos", "culture#lao-cuisine-01")
    part = item.forms["native"].parts[0]
    assert (part.context, part.choices[part.gold], len(part.choices)) == ("ຫຍັງ?\n", "a", 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "item"),
        (HEAD + ITEM.replace('["b", "c", "d"]', '["b", "c"]', 1), "distractors"),
        (HEAD + ITEM.replace('["b", "c", "d"]', '["b", "c", "A"]', 1), "not all different"),
        (HEAD + ITEM.replace('"cuisine"', '"sport"'), "topic"),
        (HEAD + ITEM.replace("What?", "What"), "question mark"),
        (HEAD + ITEM.replace('answer = "a"', 'answer = " a"'), "without blanks"),
        (HEAD + ITEM.replace('answer = "a"', 'answer = "a\\u0301"'), "NFC"),
        (HEAD + ITEM.replace('source = "a book"', ""), "source"),
        (HEAD + ITEM + 'more = "x"', "more"),
        (HEAD + ITEM + ITEM, "stands twice"),
        (HEAD.replace("1", "2", 1) + ITEM, "schema"),
        (HEAD.replace("Laos", "Thailand") + ITEM, "is of Laos"),
        ("schema = ", "cannot be read"),
    ],
)
def test_a_file_that_is_amiss_is_named_with_its_field(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message) as caught:
        items.drafted("lao", write(tmp_path, text))
    assert "lao.toml" in str(caught.value)


def test_a_language_without_items_is_told_which_have_some(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"no culture items in fao; there are in lao"):
        items.drafted("fao", write(tmp_path, HEAD + ITEM))
