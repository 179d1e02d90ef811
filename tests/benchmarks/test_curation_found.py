"""The suite on a crawl of one's own: what needs no truth is counted from the artifact alone, and no language is lost in silence."""

from __future__ import annotations

import datetime
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.curation import build, found
from benchmarks.suites.curation.found import Draw
from harness.gates import Gate
from harness.rows import Rows
from harness.rules import judge
from harness.suites import SuiteContext, SuiteError
from training.curation import chain, documents
from training.curation.documents import Document
from training.curation.engine import Engine
from training.curation.lines import Lines
from training.curation.settings import Curation
from training.recipe import WorldText
from training.world import text
from training.world.crawl_truth import similarity

LANGUAGES = ("eng", "tha")
STEPS = ("ids", "url", "language", "near", "pii")
Dropped = tuple[str, Document, str]  # layer, document, reason


def stories(language: str, count: int = 30) -> list[Document]:
    made = text.documents(WorldText(language=language, documents=count, seed=5))
    return [Document(id=f"{language}-{number}", text=one.text, language=language) for number, one in enumerate(made)]


def artifact(path: Path, kept: Sequence[Document], dropped: Sequence[Dropped] = (), steps: Sequence[str] = STEPS) -> Path:
    """A corpus as the chain leaves it, in two shards."""
    (path / "shards").mkdir(parents=True)
    for number in range(2):
        documents.write(path / f"shards/{number:05d}.parquet", list(kept)[number::2])
    for number, step in enumerate(steps):
        (path / f"dropped/{number:02d}-{step}").mkdir(parents=True)
        rows = [
            {"id": one.id, "reason": reason, "excerpt": one.text[:300], "language": one.language, "record": one.extra.get("record", "")}
            for layer, one, reason in dropped
            if layer == step
        ]
        (path / f"dropped/{number:02d}-{step}/00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path, languages: Sequence[str] = LANGUAGES, **options: object) -> Rows:
    suite = build("curation", languages, truth=False, **options)  # type: ignore[arg-type]
    return Rows.of([suite.row(sample, ()) for sample in suite.samples(SuiteContext(hub=None, profile_dir=".", artifact=path))])


def scores(path: Path, language: str = "", languages: Sequence[str] = LANGUAGES, **options: object) -> dict[str, float]:
    """The suite's scores over all rows or those of a language; NaN where there is nothing to divide by."""
    rows = rows_of(path, languages, **options).select([language] if language else None)
    sums = {name: float(column.sum()) for name, column in rows.values.items()}
    metrics = build("curation", languages, truth=False, **options).metrics  # type: ignore[arg-type]
    return {metric.name: sums[metric.numerator] / sums[metric.denominator] if sums[metric.denominator] else math.nan for metric in metrics}


def verdicts(path: Path, *gates: Gate, **options: object) -> list[str]:
    suite = build("curation", LANGUAGES, truth=False, **options)  # type: ignore[arg-type]
    rows, metrics = rows_of(path, LANGUAGES, **options), {"curation": {metric.name: metric for metric in suite.metrics}}
    return [found.verdict for found in judge(gates, lambda which, name: rows, metrics, datetime.date(2026, 1, 1)).values()]


def gate(metric: str, rule: str, line: float, languages: Sequence[str] = LANGUAGES, macro: bool = True) -> Gate:
    told: dict[str, object] = {"name": metric, "label": metric, "stage": "curation", "suite": "curation", "metric": metric, "reason": ""}
    return Gate(**told, rule=rule, line=line, languages=tuple(languages), macro=macro)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def kept() -> list[Document]:
    return [one for language in LANGUAGES for one in stories(language)]


def test_a_clean_corpus(kept: list[Document], tmp_path: Path) -> None:
    score = scores(artifact(tmp_path / "a", kept))
    assert score["present"] == 1.0
    assert score["purity"] > 0.97
    assert score["private_left"] == score["duplicates_left"] == 0.0
    assert all(score[f"share_{layer}"] == 0.0 for layer in found.LAYERS)
    assert not any(name.startswith(("recall", "precision", "text_kept", "text_strange", "boilerplate", "contamination")) for name in score)


def test_the_share_of_a_layer_is_of_what_reached_it(kept: list[Document], tmp_path: Path) -> None:
    gone = stories("eng", 70)[30:]
    dropped = [
        *(("url", one, "same URL") for one in gone[:10]),
        *(("language", one, "mixed") for one in gone[10:15]),
        *(("near", one, "near duplicate") for one in gone[15:40]),
    ]
    path = artifact(tmp_path / "a", kept, dropped)
    english = scores(path, "eng")
    assert english["share_url"] == pytest.approx(10 / 70)
    assert english["share_language"] == pytest.approx(5 / 60)
    assert english["share_near"] == pytest.approx(25 / 55)
    assert english["share_pii"] == english["share_rules"] == 0.0  # the chain has no rules: they drop nothing of what there is
    assert scores(path, "tha")["share_near"] == 0.0


def test_a_layer_that_stands_twice_counts_what_both_dropped(kept: list[Document], tmp_path: Path) -> None:
    gone = stories("eng", 60)[30:]
    path = artifact(tmp_path / "a", kept, (), ("ids", "rules", "near", "rules"))
    for step, some in (("01-rules", gone[:10]), ("02-near", gone[10:20]), ("03-rules", gone[20:])):
        lines = [{"id": one.id, "reason": "so", "excerpt": one.text, "language": "eng", "record": ""} for one in some]
        (path / "dropped" / step / "00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    english = scores(path, "eng")
    assert (english["share_rules"], english["share_near"]) == (pytest.approx(20 / 60), pytest.approx(10 / 50))


def test_what_was_dropped_before_it_had_a_language_counts_in_that_of_its_excerpt(kept: list[Document], tmp_path: Path) -> None:
    nameless = [Document(id=f"n{number}", text=one.text) for number, one in enumerate(stories("tha", 40)[30:])]
    declared = [Document(id=f"d{number}", text=one.text, language="th") for number, one in enumerate(stories("tha", 50)[40:])]
    odd = Document(id="odd", text="12345 !!")
    path = artifact(tmp_path / "a", kept, [("url", one, "same URL") for one in (*nameless, *declared, odd)])
    assert scores(path, "tha")["share_url"] == pytest.approx(20 / 50)
    assert scores(path, "eng")["share_url"] == 0.0


def test_documents_whose_id_came_again_are_rows_of_their_own(kept: list[Document], tmp_path: Path) -> None:
    path = artifact(tmp_path / "a", kept, [("ids", kept[0], "duplicate id")] * 3)
    assert scores(path, "eng")["share_ids"] == pytest.approx(3 / 33)


def test_a_language_that_is_lost_never_passes(kept: list[Document], tmp_path: Path) -> None:
    """Neither over all languages nor in its own rows, whether its documents were dropped or were never there."""
    english = [one for one in kept if one.language == "eng"]
    thai = [one for one in kept if one.language == "tha"]
    whole, each = gate("present", "at_least", 0.9), gate("present", "at_least", 0.8, ["tha"], macro=False)
    for name, dropped in (("dropped", [("language", one, "not wanted") for one in thai]), ("never", [])):
        path = artifact(tmp_path / name, english, dropped)
        assert scores(path, "tha")["present"] == 0.0
        assert verdicts(path, whole) == verdicts(path, each) == ["fail"]
        others = [
            gate("purity", "at_least", 0.5),
            gate("duplicates_left", "at_most", 0.5),
            gate("private_left", "at_most", 0.5),
        ]
        assert all(verdicts(path, one) == ["inconclusive"] for one in others)
    path = artifact(tmp_path / "all", kept)
    assert verdicts(path, whole) == verdicts(path, each) == ["pass"]


def test_a_language_with_few_documents_is_present_by_that_share(kept: list[Document], tmp_path: Path) -> None:
    path = artifact(tmp_path / "a", [one for one in kept if one.language == "eng"] + stories("tha", 7))
    assert scores(path, "tha")["present"] == 7 / 20
    assert scores(path, "tha", least=5)["present"] == 1.0


def test_text_filed_under_another_language_is_impure(kept: list[Document], tmp_path: Path) -> None:
    stray = [Document(id=f"s{number}", text=one.text, language="eng") for number, one in enumerate(stories("tha", 60)[30:])]
    path = artifact(tmp_path / "a", [*kept, *stray])
    letters = [sum(len(one.text) for one in some) for some in (kept[:30], stray)]
    assert scores(path, "eng")["purity"] == pytest.approx(letters[0] / sum(letters), abs=0.02)
    assert scores(path, "tha")["purity"] > 0.99


def test_a_language_that_nobody_can_identify_has_every_score_but_purity(tmp_path: Path) -> None:
    faroese = [Document(id=f"f{number}", text=f"Báturin {number} kom aftur", language="fao") for number in range(30)]
    score = scores(artifact(tmp_path / "a", faroese), languages=("fao",))
    assert math.isnan(score["purity"])
    assert score["present"] == 1.0


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("tulis ke budi.santoso@contoh.co.id ya", True),
        ("write to <EMAIL> please", False),
        ("see @handle on example.com", False),
        ("5 @ 3.50 each", False),
        ("ติดต่อ somchai99@mail.go.thครับ", True),
        ("โทร. 081-234-5678", True),
        ("900115-14-5678", True),
        ("01-02-2024 ราคา 1,250,000", False),
    ],
)
def test_personal_data_that_still_stands_is_found(kept: list[Document], tmp_path: Path, said: str, left: bool) -> None:
    path = artifact(tmp_path / "a", [*kept, Document(id="x", text=said, language="tha")])
    assert scores(path, "tha")["private_left"] == pytest.approx(left / 31)


