"""The perplexity layer: the embedded model equals one written out by hand, tells gibberish, and ranks each language by itself."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.curation import chain, characters, ranking
from training.curation.characters import ORDER, CharacterModel, plain
from training.curation.documents import CurationError, Document, read, write
from training.curation.engine import Engine
from training.curation.perplexity import FACTS, Perplexity, perplexities, sailcraft_form
from training.curation.settings import Curation
from training.recipe import WorldText
from training.world import text as world

HERE = Engine(workers=1)
LANGUAGES = ("eng", "ind", "tha", "khm")


def telling(iso: str, count: int, split: str = "train") -> list[str]:
    return [made.text for made in world.documents(WorldText(language=iso, documents=count, split=split, seed=4))]  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ the embedded model


def by_hand(training: Sequence[str], text: str) -> list[float]:
    """log2 p of each character by the formula, character by character, in exact counts and float64."""
    held = [plain(one) for one in training if plain(one)]
    alphabet = {letter for one in held for letter in one}
    counts = [Counter[tuple[str, ...]]() for _ in range(ORDER)]
    for one in held:
        marked = ["<s>"] * (ORDER - 1) + list(one)
        for end in range(ORDER - 1, len(marked)):
            for length in range(1, ORDER + 1):
                counts[length - 1][tuple(marked[end - length + 1 : end + 1])] += 1
    after: dict[tuple[str, ...], list[int]] = {}
    for length in range(ORDER):
        for gram, count in counts[length].items():
            after.setdefault(gram[:-1], []).append(count)

    def chance(gram: tuple[str, ...]) -> float:
        shorter = chance(gram[1:]) if len(gram) > 1 else 1 / (len(alphabet) + 1)
        followed = after.get(gram[:-1])
        if not followed:
            return shorter
        return (counts[len(gram) - 1][gram] + len(followed) * shorter) / (sum(followed) + len(followed))

    marked = ["<s>"] * (ORDER - 1) + [letter if letter in alphabet else "<unk>" for letter in plain(text)]
    return [math.log2(chance(tuple(marked[end - ORDER + 1 : end + 1]))) for end in range(ORDER - 1, len(marked))]


short = st.text(st.sampled_from("abc กéA1\n"), max_size=30)


@given(st.lists(short, min_size=1, max_size=5), st.lists(st.text(st.sampled_from("abdกxé 7"), max_size=30), min_size=1, max_size=4))
@settings(max_examples=60)
def test_bits_are_those_of_a_model_by_hand(training: list[str], asked: list[str]) -> None:
    if not any(plain(text) for text in training):
        with pytest.raises(CurationError, match="no text"):
            CharacterModel.train(training)
        return
    model = CharacterModel.train(training)
    for text, found in zip(asked, model.log2(asked), strict=True):
        np.testing.assert_allclose(found, by_hand(training, text), rtol=1e-12, atol=1e-12)
    bits = model.bits(asked)
    for text, mean in zip(asked, bits.tolist(), strict=True):
        expected = by_hand(training, text)
        assert mean == pytest.approx(-sum(expected) / len(expected), rel=1e-12) if expected else math.isnan(mean)


@given(st.lists(short, min_size=1, max_size=4).filter(lambda texts: any(map(plain, texts))), short)
@settings(max_examples=40)
def test_the_chances_of_all_characters_add_up_to_one(training: list[str], before: str) -> None:
    model = CharacterModel.train(training)
    context = plain(before) or "a"
    letters = [*(chr(int(point)) for point in model.letters), "|"]  # the last is unknown
    texts = model.log2([f"{context}{letter}|" for letter in letters])
    assert sum(2.0 ** float(each[-2]) for each in texts) == pytest.approx(1.0, rel=1e-9)


def test_a_large_alphabet_leaves_the_rarest_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(characters, "LARGEST", 3)
    model = CharacterModel.train(["aaaa bbb cc d"])
    assert [chr(int(point)) for point in model.letters] == [" ", "a", "b"]
    known, unknown = model.bits(["ab", "zz"])
    assert unknown > 0
    assert model.bits(["cd"])[0] == unknown
    assert known < unknown + 5


def test_blocks_change_nothing_and_a_saved_model_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CharacterModel.train(telling("eng", 20))
    texts = telling("eng", 6, "held_out")
    whole = model.bits(texts)
    monkeypatch.setattr(characters, "BLOCK", 100)
    model.save(tmp_path / "one.npz")
    np.testing.assert_array_equal(CharacterModel.load(tmp_path / "one.npz").bits(texts), whole)
    CharacterModel.train(telling("eng", 20)).save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    (tmp_path / "torn.npz").write_bytes((tmp_path / "one.npz").read_bytes()[:200])
    with pytest.raises(CurationError, match=r"torn\.npz is no character model"):
        CharacterModel.load(tmp_path / "torn.npz")


@pytest.mark.parametrize("iso", LANGUAGES)
def test_shuffled_text_and_gibberish_score_far_worse(iso: str) -> None:
    model = CharacterModel.train(telling(iso, 60))
    rng = random.Random(1)
    real = telling(iso, 10, "held_out")
    shuffled = ["".join(rng.sample(text, len(text))) for text in real]
    gibberish = ["".join(rng.choice("ＱＸ#%&@~^ЖЩ$*+") for _ in text) for text in real]
    good, mixed, bad = model.bits(real), model.bits(shuffled), model.bits(gibberish)
    assert good.max() + 1.5 < mixed.min()
    assert mixed.max() + 3 < bad.min()


# --------------------------------------------------------------------------------------------------------------------- the layer


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of held-out stories in two languages, a tenth of them shuffled letter by letter, and one document of no known language."""
    directory = tmp_path_factory.mktemp("pool")
    rng = random.Random(3)
    documents = []
    for iso in ("eng", "tha"):
        for number, text in enumerate(telling(iso, 30, "held_out")):
            spoilt = number % 10 == 0
            documents.append(
                Document(
                    id=f"{iso}{number}",
                    text="".join(rng.sample(text, len(text))) if spoilt else text,
                    language=iso,
                    extra={"spoilt": spoilt},
                )
            )
    documents.append(Document(id="unknown", text="What is this in?", extra={"spoilt": False}))
    rng.shuffle(documents)
    write(directory / "0.parquet", documents[:25])
    write(directory / "1.parquet", documents[25:])
    return directory


