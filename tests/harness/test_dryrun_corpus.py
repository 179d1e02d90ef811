"""The gates on the corpus of the paper's profiles: what a crawl as chapter 3 has it passes, and what turns each red."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness import profiles
from harness.profiles import Profile
from harness.rows import Rows
from harness.suites import Row
from tests.harness.profile_kit import SIZES, loaded, verdicts
from training.recipes import sailor2


@pytest.fixture(params=SIZES)
def profile(request: pytest.FixtureRequest) -> Profile:
    return profiles.load(request.param)


DROPS = ("url", "lines", "language", "rules", "perplexity", "near", "exact", "decontaminate")
# A crawl as chapter 3 has it: half goes by URL (3.3), hardly a document of which only frequent lines are left, the rest moderate.
TAKEN = {"url": 0.5, "lines": 0.01, "language": 0.1, "rules": 0.2, "perplexity": 0.1, "near": 0.2, "exact": 0.01, "decontaminate": 0.0}


def corpus_rows(amiss: Mapping[str, float] | None = None, languages: tuple[str, ...] = sailor2.CRAWLED) -> Rows:
    """What the suite says of a corpus: a row a document that reached the chain, and the others; `amiss` changes the shares and the rest."""
    told = {**TAKEN, "pure": 1.0, "private": 0.0, "asked": 0.0, "alike": 0.002, "auc": 0.96, **(amiss or {})}
    columns = [f"{kind}_by_{layer}" for kind in ("seen", "dropped") for layer in DROPS]
    columns += ["own_characters", "decided_characters", "private", "private_left", "compared", "duplicates_left", "wanted", "present"]
    columns += ["held_against", "evaluation_left"]
    nought = dict.fromkeys([*columns, "auc", "told_apart"], 0.0)
    found = []
    for language in sailor2.CRAWLED:
        documents, values = 600 if language in languages else 0, []
        left = list(range(documents))
        for place, layer in enumerate(DROPS):
            gone = round(told[layer] * len(left))
            values += [{f"seen_by_{one}": 1.0 for one in DROPS[: place + 1]} | {f"dropped_by_{layer}": 1.0}] * gone
            left = left[gone:]
        seen = {f"seen_by_{one}": 1.0 for one in DROPS}
        for number in range(len(left)):
            text = {"decided_characters": 1000.0, "own_characters": 1000 * told["pure"] - 10 * (number % 2), "private": 1.0}
            text |= {"held_against": 1.0, "evaluation_left": float(number < told["asked"] * len(left))}
            values.append({**seen, **text, "private_left": float(number < told["private"] * len(left))})
        values += [{"compared": 1.0, "duplicates_left": float(number < told["alike"] * documents)} for number in range(documents)]
        values += [{"told_apart": 1.0, "auc": float(number < told["auc"] * 100)} for number in range(100)]
        values += [{"wanted": 1.0, "present": float(bool(documents))}] * 20
        for number, one in enumerate(values):
            found.append(Row(sample=f"{language}/{number}", cluster=f"{language}/{number}", language=language, values=nought | one))
    return Rows.of(found)


def of_the_corpus(profile: Profile, rows: Rows) -> dict[str, str]:
    made = verdicts(profile, "curation", lambda which, suite: rows)
    return {name.removeprefix("curation."): verdict for name, verdict in made.items()}


def test_a_corpus_as_chapter_3_has_it_passes(profile: Profile) -> None:
    assert set(of_the_corpus(profile, corpus_rows()).values()) == {"pass"}


def test_every_layer_that_drops_has_a_share_and_a_gate(profile: Profile) -> None:
    """The classifier says a score and personal data is masked: those two drop nothing."""
    dropping = {layer.name for layer in sailor2.curation().chain.layers} - {"quality", "pii"}
    assert set(DROPS) == dropping == set(profile.suites["curation"].options["layers"])
    gated = {gate.metric.removeprefix("share_") for gate in loaded(profile) if gate.metric.startswith("share_")}
    assert gated == dropping
    assert profile.suites["curation"].languages == sailor2.CRAWLED
    assert profile.suites["curation"].options["threshold"] == sailor2.ALIKE


@pytest.mark.parametrize(
    ("amiss", "seen"),
    [
        ({"url": 0.1}, "least_url"),
        ({"url": 0.9}, "most_url"),
        ({"lines": 0.1}, "most_lines"),
        ({"language": 0.7}, "most_language"),
        ({"rules": 0.0}, "least_rules"),
        ({"rules": 0.7}, "most_rules"),
        ({"perplexity": 0.5}, "most_perplexity"),
        ({"near": 0.0}, "least_near"),
        ({"near": 0.8}, "most_near"),
        ({"exact": 0.2}, "most_exact"),
        ({"decontaminate": 0.05}, "most_decontaminate"),
        ({"alike": 0.03}, "unique"),
        ({"pure": 0.95}, "pure"),
        ({"private": 0.03}, "private"),
        ({"asked": 0.03}, "uncontaminated"),
        ({"auc": 0.8}, "tells_quality"),
    ],
)
def test_a_corpus_gone_wrong_is_red(amiss: dict[str, float], seen: str) -> None:
    found = of_the_corpus(profiles.load("sailor2-8b"), corpus_rows(amiss))
    assert {name for name, verdict in found.items() if verdict == "fail"} == {f"{seen}.macro"}


def test_a_language_that_was_lost_is_red() -> None:
    found = of_the_corpus(profiles.load("sailor2-8b"), corpus_rows(languages=tuple(one for one in sailor2.CRAWLED if one != "lao")))
    assert found["present.lao"] == "fail"
    assert found["present.war"] == "pass"
