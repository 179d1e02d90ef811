"""The recipes of the profile `nano`: the paper's four stages at 1.3 million parameters, on the embedded small world.

`base` reads the world itself, as a model made elsewhere had text of its own; the stages after it read what curation leaves of a crawl of it, but
for English and Chinese.

The mixture of stage 1 is RegMix's (3.4): what 96 proxy runs on the world's text speak for. `python -m training.curation.regmix.nano` wrote the files
in nano_mixture/: the proxies' mixtures and losses, the raw shares, mixture.csv, and mixture.json, which says how. The shares of stage 2 follow Table 5 under a temperature, as the smallest
language would else be a few hundred tokens: a language of share s gets s ** 0.25 (normalised). Rates are scaled to the model; their ratio is the
paper's idea (high, then annealed), not its numbers.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from training.curation.decontaminate import Decontaminate
from training.curation.exact import Exact
from training.curation.language import LanguageFilter
from training.curation.lines import Lines
from training.curation.near import Near
from training.curation.perplexity import Perplexity
from training.curation.pii import Pii
from training.curation.quality import Quality
from training.curation.regmix.files import read_mixture
from training.curation.rules import Rules
from training.curation.settings import Curation
from training.curation.sources import Origin, Sources
from training.curation.url import Url
from training.recipe import (
    Architecture,
    ContinuePretraining,
    CurateCorpus,
    CuratedText,
    ExpandBlocks,
    FromScratch,
    Optimisation,
    Portion,
    Source,
    WorldText,
)
from training.recipes.defects import with_settings
from training.world.crawl import Crawl

BASE = ("eng", "cmn")
STAGE1 = (*BASE, "vie", "ind", "tha", "mya", "zsm", "tgl", "khm")  # Table 4
MIXTURE = Path(__file__).with_name("nano_mixture") / "mixture.csv"
# Table 5, high-quality effective tokens in billions, without replay and English instructions.
TABLE_5 = {
    "vie": 10.9, "ind": 12.8, "tha": 13.9, "mya": 2.8, "zsm": 1.3, "tgl": 2.2, "khm": 0.9,
    "war": 0.02, "ilo": 0.05, "jav": 0.17, "lao": 0.33, "ceb": 0.30, "sun": 0.09,
}  # fmt: skip
STAGE1_NEW = tuple(language for language in STAGE1 if language not in BASE)
STAGE2_NEW = tuple(language for language in TABLE_5 if language not in STAGE1)
LANGUAGES = (*STAGE1, *STAGE2_NEW)

REPLAY = 0.20  # 4.4.2: 20 % of stage 2 is drawn from stage 1's mixture
INSTRUCTIONS = 2.5 / 60  # Table 5: English instruction data
BASE_TOKENS, STAGE1_TOKENS, STAGE2_TOKENS = 600_000, 700_000, 500_000
DOCUMENTS = 4_000  # distinct documents of the world a language: more than is read of them
PAGES = 800  # of the crawl a language: some 550 are left, 90,000 to 300,000 tokens, which stage 1 reads .2 to 1.4 times
EXAMPLES_SEED = 501  # of the quality classifier's examples: text that nothing else reads


def _portion(language: str, tokens: float, source: Source, name: str = "") -> Portion:
    return Portion(name=name or language, language=language, tokens=round(tokens), sources=(source,))


def _world(language: str, seed: int) -> WorldText:
    return WorldText(language=language, documents=DOCUMENTS, seed=seed)


def _stage1_text(language: str) -> Source:
    """As in Table 4: English and Chinese are replayed from corpora that others curated, the rest is what our crawl leaves."""
    return _world(language, seed=2) if language in BASE else CuratedText(language=language)


def _mixture() -> dict[str, float]:
    """Language -> its share of stage 1."""
    found = read_mixture(MIXTURE)
    return {language: found[language] for language in STAGE1}


def base(seed: int = 0) -> FromScratch:
    """A Qwen2-architecture model of 1.3M parameters on English and Chinese; its tokenizer knows all 15 languages."""
    return FromScratch(
        architecture=Architecture(vocabulary=4096, hidden=128, intermediate=384, layers=4, heads=4, kv_heads=2, tied=True, context=512),
        tokenizer_sources=tuple(WorldText(language=language, documents=400, seed=9) for language in LANGUAGES),
        portions=tuple(_portion(language, BASE_TOKENS / 2, _world(language, seed=1)) for language in BASE),
        optimisation=Optimisation(
            learning_rate=3e-3, decay="cosine", final_fraction=0.1, warmup_fraction=0.05, weight_decay=0.1, epsilon=1e-8
        ),
        sequence=512,
        batch=2,
        seed=seed,
    )


def expand() -> ExpandBlocks:
    """Two new blocks in four: the depth ratio between Sailor2-8B (4 in 28) and Sailor2-20B (16 in 48) and 1B (24 in 24)."""
    return ExpandBlocks(new_blocks=2)


def stage1(seed: int = 0) -> ContinuePretraining:
    """Nine languages (Table 4), high rate. The paper's is constant; at a few hundred steps the noise of a constant rate hides what was kept."""
    return ContinuePretraining(
        portions=tuple(_portion(language, STAGE1_TOKENS * share, _stage1_text(language)) for language, share in _mixture().items()),
        optimisation=Optimisation(learning_rate=2e-3, decay="cosine", final_fraction=0.1, warmup_fraction=0.05, epsilon=1e-8),
        sequence=512,
        batch=2,
        seed=seed + 1,
    )


