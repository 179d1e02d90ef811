"""The profiles `sailor2-1b`, `sailor2-8b` and `sailor2-20b`: the paper's recipes on the user's text, judged by change from stage to stage.

SEATRIALS_CORPUS names the directory of the text (default: `corpus` where the command is given); `training/recipes/sailor2.py` lists its
files, and `--gate-dry-run` which of them are missing. A base that cannot be fetched may lie in it too, as `Qwen/Qwen2.5-7B/`. Stages
cost days: only what `--gate-build STAGE` names is built, and `adopt` takes a checkpoint made elsewhere. `curation` is the parent of no stage:
its corpus, once certified, is written out as the files of stages 1 and 2 (`training/recipes/sailor2_files.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

from harness import goldens
from harness.profiles import Profile, StageEntry
from harness.suites import SuiteSpec
from training.cost import Cost, cost
from training.curation.cost import corpus_cost
from training.recipe import encode
from training.recipes import sailor2

CORPUS = "SEATRIALS_CORPUS"
GPUS = 64  # of the plan's expected minutes, H100-class at 40 %; the paper does not say what it used
CORES = 64  # likewise of curation's, were all of it done side by side
# The language codes of lm-eval's tasks. XCOPA has four of our languages, Belebele all.
XCOPA = {"tha": "th", "vie": "vi", "ind": "id", "cmn": "zh"}
BELEBELE = {
    "eng": "eng_Latn", "cmn": "zho_Hans", "vie": "vie_Latn", "ind": "ind_Latn", "tha": "tha_Thai", "mya": "mya_Mymr", "zsm": "zsm_Latn",
    "tgl": "tgl_Latn", "khm": "khm_Khmr", "jav": "jav_Latn", "sun": "sun_Latn", "ceb": "ceb_Latn", "ilo": "ilo_Latn", "lao": "lao_Laoo",
    "war": "war_Latn",
}  # fmt: skip

SAILCOMPASS = {
    "xcopa": ("ind", "tha", "vie"),
    "belebele": ("ind", "tha", "vie"),
    "xquad": ("tha", "vie"),
    "tydiqa": ("ind",),
}  # of Table 11


def _texts(languages: tuple[str, ...], kind: str) -> dict[str, list[object]]:
    source = {"held_out": sailor2.held_out, "trigram": sailor2.trigram}[kind]
    return {language: [encode(source(language))] for language in languages}


SUITES = {
    "perplexity": SuiteSpec(
        suite="perplexity",
        languages=sailor2.LANGUAGES,
        options={
            "sources": _texts(sailor2.LANGUAGES, "held_out"),
            "trigram": _texts(sailor2.BASE_LANGUAGES, "trigram"),
            "window": sailor2.SEQUENCE,
            "quick": 100,
        },
    ),
    "identity": SuiteSpec(
        suite="identity",
        languages=sailor2.BASE_LANGUAGES,
        options={"sources": _texts(sailor2.BASE_LANGUAGES, "held_out")},
        reference="parent",
        stages=("expand",),
    ),
    # Generation is asked of the stages that are trained; each language is continued from the first half of held-out documents.
    "language": SuiteSpec(
        suite="language",
        languages=sailor2.LANGUAGES,
        options={"mode": "continue", "sources": _texts(sailor2.LANGUAGES, "held_out"), "count": 100, "quick": 60},
        stages=("stage1", "stage2"),
    ),
    "translation": SuiteSpec(
        suite="flores200",
        languages=(*sailor2.STAGE1_NEW, *sailor2.STAGE2_NEW),
        options={"quick": 200},
        stages=("stage1", "stage2"),
    ),
    "mathematics": SuiteSpec(suite="retention", languages=("eng",), options={"part": "mathematics", "quick": 600}),
    "knowledge": SuiteSpec(suite="retention", languages=("eng",), options={"part": "knowledge", "quick": 40}),
    # lm-eval's prompts, not those of the paper (SailCompass): never held against a published figure.
    "xcopa": SuiteSpec(
        suite="lm_eval:xcopa", languages=tuple(XCOPA), options={"tasks": {language: f"xcopa_{code}" for language, code in XCOPA.items()}}
    ),
    "belebele": SuiteSpec(
        suite="lm_eval:belebele",
        languages=tuple(BELEBELE),
        options={"tasks": {language: f"belebele_{code}" for language, code in BELEBELE.items()}},
    ),
    # IFEval without a chat template: these are base models.
    "instructions": SuiteSpec(suite="retention", languages=("eng",), options={"part": "instructions", "chat": False, "quick": 300}),
    # Left out where the environment does not allow code of a model to run (HF_ALLOW_CODE_EVAL=1).
    "code": SuiteSpec(suite="retention", languages=("eng",), options={"part": "code", "confirm_run_unsafe_code": True, "quick": 164}),
    "ruler": SuiteSpec(
        suite="ruler", languages=("eng",), options={"lengths": [4096], "count": 100, "quick": 20}, stages=("base", "stage2")
    ),
    "ruler_sea": SuiteSpec(
        suite="ruler-sea", languages=sailor2.STAGE1_NEW, options={"lengths": [4096], "count": 20, "quick": 10}, stages=("stage1", "stage2")
    ),
    # A crawl of which no truth is known. Every layer that drops has its share: `quality` says a score, `pii` masks.
    "curation": SuiteSpec(
        suite="curation",
        languages=sailor2.CRAWLED,
        options={
            "truth": False,
            "layers": ["url", "lines", "language", "rules", "perplexity", "near", "exact", "decontaminate"],
            "threshold": sailor2.ALIKE,
            "documents": 5_000,
            "compared": 5_000,
            "asked": 0.5,
            "auc": True,
        },
        stages=("curation",),
    ),
    # SailCompass's own prompts, the only ones that a published figure is held against; left out without --gate-originals.
    **{
        f"sailcompass_{task}": SuiteSpec(
            suite="sailcompass", languages=languages, options={"task": task, "originals": "given", "quick": 1200}, stages=("stage2",)
        )
        for task, languages in SAILCOMPASS.items()
    },
}


CURATION = sailor2.curation()


def _minutes(of: Cost) -> float:
    return 60 * of.hours(GPUS)


def of_size(size: str) -> Profile:
    """The profile of a size: 1b, 8b or 20b."""
    base, expand, stage1, stage2 = sailor2.base(size), sailor2.expand(size), sailor2.stage1(), sailor2.stage2()
    expanded = cost(expand, cost(base))
    corpus = corpus_cost(CURATION.chain, sailor2.CRAWL_BYTES, sailor2.LEAVES, sailor2.CRAWL_WHY)
    return Profile(
        name=f"sailor2-{size}",
        languages=sailor2.LANGUAGES,
        stages={
            "curation": StageEntry(recipe=CURATION, minutes=60 * corpus.core_hours / CORES, corpus=corpus),
            "base": StageEntry(recipe=base, adds=sailor2.BASE_LANGUAGES),
            "expand": StageEntry(recipe=expand),
            "stage1": StageEntry(recipe=stage1, adds=sailor2.STAGE1_NEW, minutes=_minutes(cost(stage1, expanded))),
            "stage2": StageEntry(recipe=stage2, adds=sailor2.STAGE2_NEW, minutes=_minutes(cost(stage2, expanded))),
        },
        suites=SUITES,
        gates=goldens.gates(f"sailor2-{size}"),
        directory=Path(os.environ.get(CORPUS) or "corpus").expanduser().absolute(),
        build="named",
        dtype="bfloat16",
    )


profile_1b, profile_8b, profile_20b = of_size("1b"), of_size("8b"), of_size("20b")
