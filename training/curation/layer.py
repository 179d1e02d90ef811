"""What a layer of curation is: settings, a first pass that makes a plan, and a verdict on each document.

    class Url(Layer):             a frozen dataclass: its fields are its settings, literals all (`--set url.unit=bytes`)
        prepare(shards, work, engine)   reads narrow keys of all shards and leaves a plan in `work`; nothing for a layer that needs none
        judge(work)                     loads the plan, in the process that judges, and returns the judge of batches

A judge is handed documents as they stand in the shards, with the number of the shard and of the first row, and returns one Decision for each.
Nothing else is kept between documents, so shards are judged in any order, in any number of processes, on any machine.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from training.curation.documents import CurationError, Document

EXCERPT = 300  # characters of a dropped document, and of a piece that is cut, that a person is shown
SHOWN = 3  # pieces of one document

if TYPE_CHECKING:
    from training.curation.engine import Engine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of a document: `document` as it goes on, or `reason` why it is dropped.

    `detail` is what a person sees beside a dropped one ("special characters .52 > .50"); `told` stands in its line besides. `counts` adds up
    over documents, kept and dropped (e-mail addresses masked, bytes cut, lines removed). `cut` are samples of what was taken out of a document that
    stays (`shown`): of personal data the mask in its place.
    """

    document: Document | None = None
    reason: str = ""
    detail: str = ""
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    cut: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what neither keeps nor drops."""
        if (self.document is None) != bool(self.reason):
            raise CurationError("a decision keeps a document or gives a reason, one of the two")


def shown(pieces: Iterable[str]) -> tuple[str, ...]:
    """Samples of what was cut: the first SHOWN pieces that are not blank, the beginning of each."""
    return tuple(itertools.islice((piece[:EXCERPT] for piece in pieces if piece.strip()), SHOWN))


Judge = Callable[[Sequence[Document], int, int], list[Decision]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer(abc.ABC):
    """A layer with nothing to prepare. `name` is its place in LAYERS; `version` moves when its decisions may."""

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    cuts: ClassVar[bool] = False  # whether it takes text out of documents that stay: then the sizes of some are told
    leaves: ClassVar[tuple[str, ...]] = ()  # files of its plan that stand beside the corpus
    files: ClassVar[tuple[str, ...]] = ()  # settings that name files or directories to be read

    def prepare(self, shards: Sequence[Path], work: Path, engine: Engine) -> None:  # noqa: B027  # nothing to do for most layers
        """The first pass over all shards (Parquet, in the order of their numbers); leaves its plan in `work`, an empty directory."""

    @abc.abstractmethod
    def judge(self, work: Path) -> Judge:
        """The judge of batches `(documents, shard, first row) -> decisions`."""


# The layers, in the order in which the default chain runs them (the limits of rules are a language's own: it is known before them): name -> module:Class. Named, not imported: each has heavy imports of its own.
LAYERS = {
    "url": "training.curation.url:Url",
    "lines": "training.curation.lines:Lines",
    "language": "training.curation.language:LanguageFilter",
    "rules": "training.curation.rules:Rules",
    "perplexity": "training.curation.perplexity:Perplexity",
    "quality": "training.curation.quality:Quality",
    "near": "training.curation.near:Near",
    "exact": "training.curation.exact:Exact",
    "pii": "training.curation.pii:Pii",
    "decontaminate": "training.curation.decontaminate:Decontaminate",
}
