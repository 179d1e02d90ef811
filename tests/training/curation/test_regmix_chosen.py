"""A team's text for proxies: the split depends on ids alone, nothing held out is trained on, and the raw tokens are those of all the text."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.curation.documents import CurationError, Document, write
from training.curation.regmix.chosen import LEAST, Choice, Chosen, choose, raw_tokens, tokenised, tokenizer_texts
from training.pretraining.packing import Corpus
from training.pretraining.scratch import train_tokenizer
from training.recipe import WorldText
from training.world import text as world

LANGUAGES = ("ind", "tha", "vie")


def documents(count: int = 60, languages: Sequence[str] = LANGUAGES) -> list[Document]:
    """Documents of the small world, in no order of languages."""
    made = [
        Document(id=f"{language}/{number}", text=told.text, language=language)
        for language in languages
        for number, told in enumerate(world.documents(WorldText(language=language, documents=count, seed=71)))
    ]
    random.Random(3).shuffle(made)
    return made


def shards(directory: Path, made: Sequence[Document], sizes: Sequence[int]) -> list[Path]:
    """The documents in so many shards, JSONL and Parquet by turns."""
    paths, first = [], 0
    for number, size in enumerate(sizes):
        path = directory / f"{number}{('.parquet', '.jsonl.gz')[number % 2]}"
        write(path, made[first : first + size])
        paths.append(path)
        first += size
    assert first == len(made)
    return paths


def corpus_documents(corpus: Corpus) -> list[bytes]:
    (ids_N,) = corpus.parts
    return [ids_N[a:b].tobytes() for a, b in itertools.pairwise(corpus.starts_D1)]


def test_the_split_is_of_the_ids_whatever_the_shards(tmp_path: Path) -> None:
    made = documents()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = choose(shards(tmp_path / "a", made, [180]), Choice(documents=50, held_out=6))
    other = choose(shards(tmp_path / "b", made[::-1], [17, 100, 63]), Choice(documents=50, held_out=6))
    assert one == other
    assert [found.language for found in one] == list(LANGUAGES)
    for found in one:
        own = [each for each in made if each.language == found.language]
        assert (found.documents, found.bytes) == (60, sum(len(each.text.encode()) for each in own))
        assert len(found.held_out) == 6
        assert {*found.train, *found.held_out} <= {each.text for each in own}
    # of more documents the same ones are held out
    more = choose([tmp_path / "a" / "0.parquet"], Choice(documents=60, held_out=6))
    assert [found.held_out for found in more] == [found.held_out for found in one]
    assert all(set(few.train) <= set(many.train) for few, many in zip(one, more, strict=True))


@given(
    rows=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 90)), min_size=90, max_size=140),
    held_out=st.sampled_from([0.05, 0.2, 1, 7]),
    most=st.integers(60, 200),
)
def test_nothing_held_out_is_trained_on_even_where_ids_or_texts_stand_twice(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], held_out: float, most: int
) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.jsonl"
    made = [Document(id=f"i{name}", text=f"text number {text}", language="ind") for name, text in rows]
    write(path, made)
    try:
        (found,) = choose([path], Choice(documents=most, held_out=held_out))
    except CurationError:  # too few were left: said, not trained on
        return
    ordered = sorted(made, key=lambda one: (_key(one.id), _key(one.text)))[:most]
    held = ordered[: int(held_out) if held_out >= 1 else max(1, round(held_out * len(ordered)))]
    ids, texts = {one.id for one in held}, {one.text for one in held}
    assert list(found.held_out) == [one.text for one in held]
    assert list(found.train) == [one.text for one in ordered if one.id not in ids and one.text not in texts]
    assert not set(found.train) & set(found.held_out)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_tokens_of_both_sides_are_those_of_the_texts_and_the_tokenizer_sees_no_held_out_text(tmp_path: Path) -> None:
    made = documents()
    texts = choose(shards(tmp_path, made, [90, 90]), Choice(documents=60, held_out=0.1))
    learned = list(tokenizer_texts(texts))
    assert not set(learned) & {text for one in texts for text in one.held_out}
    size = {one.language: sum(len(text.encode()) for text in learned if text in one.train) for one in texts}
    longest = max(len(text.encode()) for text in learned)
    assert max(size.values()) - min(size.values()) <= longest  # a document is taken whole
    tokenizer = train_tokenizer(learned, 500, 64)
    corpora = tokenised(texts, tokenizer)
    assert corpora.languages == LANGUAGES
    for one, text in zip(texts, corpora.texts, strict=True):
        for side, corpus in ((one.train, text.train), (one.held_out, text.held_out)):
            (ids_N,) = corpus.parts
            told = [tokenizer.decode(ids_N[a : b - 1]) for a, b in itertools.pairwise(corpus.starts_D1)]
            assert told == list(side)
        assert not set(corpus_documents(text.train)) & set(corpus_documents(text.held_out))


def test_raw_tokens_are_exact_where_all_text_is_taken_and_near_where_a_part_is(tmp_path: Path) -> None:
    made = documents(120)
    paths = shards(tmp_path, made, [200, 160])
    whole, part = choose(paths, Choice(documents=200, held_out=6)), choose(paths, Choice(documents=60, held_out=6))
    tokenizer = train_tokenizer(tokenizer_texts(whole), 500, 64)
    for exact, texts in ((True, whole), (False, part)):
        found = raw_tokens(texts, tokenised(texts, tokenizer))
        for language in LANGUAGES:
            truth = sum(len(tokenizer.encode(one.text, add_special_tokens=False)) + 1 for one in made if one.language == language)
            assert found[language] == pytest.approx(truth, rel=0 if exact else 0.05)


def test_languages_are_named_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    made = [*documents(), *(Document(id=f"x{number}", text=f"of no language {number}") for number in range(3))]
    path = tmp_path / "a.jsonl"
    write(path, made)
    with path.open("ab") as file:
        file.write(b"{}\n")
    told: list[str] = []
    assert [one.language for one in choose([path], Choice(languages=("vie", "ind")), told.append)] == ["ind", "vie"]
    assert [one.language for one in choose([path], Choice(), told.append)] == list(LANGUAGES)
    assert "3 documents without a language are left out" in told
    assert any(line.startswith("1 rows could not be read") for line in told)


def test_what_no_proxy_can_be_trained_on_is_named(tmp_path: Path) -> None:
    few = [Document(id=f"f{number}", text=f"few {number}", language="khm") for number in range(LEAST + 4)]
    paths = shards(tmp_path, [*documents(), *few], [180, LEAST + 4])
    with pytest.raises(CurationError, match=r"khm \(24 documents\): too few, 20 to train on are needed beside those held out \(5\)"):
        choose(paths, Choice(held_out=5))
    assert len(choose(paths, Choice(held_out=4))) == 4
    with pytest.raises(CurationError, match="--languages lao: the shards have no document of it"):
        choose(paths, Choice(languages=("ind", "lao")))
    for choice, message in (
        ({"documents": 30, "held_out": 11}, "--documents 30 with --held-out 11 leaves 19 to train on"),
        ({"held_out": 0}, "--held-out 0: a share of the documents taken, under 1, or a whole number"),
        ({"held_out": 1.5}, "--held-out 1.5"),
        ({"languages": ("ind", "tha", "ind")}, "names 'ind' twice"),
    ):
        with pytest.raises(CurationError, match=message):
            Choice(**choice)  # type: ignore[arg-type]


def test_a_tokenizer_that_does_not_spell_the_text_is_refused(tmp_path: Path) -> None:
    """One with a prefix space spells a byte more a document; one that normalises is taken for what it reads."""
    from tokenizers import normalizers, pre_tokenizers

    texts = [
        Chosen(language="vie", train=("tiếng Việt",) * 30, held_out=("tie\u0302\u0301ng Vie\u0323\u0302t", "Huế"), documents=32, bytes=500)
    ]
    tokenizer = train_tokenizer(texts[0].train, 300, 64)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    corpora = tokenised(texts, tokenizer)
    (held_N,) = corpora.texts[0].held_out.parts
    assert int(np.sum(corpora.token_bytes_V[held_N])) == len("tiếng ViệtHuế".encode())
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    with pytest.raises(CurationError, match=r"the tokens of --tokenizer spell \d+ bytes where the held-out text of vie has \d+"):
        tokenised(texts, tokenizer)