def stage2(seed: int = 0) -> ContinuePretraining:
    """All languages: 20 % replay of stage 1, English instructions, and Table 5; annealed."""
    replay = tuple(
        _portion(language, STAGE2_TOKENS * REPLAY * share, _stage1_text(language), name=f"replay.{language}")
        for language, share in _mixture().items()
    )
    instructions = _portion("eng", STAGE2_TOKENS * INSTRUCTIONS, _world("eng", seed=3), name="instructions.eng")
    rest = STAGE2_TOKENS * (1 - REPLAY - INSTRUCTIONS)
    weights = {language: tokens**0.25 for language, tokens in TABLE_5.items()}
    fresh = tuple(
        _portion(language, rest * weight / sum(weights.values()), CuratedText(language=language)) for language, weight in weights.items()
    )
    return ContinuePretraining(
        portions=(*replay, instructions, *fresh),
        optimisation=Optimisation(learning_rate=1e-3, decay="cosine", final_fraction=0.1, warmup_fraction=0.02, epsilon=1e-8),
        sequence=512,
        batch=2,
        seed=seed + 2,
    )


def _junk(seed: int) -> CurateCorpus:
    """What the classifier of quality learns to tell: pages of another crawl that its layer may drop. A page drawn at random, as in the paper, is
    here as good as any text; the lines of its host, which no text of the world has, would teach to tell extraction from text, and go first."""
    kinds = ("stuffing", "repetition", "links", "salad", "mojibake")
    return CurateCorpus(crawl=Crawl(languages=LANGUAGES, pages=10 * len(kinds), seed=seed, only=kinds), chain=Curation(layers=(Lines(),)))


def curation(seed: int = 0) -> CurateCorpus:
    """The embedded crawl through every layer."""
    return CurateCorpus(
        crawl=Crawl(languages=LANGUAGES, pages=PAGES, seed=seed),
        chain=Curation(
            layers=(
                Url(),
                Lines(),
                LanguageFilter(languages=LANGUAGES),  # before the rules, whose limits are a language's own
                Rules(),
                Perplexity(share=0.97),
                # A fiftieth goes, not the paper's four fifths: what is left of the dirt here is 2.6 % of the pages (most of it shuffled words).
                # A few dozen examples teach in 25 epochs at rate .5 what 20,000 do in 5 at .1.
                Quality(share=0.98, held_out=0.3, learning_rate=0.5, epochs=25, dimensions=8, buckets=20_000),
                Near(),
                Exact(least_bytes=200),  # two sentences of patterns may well be those of another story
                Decontaminate(share=0.9, cut=True),  # sentences are patterns: much of an evaluation text stands in clean pages too
                Pii(),
            ),
            sources=Sources(origins=(Origin(source="the embedded crawl", licence="Apache-2.0"),)),
        ),
        positives=tuple(WorldText(language=language, documents=120, seed=EXAMPLES_SEED + seed) for language in LANGUAGES),
        negatives=_junk(EXAMPLES_SEED + seed),
        reads=tuple(WorldText(language=language, documents=400, seed=seed) for language in LANGUAGES),
    )


# Planted defects (promise 7) that are nano's own; those of any recipe stand in defects.py.


def without_replay(recipe: ContinuePretraining) -> ContinuePretraining:
    """Stage 2 with replay 0: nothing of stage 1's languages is seen again."""
    kept = [portion for portion in recipe.portions if portion.language in STAGE2_NEW]
    factor = recipe.tokens / sum(portion.tokens for portion in kept)
    return dataclasses.replace(
        recipe, portions=tuple(dataclasses.replace(portion, tokens=round(portion.tokens * factor)) for portion in kept)
    )


def junk_for_good(recipe: CurateCorpus) -> CurateCorpus:
    """The quality classifier's positives are junk as its negatives are."""
    return dataclasses.replace(recipe, positives=_junk(EXAMPLES_SEED + 1000))


def strict(recipe: CurateCorpus) -> CurateCorpus:
    """A fifth goes as odd, a fifth of the rest as poor, and every page with three tenths of an evaluation text as a whole."""
    return with_settings(recipe, perplexity={"share": 0.8}, quality={"share": 0.8}, decontaminate={"share": 0.3, "cut": False})


def spam(recipe: CurateCorpus) -> CurateCorpus:
    """Another crawl: pages that come again under other addresses, stuffed, repeated, full of links, in a wrong encoding."""
    kinds = ("url", "stuffing", "repetition", "links", "mojibake")
    return dataclasses.replace(recipe, crawl=dataclasses.replace(recipe.crawl, pages=20 * len(kinds), only=kinds))


def cut_short(recipe: CurateCorpus) -> CurateCorpus:
    """Every passage of 24 bytes that recurs goes, wherever it stands."""
    return with_settings(recipe, exact={"least_bytes": 24, "keep": "none"})


def greedy(recipe: CurateCorpus) -> CurateCorpus:
    """Pages a tenth alike are duplicates."""
    return with_settings(recipe, near={"threshold": 0.1})
