"""The profile `nano`: everything embedded, nothing downloaded, minutes on two cores. It shows all of Seatrials at work."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from harness import goldens
from harness.profiles import Profile, StageEntry, Variant
from harness.suites import SuiteSpec
from training.recipe import WorldText, encode
from training.recipes import defects, nano

HELD_OUT = 120  # stories a language, half of each stratum, the same in every language
ITEMS = 60


def _texts(documents: int, split: str, seed: int, languages: tuple[str, ...]) -> dict[str, list[object]]:
    return {
        language: [encode(WorldText(language=language, documents=documents, split=split, seed=seed))]  # type: ignore[arg-type]
        for language in languages
    }


SUITES = {
    "perplexity": SuiteSpec(
        suite="perplexity",
        languages=nano.LANGUAGES,
        options={"sources": _texts(HELD_OUT, "held_out", 0, nano.LANGUAGES), "trigram": _texts(400, "train", 1, nano.LANGUAGES)},
    ),
    "choice": SuiteSpec(suite="choice", languages=nano.LANGUAGES, options={"items": "training.world.items:choice_items", "count": ITEMS}),
    "cause": SuiteSpec(suite="choice", languages=nano.LANGUAGES, options={"items": "training.world.items:cause_items", "count": ITEMS}),
    # Stories are gone on with, each in its language: what a bits-per-byte gate cannot see is which neighbour a model slips into.
    "language": SuiteSpec(
        suite="language", languages=nano.LANGUAGES, options={"mode": "continue", "count": 30, "max_tokens": 32}, stages=("stage1", "stage2")
    ),
    "isolation": SuiteSpec(suite="isolation", languages=("eng",), stages=("base", "stage1", "stage2")),
    "mixture": SuiteSpec(suite="mixture", languages=nano.LANGUAGES, stages=("stage1", "stage2")),
    "identity": SuiteSpec(
        suite="identity",
        languages=nano.BASE,
        options={"sources": _texts(30, "held_out", 1, nano.BASE)},
        reference="parent",
        stages=("expand",),
    ),
    "curation": SuiteSpec(
        suite="curation",
        languages=nano.LANGUAGES,
        options={
            "layers": ["url", "lines", "rules", "language", "perplexity", "quality", "near", "exact", "decontaminate", "pii"],
            "auc": True,
        },
        stages=("curation",),
    ),
}

_curation, _stage1, _stage2 = nano.curation(), nano.stage1(), nano.stage2()

profile = Profile(
    name="nano",
    languages=nano.LANGUAGES,
    stages={
        "curation": StageEntry(recipe=_curation, minutes=1.5),
        "base": StageEntry(recipe=nano.base(), adds=nano.BASE, minutes=1.5),
        "expand": StageEntry(recipe=nano.expand(), minutes=0.3),
        "stage1": StageEntry(recipe=_stage1, adds=nano.STAGE1_NEW, minutes=2.5),
        "stage2": StageEntry(recipe=_stage2, adds=nano.STAGE2_NEW, minutes=2.0),
    },
    suites=SUITES,
    gates=goldens.gates("nano"),
    directory=Path(__file__).parent,
    # Sentences are patterns: a held-out one differs from trained ones in its words for people and towns alone, of two names that end alike in a
    # few bytes at its beginning.
    overlap=0.98,
    overlap_window=100,
    variants={
        # Planted defects (promise 7): each must turn these gates red, and every kind of gate is turned red by one of them (a test counts).
        "curation@bare": Variant(
            stage="curation",
            recipe=defects.only(_curation, "url"),
            expect_red=(
                "curation.drops.macro",
                "curation.finds_rules.macro",
                "curation.finds_language.macro",
                "curation.finds_quality.macro",
                "curation.finds_near.macro",
                "curation.finds_decontaminate.macro",
                "curation.least_rules.macro",
                "curation.least_language.macro",
                "curation.least_perplexity.macro",
                "curation.least_quality.macro",
                "curation.least_near.macro",
                "curation.unique.macro",
                "curation.pure.macro",
                "curation.uncontaminated.macro",
                "curation.private.macro",
                "curation.plain.macro",
            ),
        ),
        "curation@no_url": Variant(
            stage="curation",
            recipe=defects.without_layer(_curation, "url"),
            expect_red=("curation.finds_url.macro", "curation.least_url.macro"),
        ),
        "curation@no_exact": Variant(
            stage="curation", recipe=defects.without_layer(_curation, "exact"), expect_red=("curation.cuts_passages.macro",)
        ),
        "curation@strict": Variant(
            stage="curation",
            recipe=nano.strict(_curation),
            expect_red=(
                "curation.keeps.macro",
                "curation.most_perplexity.macro",
                "curation.most_quality.macro",
                "curation.most_decontaminate.macro",
            ),
        ),
        "curation@spam": Variant(
            stage="curation", recipe=nano.spam(_curation), expect_red=("curation.most_url.macro", "curation.most_rules.macro")
        ),
        "curation@no_war": Variant(
            stage="curation",
            recipe=defects.filing_out(_curation, "war"),
            expect_red=("curation.present.macro", "curation.keeps.war", "curation.most_language.macro"),
        ),
        "curation@greedy": Variant(
            stage="curation",
            recipe=nano.greedy(_curation),
            expect_red=(
                "curation.drops_rightly.macro",
                "curation.keeps.macro",
                "curation.most_near.macro",
            ),
        ),
        "curation@junk_for_good": Variant(
            stage="curation", recipe=nano.junk_for_good(_curation), expect_red=("curation.tells_quality.macro",)
        ),
        "curation@cut": Variant(
            stage="curation", recipe=nano.cut_short(_curation), expect_red=("curation.keeps_text.macro", "curation.most_exact.macro")
        ),
        "base@rate0": Variant(
            stage="base", recipe=defects.rate_zero(nano.base()), expect_red=("base.beats_trigram.eng", "base.beats_trigram.cmn")
        ),
        "expand@o_proj": Variant(
            stage="expand",
            recipe=dataclasses.replace(nano.expand(), zeroed=("down_proj",)),
            expect_red=("expand.identity.eng", "expand.identity.cmn", "expand.same_bits.eng", "expand.same_bits.cmn"),
        ),
        "stage1@rate0": Variant(
            stage="stage1",
            recipe=defects.rate_zero(_stage1),
            expect_red=("stage1.learns.macro", "stage1.learns_patterns.macro", "stage1.learns.vie", "stage1.stays.macro"),
        ),
        "stage1@no_khm": Variant(
            stage="stage1",
            recipe=defects.without(_stage1, "khm"),
            expect_red=("stage1.learns.khm", "stage1.beats_trigram.khm", "stage1.mixed.khm"),
        ),
        "stage1@no_replay": Variant(
            stage="stage1",
            recipe=defects.without(_stage1, *nano.BASE),
            expect_red=("stage1.keeps.eng", "stage1.keeps.cmn"),
        ),
        "stage1@worn": Variant(stage="stage1", recipe=defects.weighed(_stage1, "ind", 0.8), expect_red=("stage1.not_worn.ind",)),
        "stage1@labels": Variant(
            stage="stage1",
            recipe=dataclasses.replace(_stage1, label_shift=2),
            expect_red=("stage1.beats_trigram.vie", "stage1.keeps.eng", "stage1.keeps.cmn", "stage1.keeps_choice.macro"),
        ),
        "stage1@no_isolation": Variant(
            stage="stage1", recipe=dataclasses.replace(_stage1, document_isolation=False), expect_red=("stage1.isolated.eng",)
        ),
        "stage1@tokenizer": Variant(
            stage="stage1",
            recipe=dataclasses.replace(_stage1, swapped_tokenizer=True),
            expect_red=("stage1.beats_trigram.vie", "stage1.keeps.eng"),
        ),
        "stage2@rate0": Variant(
            stage="stage2", recipe=defects.rate_zero(_stage2), expect_red=("stage2.learns.macro", "stage2.learns.sun", "stage2.stays.macro")
        ),
        "stage2@no_sun": Variant(
            stage="stage2",
            recipe=defects.without(_stage2, "sun"),
            expect_red=("stage2.learns.sun", "stage2.beats_trigram.sun", "stage2.mixed.sun"),
        ),
        "stage2@replay0": Variant(
            stage="stage2", recipe=nano.without_replay(_stage2), expect_red=("stage2.keeps.macro", "stage2.keeps.eng")
        ),
        "stage2@worn": Variant(stage="stage2", recipe=defects.weighed(_stage2, "sun", 0.95), expect_red=("stage2.not_worn.sun",)),
        "stage2@labels": Variant(
            stage="stage2",
            recipe=dataclasses.replace(_stage2, label_shift=2),
            expect_red=("stage2.keeps.macro", "stage2.keeps_choice.macro"),
        ),
        "stage2@no_isolation": Variant(
            stage="stage2", recipe=dataclasses.replace(_stage2, document_isolation=False), expect_red=("stage2.isolated.eng",)
        ),
    },
)
