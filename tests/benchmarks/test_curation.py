"""The suite that judges a curated corpus: a perfect one has perfect scores, an untouched one none, and each fault moves the metric that names it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.suites.curation import build, measures
from benchmarks.suites.curation.corpus import Kept
from benchmarks.suites.curation.planted import LAYERS
from benchmarks.suites.curation.quality import hands
from harness.rows import Rows
from harness.statistics import estimate
from harness.suites import SuiteContext, SuiteError, SuiteSpec, load
from training.curation import documents
from training.curation.documents import Document
from training.world import crawl, crawl_truth
from training.world.crawl import Crawl, Truth
from training.world.crawl_pages import boilerplate

pytest.importorskip("warcio", reason="a crawl is written by warcio (the extra `curation`)")

LANGUAGES = ("eng", "tha", "jav")
Fates = dict[str, Document | str]  # record -> the document kept, or the layer that dropped it; neither: no document was made
Scores = dict[str, float]


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> list[Truth]:
    directory = tmp_path_factory.mktemp("crawl")
    crawl.write(Crawl(languages=LANGUAGES, pages=100), directory)
    return crawl.truth(directory)


def kept(truth: Truth, text: str = "", language: str = "") -> Document:
    return Document(
        id=f"d/{truth.record}", text=text or truth.text, url=truth.url, language=language or truth.declared, extra={"record": truth.record}
    )


def perfect(truths: list[Truth]) -> Fates:
    fates: Fates = {}
    passages: set[str] = set()
    for truth in truths:
        if truth.fate == "keep":
            text = truth.text
            if truth.passage:
                text = text.replace(truth.passage, "") if truth.passage in passages else text
                passages.add(truth.passage)
            fates[truth.record] = kept(truth, text)
        elif truth.fate == "drop" and truth.layers[0] != "extract":
            fates[truth.record] = truth.layers[0]
    return fates


def untouched(truths: list[Truth]) -> Fates:
    """Every record is a document, with all that stood on its page."""
    return {
        truth.record: kept(
            truth,
            "\n".join(
                [
                    truth.text or "?",
                    truth.passage,
                    *(one for held in truth.private.values() for one in held),
                    *boilerplate(truth.declared, truth.host),
                ]
            ),
        )
        for truth in truths
    }


def artifact(path: Path, truths: list[Truth], fates: Fates) -> Path:
    """A corpus as the chain leaves it."""
    (path / "shards").mkdir(parents=True)
    documents.write(path / "shards/00000.parquet", [one for one in fates.values() if isinstance(one, Document)])
    for number, layer in enumerate(("ids", *LAYERS[1:])):
        (path / f"dropped/{number:02d}-{layer}").mkdir(parents=True)
        rows = [{"id": f"d/{record}", "reason": "so", "record": record} for record, end in fates.items() if end == layer]
        (path / f"dropped/{number:02d}-{layer}/00000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    crawl_truth.write(truths, path / "truth.jsonl")
    return path


def scores(path: Path, language: str = "", **options: object) -> Scores:
    """The suite's scores over all rows, or over those of one language; NaN where there is nothing to divide by."""
    suite = build("curation", LANGUAGES, **options)  # type: ignore[arg-type]
    samples = list(suite.samples(SuiteContext(hub=None, profile_dir=".", artifact=path)))
    assert not any(sample.requests for sample in samples)
    rows = [row for row in (suite.row(sample, ()) for sample in samples) if not language or row.language == language]
    assert len({row.sample for row in rows}) == len(rows)
    found = {}
    for metric in suite.metrics:
        above = sum(row.values[metric.numerator] for row in rows)
        below = sum(row.values[metric.denominator] for row in rows) if metric.denominator else len(rows)
        found[metric.name] = above / below if below else math.nan
        if metric.binary:
            assert all(
                row.values[metric.numerator] in (0, 1) and row.values[metric.numerator] <= row.values[metric.denominator] for row in rows
            )
    return found


