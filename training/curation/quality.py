"""The quality classifier of 3.2: a fastText model a language, and the best fifth of its documents by quantile.

    python -m training.curation quality --input pool/ --output out/ --set quality.positives=synthetic/ quality.negatives=crawl-sample/

Trained as DCLM does (Li et al. 2024: learning rate .1, 5 epochs, word bigrams, labels hq and cc, lines joined by spaces) on 10,000 positives and as
many negatives of each language (Sailor2, 3.2: translations of good English text by `synthetic.py`; random documents of a crawl). A quantile,
because the probabilities of a small classifier are no probabilities. One thread and a fixed seed: equal examples give an equal classifier.

An example that stands in the pool is taken out of training; a tenth of the examples is never trained on and says, as the area under
the ROC curve, what the classifier is worth: facts/NN-quality/quality.json of the corpus, and beside it, in held_out.jsonl, the score of each.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import heapq
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from training.curation import ranking
from training.curation.documents import CurationError, Document, Quarantined, files_of, read
from training.curation.engine import Engine
from training.curation.layer import Decision, Judge, Layer
from training.curation.words import spaced

GOOD, CRAWL = "__label__hq", "__label__cc"
LEAST_EXAMPLES = 20  # of a class and language; fewer teach nothing
FACTS, HELD_OUT = "quality.json", "held_out.jsonl"
EXCERPT = 80  # characters of a held-out example that stand beside its score


def text_key(text: str) -> int:
    """64 bits of a text whatever its white space: what tells examples and pool documents apart, and orders them at random."""
    return int.from_bytes(hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quality(Layer):
    """Keeps the best `share` of each language's documents, or with keep="all" says the score alone; both in the column `quality`.

    `positives` and `negatives` are shards (paths, directories, patterns) whose documents carry their language; of each class and language
    `examples` are drawn. Documents of a language without examples are kept and counted.
    """

    name = "quality"
    files = ("positives", "negatives")
    leaves = (FACTS, HELD_OUT)
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    examples: int = 10_000
    share: float = 0.2
    keep: Literal["share", "all"] = "share"
    held_out: float = 0.1
    learning_rate: float = 0.1
    epochs: int = 5
    word_ngrams: int = 2
    dimensions: int = 16  # DCLM: 100; its model of two labels ranks as well with fewer
    buckets: int = 200_000  # of word n-grams; with `dimensions` the size of the model: 13 MB (DCLM: 2,000,000)
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse settings that no classifier can be trained by."""
        if not 0 < self.share <= 1:
            raise CurationError(f"quality.share is {self.share}: the share of a language's documents that stays, above 0 and at most 1")
        if not 0 < self.held_out < 1:
            raise CurationError(f"quality.held_out is {self.held_out}: the share of the examples that is not trained on, between 0 and 1")
        if self.keep not in ("share", "all"):
            raise CurationError(f"quality.keep is {self.keep!r}: share (drop the others) or all (say the score alone)")

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:
        """Train a classifier a language and score every document; leaves models, scores and facts in `work`."""
        if not self.positives or not self.negatives:
            raise CurationError("quality.positives and quality.negatives name no shards: the classifier is trained on examples of both")
        chosen = self._chosen()
        keys = np.unique(np.array([key for texts in chosen.values() for key in texts], dtype=np.uint64))
        met: set[int] = set()
        for found in engine.map(_Meets(keys), shards):
            met.update(found)
        orders, facts = [], {}
        for language in sorted({language for language, _ in chosen}):
            order = _Order(self, language, chosen.get((language, GOOD), {}), chosen.get((language, CRAWL), {}), met, work)
            orders.append(order)
            facts[language] = order.facts()
        rows: list[dict[str, Any]] = []
        for order, scores in zip(orders, engine.map(_train, orders), strict=True):
            told = order.told(scores)
            good = np.array([row["positive"] for row in told])
            facts[order.language]["held-out AUC"] = ranking.auc(scores[good], scores[~good])
            rows += told
        (work / HELD_OUT).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        models = {order.language: order.model for order in orders}
        for language, fact in ranking.rank(shards, work, engine, ranking.ByLanguage(score, models), self._keep).items():
            facts.setdefault(language, {}).update(fact)
        (work / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def judge(self, work: Path) -> Judge:
        """Judges by the scores that `prepare` left."""
        ranked = ranking.Ranked(work)

        def judged(documents: Sequence[Document], shard: int, first: int) -> list[Decision]:
            return [_decide(*row) for row in zip(documents, *ranked.of(shard, first, len(documents)), strict=True)]

        return judged

    def _keep(self, scores: ranking.Floats, groups: np.ndarray[Any, Any], _: list[str]) -> ranking.Flags:
        return np.ones(len(scores), dtype=bool) if self.keep == "all" else ranking.best(scores, groups, self.share)

    def _chosen(self) -> dict[tuple[str, str], dict[int, str]]:
        """(language, class) -> key -> text of at most `examples` documents, at random; texts of both classes are in neither."""
        kept: dict[tuple[str, str], list[tuple[int, str]]] = {}
        seen: dict[tuple[str, str], set[int]] = {}
        for label, patterns in ((GOOD, self.positives), (CRAWL, self.negatives)):
            for document in _examples(patterns):
                key, group = text_key(f"{self.seed} {document.text}"), (document.language, label)
                if key in seen.setdefault(group, set()):
                    continue
                seen[group].add(key)
                heap = kept.setdefault(group, [])  # the smallest keys: the largest on top
                if len(heap) < self.examples:
                    heapq.heappush(heap, (-key, document.text))
                elif -heap[0][0] > key:
                    heapq.heappushpop(heap, (-key, document.text))
        both = {language: seen[language, GOOD] & seen.get((language, CRAWL), set()) for language, label in seen if label == GOOD}
        return {
            (language, label): {text_key(text): text for key, text in heap if -key not in both.get(language, ())}
            for (language, label), heap in kept.items()
        }


def _decide(document: Document, score: float, kept: bool) -> Decision:
    if np.isnan(score):
        return Decision(document=document, counts={"no classifier of its language": 1})
    if not kept:
        return Decision(reason="low quality", detail=f"score {score:.4f} in {document.language}")
    return Decision(document=dataclasses.replace(document, extra={**document.extra, "quality": score}))


def _examples(patterns: Sequence[str]) -> Iterator[Document]:
    """The documents of example shards. Raises CurationError for one without a language, and for a row that cannot be read."""

    def unreadable(found: Quarantined) -> None:
        raise CurationError(f"{found.file}, row {found.row}: {found.reason}; examples are read whole: mend the row or take it out")

    for path in files_of(patterns):
        for document in read(path, unreadable):
            if not document.language:
                raise CurationError(f"{path}: the example {document.id} has no language; give its rows a column `language`")
            yield document


@dataclasses.dataclass(frozen=True)
class _Meets:
    """Which of the keys stand in a shard."""

    keys: np.ndarray[Any, np.dtype[np.uint64]]

    def __call__(self, shard: Path) -> list[int]:
        found = np.array([text_key(text) for texts, _ in ranking.rows(shard) for text in texts], dtype=np.uint64)
        return np.intersect1d(self.keys, found).tolist()


class _Order:
    """What one language's classifier is trained on, and where it is left."""

    def __init__(self, settings: Quality, language: str, good: dict[int, str], crawl: dict[int, str], met: set[int], work: Path) -> None:
        self.settings, self.language = settings, language
        self.drawn = len(good) + len(crawl)
        self.labelled = sorted(
            (key, label, text) for label, texts in ((GOOD, good), (CRAWL, crawl)) for key, text in texts.items() if key not in met
        )
        self.model = work / f"{language}.bin"
        for label, what in ((GOOD, "positives"), (CRAWL, "negatives")):
            if (count := sum(one == label for _, one, _ in self.labelled)) < LEAST_EXAMPLES:
                raise CurationError(
                    f"quality.{what} hold {count} examples in {language} that do not stand in the pool; it takes {LEAST_EXAMPLES} at least"
                )

    def parts(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """(label, text) to train on and held out, in the order of their keys, which is no order; of each class its share is held out."""
        trained, held = [], []
        for label in (GOOD, CRAWL):
            own = [(key, text) for key, one, text in self.labelled if one == label]
            count = ranking.wanted(self.settings.held_out, len(own))
            held += [(label, text) for _, text in own[:count]]
            trained += [(key, label, text) for key, text in own[count:]]
        return [(label, text) for _, label, text in sorted(trained)], held

    def facts(self) -> dict[str, Any]:
        """What the report says of the examples."""
        trained, held = self.parts()
        count = {"positives": GOOD, "negatives": CRAWL}
        return {
            **{what: sum(one == label for one, _ in trained) for what, label in count.items()},
            "held out": len(held),
            "in the pool": self.drawn - len(self.labelled),
        }

    def told(self, scores: ranking.Floats) -> list[dict[str, Any]]:
        """A row a held-out example: its class, what the classifier says of it, and how it begins."""
        held = zip(self.parts()[1], scores.tolist(), strict=True)
        return [
            {"language": self.language, "positive": label == GOOD, "score": found, "excerpt": " ".join(text.split())[:EXCERPT]}
            for (label, text), found in held
        ]


def _train(order: _Order) -> ranking.Floats:
    """Train and save one language's classifier; returns the scores of the held-out examples, in the order of `parts`."""
    fasttext = _fasttext()
    settings, (trained, held) = order.settings, order.parts()
    text = order.model.with_suffix(".txt")
    text.write_text("".join(f"{label} {spaced(one)}\n" for label, one in trained), encoding="utf-8", errors="replace")
    model = fasttext.train_supervised(
        input=str(text),
        lr=settings.learning_rate,
        epoch=settings.epochs,
        wordNgrams=settings.word_ngrams,
        dim=settings.dimensions,
        bucket=settings.buckets,
        minCount=1,
        minn=0,
        maxn=0,
        loss="softmax",
        thread=1,
        seed=settings.seed,
        verbose=0,
    )
    text.unlink()
    model.save_model(str(order.model))
    return score(order.model, [one for _, one in held])


def score(model: Path, texts: Sequence[str]) -> ranking.Floats:
    """P(hq) of each text by a saved classifier, [texts]. White space does not count."""
    if not texts:
        return np.zeros(0)
    labels, probabilities = _loaded(str(model), model.stat().st_mtime_ns).predict([spaced(text) for text in texts], k=2)
    return np.array([dict(zip(*row, strict=True)).get(GOOD, 0.0) for row in zip(labels, probabilities, strict=True)], dtype=np.float64)


@functools.lru_cache(maxsize=32)
def _loaded(model: str, written: int) -> Any:
    """A model once a process; `written` tells one file from the next of its name."""
    return _fasttext().load_model(model)


def _fasttext() -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise CurationError("the quality classifier needs fastText, which is not installed: pip install 'seatrials[curation]'") from error
    return fasttext