def run(layer: Perplexity, pool: Path, work: Path) -> dict[str, tuple[Document, Document | None, str]]:
    work.mkdir(exist_ok=True)
    shards = [pool / "0.parquet", pool / "1.parquet"]
    layer.prepare(shards, work, HERE)
    judge = layer.judge(work)
    found = {}
    for number, shard in enumerate(shards):
        documents = list(read(shard, lambda _: None))
        for document, decision in zip(documents, judge(documents, number, 0), strict=True):
            found[document.id] = (document, decision.document, decision.reason)
    return found


def test_the_least_likely_of_each_language_go(pool: Path, tmp_path: Path) -> None:
    found = run(Perplexity(share=0.9), pool, tmp_path / "work")
    for document, kept, reason in found.values():
        assert (reason == "perplexity") == document.extra["spoilt"]
        if kept and document.language:
            assert kept.extra["perplexity"] > 0
    assert found["unknown"][1] == found["unknown"][0]
    facts = json.loads((tmp_path / "work" / FACTS).read_text())
    assert (facts["eng"]["documents"], facts["eng"]["kept"], facts["eng"]["model"]) == (30, 27, "characters")
    assert facts[""]["model"] == "none"


def test_a_ceiling_is_a_languages_own(pool: Path, tmp_path: Path) -> None:
    found = run(Perplexity(by="ceiling", ceilings=(("eng", 6.0),)), pool, tmp_path / "work")
    for document, _, reason in found.values():
        assert (reason == "perplexity") == (document.extra["spoilt"] and document.language == "eng")


