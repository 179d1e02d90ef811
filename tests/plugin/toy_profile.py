"""A profile outside the package, small enough to train in seconds: what the plugin's tests run pytest inside pytest on.

Environment variables turn it into the cases under test: TOY_GATES (a gates file), TOY_BREAK (a stage whose build fails), TOY_LONG (so many
times the tokens of stage 1), TOY_HUB (English is judged on a data set of a mirror), TOY_SAMPLES (what is judged where no option says it), TOY_BUILD
(`named`: what is built).
"""

import dataclasses
import os
from pathlib import Path

from harness.profiles import Profile, StageEntry, Variant
from harness.suites import SuiteSpec
from training.recipe import (
    Architecture,
    ContinuePretraining,
    ExpandBlocks,
    FromScratch,
    HubText,
    Optimisation,
    Portion,
    Source,
    TextFiles,
    WorldText,
    encode,
)

HERE = Path(__file__).parent
OLD, NEW = ("eng",), ("ind",)
LANGUAGES = (*OLD, *NEW)


def portion(language: str, tokens: int) -> Portion:
    return Portion(name=language, language=language, tokens=tokens, sources=(WorldText(language=language, documents=200, seed=1),))


base = FromScratch(
    architecture=Architecture(vocabulary=512, hidden=32, intermediate=64, layers=2, heads=2, kv_heads=1, context=128),
    tokenizer_sources=tuple(WorldText(language=language, documents=60, seed=9) for language in LANGUAGES),
    portions=(portion("eng", 24_000),),
    optimisation=Optimisation(learning_rate=1e-2, decay="cosine", final_fraction=0.1, epsilon=1e-8),
    sequence=128,
    batch=8,
)
stage1 = ContinuePretraining(
    portions=(portion("eng", 8_000), portion("ind", 16_000)),
    optimisation=Optimisation(learning_rate=1e-2, epsilon=1e-8),
    sequence=128,
    batch=8,
)
if longer := int(os.environ.get("TOY_LONG", "0")):
    stage1 = dataclasses.replace(stage1, portions=tuple(dataclasses.replace(each, tokens=each.tokens * longer) for each in stage1.portions))
gone = Portion(name="gone", language="ind", tokens=8, sources=(TextFiles(path="no/such.jsonl", language="ind"),))
peeked = Portion(name="ind", language="ind", tokens=8_000, sources=(WorldText(language="ind", documents=40, split="held_out"),))
planted = dataclasses.replace(stage1, optimisation=dataclasses.replace(stage1.optimisation, learning_rate=0.0))
match os.environ.get("TOY_BREAK"):
    case "stage1":
        stage1 = dataclasses.replace(stage1, portions=(gone,))
    case "overlap":
        stage1 = dataclasses.replace(stage1, portions=(peeked,))
    case "defect":
        planted = dataclasses.replace(planted, portions=(gone,))

held_out: dict[str, Source] = {language: WorldText(language=language, documents=40, split="held_out") for language in LANGUAGES}
if "TOY_HUB" in os.environ:
    held_out["eng"] = HubText(dataset="harbour/news", config="eng", split="test", language="eng", licence="Apache-2.0", field="text")

profile = Profile(
    name="toy",
    samples=os.environ.get("TOY_SAMPLES", "full"),
    build=os.environ.get("TOY_BUILD", "auto"),
    languages=LANGUAGES,
    stages={
        "base": StageEntry(recipe=base, adds=OLD),
        "expand": StageEntry(recipe=ExpandBlocks(new_blocks=1)),
        "stage1": StageEntry(recipe=stage1, adds=NEW),
    },
    suites={
        "perplexity": SuiteSpec(
            suite="perplexity",
            languages=LANGUAGES,
            options={
                "sources": {language: [encode(source)] for language, source in held_out.items()},
                "quick": 12,  # of 20 documents of each of two strata
            },
        ),
        "choice": SuiteSpec(suite="choice", languages=LANGUAGES, options={"count": 24}),
    },
    gates=Path(os.environ.get("TOY_GATES", HERE / "toy_gates.toml")),
    directory=HERE,
    variants={
        "stage1@rate0": Variant(
            stage="stage1",
            recipe=planted,
            expect_red=("stage1.learns.ind",),
        ),
    },
)