def test_a_perfect_corpus_has_perfect_scores(truths: list[Truth], tmp_path: Path) -> None:
    found = scores(artifact(tmp_path / "a", truths, perfect(truths)))
    for name, value in found.items():
        if name.startswith(("recall", "precision")):
            assert value == 1.0 or (math.isnan(value) and name.endswith(("_pii", "_exact", "_lines", "_perplexity", "_quality"))), name
    assert found["right_layer"] == found["kept_clean"] == found["text_kept"] == found["present"] == 1.0
    assert found["purity"] > 0.97
    for name in ("text_strange", "boilerplate_left", "private_left", "contamination_left", "passages_left", "duplicates_left"):
        assert found[name] == 0.0, name
    assert 0 < found["share_near"] < 0.2
    assert found["share_pii"] == 0


def test_a_corpus_of_which_nothing_was_dropped_has_no_recall(truths: list[Truth], tmp_path: Path) -> None:
    found = scores(artifact(tmp_path / "a", truths, untouched(truths)))
    for name, value in found.items():
        if name.startswith("recall"):
            assert value == 0.0 or (math.isnan(value) and name.endswith(("_pii", "_by_exact", "_lines", "_perplexity"))), name
    assert (
        found["kept_clean"]
        == found["text_kept"]
        == found["private_left"]
        == found["contamination_left"]
        == found["boilerplate_left"]
        == 1.0
    )
    assert math.isnan(found["precision"])
    assert found["passages_left"] == 1.0
    assert found["text_strange"] > 0.2
    assert found["duplicates_left"] > 0.1
    assert found["purity"] < 0.985


def of(truths: list[Truth], kind: str) -> list[Truth]:
    return [truth for truth in truths if truth.kind == kind]


def _keep(kind: str) -> Callable[[list[Truth], Fates], None]:
    """The fault: pages of the kind stay as they are."""

    def fault(truths: list[Truth], fates: Fates) -> None:
        fates.update({truth.record: kept(truth, f"{truth.text or '?'}\n{truth.passage}") for truth in of(truths, kind)})

    return fault


def _lose_clean(truths: list[Truth], fates: Fates) -> None:
    fates.update({truth.record: "rules" for truth in of(truths, "")[::4]})