def test_the_model_is_made_of_the_text_that_is_given(pool: Path, tmp_path: Path) -> None:
    write(tmp_path / "text.jsonl", [Document(id=str(n), text=text, language="tha") for n, text in enumerate(telling("tha", 20))])
    found = run(Perplexity(text=(str(tmp_path / "text.jsonl"),), share=0.9), pool, tmp_path / "work")
    assert {reason for document, _, reason in found.values() if document.language == "eng"} == {""}
    assert {document.id for document, _, reason in found.values() if reason} == {"tha0", "tha10", "tha20"}
    texts = [document.text for document, _, _ in found.values() if document.language == "tha"]
    expected = CharacterModel.train(telling("tha", 20)).bits(texts)
    np.testing.assert_array_equal(perplexities(str(tmp_path / "work" / "tha.model.npz"), texts), expected)


def test_a_score_reaches_its_languages_least() -> None:
    scores = np.array([-2.0, -4.0, math.nan, -4.0])
    assert ranking.reach(scores, np.array([0, 0, 1, 1]), [-3.0, -math.inf]).tolist() == [True, False, True, True]


def test_what_makes_no_sense_is_named(tmp_path: Path, pool: Path) -> None:
    with pytest.raises(CurationError, match=r"perplexity\.ceilings names 'deu'"):
        Perplexity(ceilings=(("deu", 3.0),))
    with pytest.raises(CurationError, match="there is no directory"):
        Perplexity(models=str(tmp_path / "absent")).prepare([pool / "0.parquet"], tmp_path, HERE)


# ---------------------------------------------------------------------------------------------------------------------- KenLM

# A model of two words, log10 probabilities and back-off weights: <s> a b </s> by hand.
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-2.0\t<unk>\t0
0\t<s>\t-0.5
-1.0\t</s>\t0
-0.7\ta\t-0.25
-0.9\tb\t-0.5

\\2-grams:
-0.1\t<s> a
-0.3\ta b
-0.2\tb </s>