def test_what_a_layer_cut_is_a_share_of_what_it_met_in_documents_it_kept(kept: list[Document], tmp_path: Path) -> None:
    """In the language that a document is filed under at last, kept or dropped later, whatever it was when the layer cut it."""
    later = Document(id="later", text="x", language="tha", extra={"record": "r"})
    path = artifact(tmp_path / "a", kept, [("near", later, "near duplicate")])
    assert all(math.isnan(scores(path)[f"text_cut_{layer}"]) for layer in found.CUTTING)
    cut = {
        "01-lines": [("eng-0", "", 100, 50), ("eng-1", "eng", 300, 300), ("later", "", 1000, 900), ("tha-3", "th", 1000, 1000)],
        "04-lines": [("eng-0", "eng", 50, 40)],
        "05-exact": [("eng-0", "eng", 40, 40)],
        "06-pii": [("eng-0", "eng", 40, 10)],
    }
    for step, told in cut.items():
        (path / "cut" / step).mkdir(parents=True)
        rows = [dict(zip(("id", "record", "language", "bytes", "left"), (one[0], "", *one[1:]), strict=True)) for one in told]
        (path / "cut" / step / "sizes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    english, thai = scores(path, "eng"), scores(path, "tha")
    assert english["text_cut_lines"] == pytest.approx(60 / 450)
    assert thai["text_cut_lines"] == pytest.approx(100 / 2000)
    assert english["text_cut_exact"] == 0.0
    assert math.isnan(thai["text_cut_exact"])
    assert "text_cut_pii" not in english
    assert scores(path, layers=("near",)).keys().isdisjoint({"text_cut_lines"})
    (path / "cut/05-exact/sizes.jsonl").write_text("{")
    with pytest.raises(SuiteError, match=r"05-exact/sizes\.jsonl, line 1"):
        rows_of(path)


def test_the_sizes_that_a_chain_leaves_are_read(tmp_path: Path) -> None:
    """Documents are clusters enough for a verdict of a language's own."""
    made = [
        Document(id=one.id, text=f"Home | News | Contact\n{one.text}" if number % 2 else one.text, language=one.language)
        for number, one in enumerate([*stories("eng", 60), *stories("tha", 60)])
    ]
    documents.write(tmp_path / "in.jsonl", made)
    chain.run(Curation(layers=(Lines(),)), [str(tmp_path / "in.jsonl")], tmp_path / "out", Engine(workers=1))
    line = len("Home | News | Contact\n")
    for language in LANGUAGES:
        sizes = [len(one.text.encode()) for one in made if one.language == language]
        assert scores(tmp_path / "out", language)["text_cut_lines"] == pytest.approx(30 * line / sum(sizes))
    each = [gate("text_cut_lines", "at_most", most, [language], macro=False) for language in LANGUAGES for most in (0.5, 0.0001)]
    assert [verdicts(tmp_path / "out", one) for one in each] == [["pass"], ["fail"], ["pass"], ["fail"]]


def test_duplicates_left_are_those_of_all_pairs(kept: list[Document], tmp_path: Path) -> None:
    again = [Document(id=f"again-{number}", text=one.text + " The end.", language="eng") for number, one in enumerate(kept[:6])]
    path = artifact(tmp_path / "a", [*kept, *again])
    english = [*kept[:30], *again]
    alike = {
        one.id for pair in itertools.combinations(english, 2) if similarity(pair[0].text, pair[1].text)["words"] >= 0.7 for one in pair
    }
    assert 12 <= len(alike) < 36
    assert scores(path, "eng")["duplicates_left"] == pytest.approx(len(alike) / 36)
    assert scores(path, "tha")["duplicates_left"] == pytest.approx(0.0)


@given(st.lists(st.integers(0, 30), unique=True), st.integers(1, 12))
def test_a_draw_is_of_the_smallest_keys(keys: list[int], most: int) -> None:
    draw: Draw[int] = Draw(most)
    for key in keys:
        draw.offer(bytes([key]), f"{key:03d}", key)
    assert draw.items() == sorted(keys)[:most]


def test_a_sample_of_a_large_crawl_is_as_its_whole(tmp_path: Path) -> None:
    """Kept and dropped are drawn by one rule, so that a share is unbiased; the draw is the same whatever the shards."""
    many = [Document(id=f"m{number}", text=f"the boat number {number} came in late that day", language="eng") for number in range(4000)]
    dropped: list[Dropped] = [("near", one, "near duplicate") for one in many[::4]]
    path = artifact(tmp_path / "a", [one for number, one in enumerate(many) if number % 4], dropped)
    rows = rows_of(path, ("eng",), documents=1000)
    assert sum(rows.values["seen_by_near"]) == 1000
    assert scores(path, languages=("eng",), documents=1000)["share_near"] == pytest.approx(0.25, abs=0.04)
    assert scores(path, languages=("eng",), documents=4000)["share_near"] == 0.25
    other = artifact(tmp_path / "b", [one for number, one in enumerate(many) if number % 4][::-1], dropped)
    assert set(rows_of(other, ("eng",), documents=1000).sample) == set(rows.sample)


def test_the_tellings_of_one_record_are_one_cluster(tmp_path: Path) -> None:
    both = [
        Document(id=f"{language}/{number}", text=f"{number}", language=language, extra={"record": f"article-{number}"})
        for language in LANGUAGES
        for number in range(5)
    ]
    rows = rows_of(artifact(tmp_path / "a", both[1:], [("near", both[0], "so")]))
    judged = rows.values["seen_by_ids"] > 0
    assert sorted(rows.cluster[judged]) == sorted([f"article-{number}" for number in range(5)] * 2)


def test_a_classifiers_area_needs_no_truth(kept: list[Document], tmp_path: Path) -> None:
    path = artifact(tmp_path / "a", kept)
    (path / "facts/05-quality").mkdir(parents=True)
    held = [
        {"language": "eng", "positive": good, "score": score, "excerpt": ""} for good, score in ((True, 0.9), (True, 0.2), (False, 0.5))
    ]
    (path / "facts/05-quality/held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    assert scores(path, auc=True)["auc"] == pytest.approx(0.5)


def test_what_is_no_corpus_is_refused(kept: list[Document], tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="dropped/NN-LAYER"):
        rows_of(tmp_path)
    path = artifact(tmp_path / "a", kept)
    (path / "dropped/01-url/00000.jsonl").write_text("{")
    with pytest.raises(SuiteError, match=r"01-url/00000\.jsonl, line 1"):
        rows_of(path)
    with pytest.raises(SuiteError, match="a crawl of your own has no truth: judge it with truth = False"):
        list(build("curation", LANGUAGES).samples(SuiteContext(hub=None, profile_dir=".", artifact=path)))
    with pytest.raises(SuiteError, match="no layer 'extract'"):
        build("curation", LANGUAGES, truth=False, layers=("extract",))
    with pytest.raises(SuiteError, match="documents 0 and least 20"):
        build("curation", LANGUAGES, truth=False, documents=0)