def _halve(truths: list[Truth], fates: Fates) -> None:
    fates.update({truth.record: kept(truth, truth.text[: len(truth.text) // 2]) for truth in of(truths, "")})


def _leave_private(truths: list[Truth], fates: Fates) -> None:
    for truth in of(truths, "private"):
        fates[truth.record] = kept(truth, f"{truth.text} {truth.private['email'][0]}")


def _leave_menus(truths: list[Truth], fates: Fates) -> None:
    for truth in of(truths, ""):
        fates[truth.record] = kept(truth, "\n".join([truth.text, *boilerplate(truth.declared, truth.host)[-4:]]))


def _leave_passages(truths: list[Truth], fates: Fates) -> None:
    fates.update({truth.record: kept(truth) for truth in of(truths, "passage")})


def _wrong_layer(truths: list[Truth], fates: Fates) -> None:
    fates.update({truth.record: "pii" for truth in of(truths, "mixed")})


def _lose_language(truths: list[Truth], fates: Fates) -> None:
    fates.update({record: "language" for record, end in fates.items() if isinstance(end, Document) and end.language == "jav"})


FAULTS: list[tuple[str, Callable[[list[Truth], Fates], None], str, tuple[float, float]]] = [
    *(
        (f"keep {kind}", _keep(kind), f"recall_{kind}", (0, 0))
        for kind in ("exact", "near", "url", "stuffing", "repetition", "links", "salad")
    ),
    *((f"keep {kind}", _keep(kind), f"recall_{kind}", (0, 0)) for kind in ("wrong_language", "mixed", "mojibake", "contaminated", "short")),
    *((f"keep {kind}", _keep(kind), f"recall_{kind}", (0, 0)) for kind in ("not_html", "missing")),
    ("keep near", _keep("near"), "duplicates_left", (0.05, 0.4)),
    ("keep near", _keep("near"), "recall_by_near", (0, 0.6)),
    ("keep wrong_language", _keep("wrong_language"), "purity", (0.5, 0.98)),
    ("keep contaminated", _keep("contaminated"), "contamination_left", (1, 1)),
    ("lose clean pages", _lose_clean, "precision", (0.5, 0.95)),
    ("lose clean pages", _lose_clean, "precision_of_rules", (0.1, 0.7)),
    ("lose clean pages", _lose_clean, "kept_clean", (0.7, 0.9)),
    ("lose clean pages", _lose_clean, "share_rules", (0.15, 0.5)),
    ("halve clean pages", _halve, "text_kept", (0.45, 0.65)),
    ("leave personal data", _leave_private, "private_left", (1, 1)),
    ("leave menus", _leave_menus, "boilerplate_left", (0.4, 0.8)),
    ("leave menus", _leave_menus, "text_strange", (0.05, 0.5)),
    ("leave passages", _leave_passages, "passages_left", (1, 1)),
    ("drop by another layer", _wrong_layer, "right_layer", (0.8, 0.99)),
    ("drop by another layer", _wrong_layer, "precision_of_pii", (0, 0)),
    ("lose a language", _lose_language, "present", (0.6, 0.7)),
]


@pytest.mark.parametrize(("fault", "metric", "between"), [pytest.param(f, m, b, id=f"{n}: {m}") for n, f, m, b in FAULTS])
def test_a_fault_moves_its_metric(
    truths: list[Truth], tmp_path: Path, fault: Callable[[list[Truth], Fates], None], metric: str, between: tuple[float, float]
) -> None:
    fates = perfect(truths)
    fault(truths, fates)
    value = scores(artifact(tmp_path / "a", truths, fates))[metric]
    assert between[0] - 1e-9 <= value <= between[1] + 1e-9, value


def test_a_language_that_is_lost_is_missed_in_its_own_rows(truths: list[Truth], tmp_path: Path) -> None:
    fates = perfect(truths)
    _lose_language(truths, fates)
    path = artifact(tmp_path / "a", truths, fates)
    assert [scores(path, iso)["present"] for iso in LANGUAGES] == [1.0, 1.0, 0.0]


# ----------------------------------------------------------------------------------------------------- what is right as well


def test_which_of_two_equal_texts_stays_is_the_layers_own_rule(truths: list[Truth], tmp_path: Path) -> None:
    fates, at = perfect(truths), {truth.record: truth for truth in truths}
    for truth in (*of(truths, "exact"), *of(truths, "near")):
        if sum(other.favour == truth.favour for other in truths) == 1:
            fates[truth.record], fates[truth.favour] = kept(truth), "near"
            assert at[truth.favour].kind == ""
    found = scores(artifact(tmp_path / "a", truths, fates))
    assert found["recall"] == found["precision"] == found["kept_clean"] == found["text_kept"] == 1.0


def test_the_shorter_capture_in_place_of_the_longest_is_wrong(truths: list[Truth], tmp_path: Path) -> None:
    fates = perfect(truths)
    for truth in of(truths, "url"):
        fates[truth.record], fates[truth.favour] = kept(truth), "url"
    found = scores(artifact(tmp_path / "a", truths, fates))
    assert found["recall_url"] == 0.0
    assert found["precision_of_url"] == 0.0


def test_a_page_under_its_own_language_or_without_its_evaluation_text_is_right(truths: list[Truth], tmp_path: Path) -> None:
    fates = perfect(truths)
    fates.update({truth.record: kept(truth, language=truth.language) for truth in of(truths, "wrong_language")})
    fates.update({truth.record: kept(truth) for truth in of(truths, "contaminated")})
    found = scores(artifact(tmp_path / "a", truths, fates))
    assert found["recall_wrong_language"] == found["recall_contaminated"] == found["recall"] == 1.0
    assert found["contamination_left"] == 0.0


def test_a_threshold_above_a_pairs_similarity_makes_it_no_duplicate(truths: list[Truth], tmp_path: Path) -> None:
    fates = perfect(truths)
    _keep("near")(truths, fates)
    found = scores(artifact(tmp_path / "a", truths, fates), threshold=1.0)
    assert math.isnan(found["recall_near"])
    assert found["duplicates_left"] == 0.0


# ---------------------------------------------------------------------------------------------------------------- measures


def test_duplicates_equal_a_comparison_of_all_pairs(truths: list[Truth]) -> None:
    texts = [truth.text for truth in truths if truth.declared == "tha" and truth.text]
    found = measures.duplicates({"tha": [Kept(id=str(at), text=text, language="tha") for at, text in enumerate(texts)]}, 0.7, len(texts))
    sets = [crawl_truth.shingles(text, "words") for text in texts]
    for at, own in enumerate(sets):
        assert found[str(at)] == any(crawl_truth.jaccard(own, other) >= 0.7 for place, other in enumerate(sets) if place != at)


def test_shares_of_text() -> None:
    assert measures.share("the boat left at dawn", "Then the boat  left\nat dawn, they say") == 1.0
    assert measures.share("the boat left at dawn", "nothing of the kind") == 0.0
    assert measures.share("", "whatever") == 0.0


def test_purity_counts_neighbours_as_right_and_others_as_wrong(truths: list[Truth]) -> None:
    english, thai = (next(truth.text for truth in truths if truth.declared == iso and truth.kind == "") for iso in ("eng", "tha"))
    (right, decided), (none, of_all) = measures.purity([(english, "eng"), (thai, "eng")])
    assert right == decided > 300
    assert none == 0 < of_all


# ------------------------------------------------------------------------------------------------------------------ refusals


def test_what_is_no_corpus_is_refused(truths: list[Truth], tmp_path: Path) -> None:
    suite = build("curation", LANGUAGES)
    with pytest.raises(SuiteError, match="was given none"):
        list(suite.samples(SuiteContext(hub=None, profile_dir=".")))
    with pytest.raises(SuiteError, match=r"truth\.jsonl cannot be read"):
        list(suite.samples(SuiteContext(hub=None, profile_dir=".", artifact=tmp_path)))
    crawl_truth.write(truths, tmp_path / "truth.jsonl")
    with pytest.raises(SuiteError, match="dropped/NN-LAYER"):
        list(suite.samples(SuiteContext(hub=None, profile_dir=".", artifact=tmp_path)))
    (tmp_path / "dropped/00-ids").mkdir(parents=True)
    with pytest.raises(SuiteError, match="of another crawl"):
        list(suite.samples(SuiteContext(hub=None, profile_dir=".", artifact=tmp_path)))


def test_a_crawl_without_a_language_is_refused(truths: list[Truth], tmp_path: Path) -> None:
    path = artifact(tmp_path / "a", truths, perfect(truths))
    with pytest.raises(SuiteError, match="no pages in lao"):
        list(build("curation", ("eng", "lao")).samples(SuiteContext(hub=None, profile_dir=".", artifact=path)))


# -------------------------------------------------------------------------------------------------------------- held-out examples


def held_out(path: Path, scored: dict[str, tuple[list[float], list[float]]]) -> Path:
    """Scores of good and bad examples by language, as the layer leaves them."""
    rows = [
        {"language": iso, "positive": positive, "score": score, "excerpt": "..."}
        for iso, both in scored.items()
        for positive, own in zip((True, False), both, strict=True)
        for score in own
    ]
    (path / "facts/06-quality").mkdir(parents=True)
    (path / "facts/06-quality/held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


SCORES = st.lists(st.integers(0, 8), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_the_mean_over_hands_is_scikit_learns_area(good: list[int], bad: list[int]) -> None:
    from sklearn.metrics import roc_auc_score

    found = hands(good, bad)
    assert len(found) == min(len(good), len(bad))
    assert np.mean(found) == pytest.approx(roc_auc_score([1] * len(good) + [0] * len(bad), [*good, *bad]), abs=1e-12)


@given(st.integers(0, 10_000), st.integers(2, 20))
def test_the_variance_of_that_mean_is_delongs(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    good, bad = rng.normal(1, 1, count), rng.normal(0, 1, count)
    placed_good = [np.mean([(one > other) for other in bad]) for one in good]  # DeLong's structural components, by loops
    placed_bad = [np.mean([(other > one) for other in good]) for one in bad]
    both = np.var(placed_good, ddof=1) / count + np.var(placed_bad, ddof=1) / count
    covariance = 2 * np.cov(placed_good, placed_bad)[0, 1] / count  # of the two samples' parts: nought but for how they were paired
    assert np.var(hands(list(good), list(bad)), ddof=1) / count == pytest.approx(both + covariance, abs=1e-12)


def test_the_error_of_the_area_is_that_of_new_examples() -> None:
    """Over many draws of 36 good and 15 bad examples: the estimated variance is the variance of the area, within its own error."""
    rng = np.random.default_rng(1)
    drawn = [hands(list(rng.normal(1.2, 1, 36)), list(rng.normal(0, 1, 15))) for _ in range(2_000)]
    areas, variances = [np.mean(one) for one in drawn], [np.var(one, ddof=1) / len(one) for one in drawn]
    assert np.mean(variances) / np.var(areas) == pytest.approx(1, abs=0.15)


def test_the_classifiers_area_is_taken_from_its_held_out_scores(truths: list[Truth], tmp_path: Path) -> None:
    path = held_out(artifact(tmp_path / "a", truths, perfect(truths)), {iso: ([0.9, 0.8, 0.3], [0.1, 0.4]) for iso in LANGUAGES})
    assert scores(path, auc=True)["auc"] == pytest.approx(5 / 6)
    assert scores(path, "tha", auc=True)["auc"] == pytest.approx(5 / 6)
    without = {name: value for name, value in scores(path).items() if not math.isnan(value)}
    assert without.items() <= scores(path, auc=True).items()  # the pairs' rows move no other metric


def test_a_classifier_without_mistakes_passes_and_one_that_guesses_fails(truths: list[Truth], tmp_path: Path) -> None:
    """A constant would be inconclusive, were it not the ceiling: its pairs are trials."""
    suite = build("curation", LANGUAGES, auc=True)
    (metric,) = [one for one in suite.metrics if one.name == "auc"]
    for name, good, sides in (("right", [0.9] * 20, (0.9, 1.0)), ("guesses", [0.9, 0.1] * 10, (0.3, 0.7))):
        path = held_out(
            artifact(tmp_path / name, truths, perfect(truths)),
            {iso: (good, [0.1, 0.9] * 5 if name == "guesses" else [0.1] * 10) for iso in LANGUAGES},
        )
        samples = suite.samples(SuiteContext(hub=None, profile_dir=".", artifact=path))
        found = estimate(Rows.of([suite.row(sample, ()) for sample in samples]), metric, LANGUAGES)
        assert found.clusters == 30
        assert sides[0] < found.lower() <= found.value <= found.upper() <= sides[1]


def test_a_corpus_that_no_classifier_saw_has_no_area(truths: list[Truth], tmp_path: Path) -> None:
    path = artifact(tmp_path / "a", truths, perfect(truths))
    assert math.isnan(scores(path, auc=True)["auc"])
    held_out(path, {"eng": ([0.9], [0.1])})
    assert math.isnan(scores(path, "tha", auc=True)["auc"])
    next(path.glob("facts/*/held_out.jsonl")).write_text('{"language": "eng", "positive": true, "score": NaN, "excerpt": ""}\n')
    with pytest.raises(SuiteError, match=r"held_out\.jsonl, line 1: its score is nan"):
        scores(path, auc=True)


@pytest.mark.parametrize(
    ("options", "said"), [({"layers": ("sift",)}, "no layer 'sift'"), ({"threshold": 0}, "threshold 0"), ({"compared": 1}, "compared 1")]
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        load(SuiteSpec(suite="curation", languages=LANGUAGES, options=options), "curation")
    with pytest.raises(SuiteError, match="no language 'xyz'"):
        build("curation", ("xyz",))


def test_the_suite_asks_no_model(truths: list[Truth]) -> None:
    assert build("curation", LANGUAGES).needs_model is False
    assert dataclasses.replace(SuiteContext(hub=None, profile_dir=".")).artifact is None