\\end\\
"""


def test_a_kenlm_model_is_read_where_the_user_has_one(tmp_path: Path) -> None:
    pytest.importorskip("kenlm", reason="kenlm is not installed: pip install kenlm")
    (tmp_path / "id.arpa").write_text(ARPA)
    layer = Perplexity(models=str(tmp_path), by="ceiling", ceilings=(("ind", 2.0),))
    model = layer._kenlm("ind")
    assert model == tmp_path / "id.arpa"
    likely, unlikely = perplexities(str(model), ["a\nb", "b a c"])
    assert likely == pytest.approx(10 ** ((0.1 + 0.3 + 0.2) / 3), rel=1e-5)
    assert unlikely == pytest.approx(10 ** ((0.5 + 0.9 + 0.5 + 0.7 + 0.25 + 2.0 + 1.0) / 4), rel=1e-5)
    write(tmp_path / "0.parquet", [Document(id="1", text="a b", language="ind"), Document(id="2", text="b a c", language="ind")])
    layer.prepare([tmp_path / "0.parquet"], tmp_path, HERE)
    decisions = layer.judge(tmp_path)(list(read(tmp_path / "0.parquet", lambda _: None)), 0, 0)
    assert [decision.reason for decision in decisions] == ["", "perplexity"]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Harga\u00a0Rp 1.250，naik！", "Harga Rp 0.000,naik!"),  # the case stays, each digit is a 0
        ("satu\ndua\ttiga\x07\x7f\x9f ", "satuduatiga"),  # control characters leave nothing, the ends are stripped
        ("“Ya”，kata「dia」《buku》«x» „y", '"Ya",kata"dia""buku""x" "y'),
        ("a—b–c━d►e…f．g", "a - b-c-d-e...f. g"),
        ("（甲）【乙】〈丙〉：丁∶戊；己？庚。辛、壬～９％", "(甲)[乙]<丙>:丁:戊;己?庚.辛,壬~0%"),
        ("dia’s ´x\ufffcy\u3000z\u2009w", "dia's 'x y z w"),
        ("๑๒ ၃ ១ １ ²", "00 0 0 0 ²"),  # a fullwidth one too, which SailCraft's table of punctuation names, after the digits
        ("a  b", "a  b"),  # SentencePiece makes one of two spaces
        ("\n\x00 ", ""),
    ],
)
def test_the_form_of_sailcrafts_models_by_hand(text: str, form: str) -> None:
    assert sailcraft_form(text) == form
    assert sailcraft_form(form) == form


def test_a_kenlm_model_of_pieces_reads_them(tmp_path: Path) -> None:
    """As SailCraft's: a SentencePiece model beside it. A model of its pieces, by hand, whose one bigram does not occur: perplexity is that of the pieces and the end."""
    pytest.importorskip("kenlm", reason="kenlm is not installed: pip install kenlm")
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed: pip install 'seatrials[spbleu]'")
    lines = ["perahu datang ke pelabuhan", "ikan dijual di pasar", "perahu membawa ikan ke pasar"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(tmp_path / "ind.sp"), vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "ind.sp.model"))
    logs = {pieces.id_to_piece(number): -1.0 - number / 100 for number in range(3, pieces.get_piece_size())}
    table = {"<unk>": -9.0, "<s>": -99.0, "</s>": -0.75, **logs}
    rows = "".join(f"{value}\t{piece}\t0\n" for piece, value in table.items())
    (tmp_path / "ind.arpa").write_text(
        f"\\data\\\nngram 1={len(table)}\nngram 2=1\n\n\\1-grams:\n{rows}\n\\2-grams:\n-3\t<s> </s>\n\n\\end\\\n", encoding="utf-8"
    )
    for text, form in (
        ("ikan dibawa perahu", "ikan dibawa perahu"),
        ("“ikan”\x07 4 dibawa，\nperahu — 25", '"ikan" 0 dibawa,perahu  -  00'),
    ):
        said = pieces.encode(form, out_type=str)
        expected = 10 ** (-(sum(table.get(piece, -9.0) for piece in said) - 0.75) / (len(said) + 1))
        assert len(said) > len(text.split())
        assert perplexities(str(tmp_path / "ind.arpa"), [text])[0] == pytest.approx(expected, rel=1e-4)


def test_the_facts_stand_beside_the_corpus_and_say_which_model_judged(pool: Path, tmp_path: Path) -> None:
    """Beside it and not in it: the corpus is what the judged documents are."""
    for workers in (1, 2):
        chain.run(Curation(layers=(Perplexity(share=0.9),)), [str(pool)], tmp_path / f"out{workers}", Engine(workers=workers))
    facts = [(tmp_path / f"out{workers}" / "facts" / "01-perplexity" / FACTS).read_bytes() for workers in (1, 2)]
    assert facts[0] == facts[1]
    told = json.loads(facts[0])
    assert (told["tha"]["documents"], told["tha"]["kept"], told["tha"]["model"]) == (30, 27, "characters")
    shards = [[path.read_bytes() for path in sorted((tmp_path / f"out{workers}" / "shards").iterdir())] for workers in (1, 2)]
    assert shards[0] == shards[1]
    kept = [document for path in sorted((tmp_path / "out1" / "shards").iterdir()) for document in read(path, lambda _: None)]
    expected = run(Perplexity(share=0.9), pool, tmp_path / "work")
    assert {document.id: document.extra.get("perplexity") for document in kept} == {
        name: decided.extra.get("perplexity") for name, (_, decided, _) in expected.items() if decided
    }


def test_kenlm_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "kenlm", None)
    (tmp_path / "ind.arpa").write_text(ARPA)
    with pytest.raises(CurationError, match="pip install kenlm"):
        perplexities(str(tmp_path / "ind.arpa"), ["a"])
