"""What a recipe is: the frozen decisions that bear on an artifact, and their one canonical form.

A recipe is a frozen keyword-only dataclass of literals. `encode` turns it into plain JSON (what the fingerprint hashes,
what the record keeps and what the child process is handed); `decode` turns it back. What has no deterministic form raises.
The recipes of the paper's profiles stand in `training/recipes/`, one Python file a profile.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import math
from typing import Any, ClassVar, Literal


class RecipeError(Exception):
    """A recipe that cannot be encoded, decoded or built; the message names the field."""


def later(default: Any) -> Any:
    """A field that came after artifacts had been built: at its default it is no part of the canonical form, so that no fingerprint moves."""
    return dataclasses.field(default=default, metadata={"later": True})


# ----------------------------------------------------------------------------------------------------------------- text


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldText:
    """Documents generated from the embedded small world (`training/world`), in one language."""

    language: str
    documents: int
    split: Literal["train", "held_out"] = "train"
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubText:
    """Rows of a data set of the Hub, read from a local mirror `DATASET/CONFIG/SPLIT.jsonl|parquet`.

    `select` names a rule of `training/pretraining/sources.py` ("" keeps every row), e.g. the half of the titles that is trained on.
    """

    dataset: str
    config: str
    split: str
    field: str
    language: str
    licence: str
    select: str = ""
    mirror_only: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextFiles:
    """A user's own documents: JSONL, one object a line with `field`; the path is absolute or relative to the profile file."""

    path: str
    language: str
    field: str = "text"
    licence: str = "user's own"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CuratedText:
    """The documents of one language in the corpus that a parent stage made (paper 3): all of them, or those of some of its `sources`."""

    language: str
    stage: str = "curation"
    sources: tuple[str, ...] = ()


Source = WorldText | HubText | TextFiles | CuratedText


@dataclasses.dataclass(frozen=True, kw_only=True)
class Portion:
    """A share of the training tokens: `tokens` drawn from `sources`, repeated over epochs where they hold fewer."""

    name: str
    language: str
    tokens: int
    sources: tuple[Source, ...]


# ---------------------------------------------------------------------------------------------------------------- stages


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimisation:
    """AdamW and its schedule. Defaults are the released 20B launch script's (reference 4.4; `algorithms.md` topic 1)."""

    learning_rate: float
    final_fraction: float = 1.0  # the rate at the last step, as a fraction of `learning_rate`; 1.0 is constant
    decay: Literal["constant", "cosine", "linear"] = "constant"
    warmup_fraction: float = 0.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = 1e-5
    clip: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A model from scratch: a Qwen2- or Llama-family decoder."""

    family: Literal["qwen2", "llama"] = "qwen2"
    vocabulary: int = 4096
    hidden: int = 128
    intermediate: int = 384
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    tied: bool = True
    context: int = 1024
    rope_theta: float = 10_000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromScratch:
    """`base` trained here: a byte-level BPE on `tokenizer_sources`, then a model of `architecture` on `portions`."""

    builder: ClassVar[str] = "training.pretraining.scratch:build"
    version: ClassVar[int] = 1
    architecture: Architecture
    tokenizer_sources: tuple[Source, ...]
    portions: tuple[Portion, ...]
    optimisation: Optimisation
    sequence: int = 512
    batch: int = 8  # sequences an optimiser step
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportCheckpoint:
    """`base` made elsewhere: a Hub id at a revision, or a local directory or GGUF file whose digest stands in `sha256`."""

    builder: ClassVar[str] = "training.pretraining.imported:build"
    version: ClassVar[int] = 1
    model: str
    revision: str = "main"
    gguf: str = ""  # file name inside the wheel or directory that stands in for the Hub
    sha256: str = ""
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpandBlocks:
    """LlamaPro block expansion (paper 4.1): `new_blocks` identity blocks, evenly spread."""

    builder: ClassVar[str] = "training.pretraining.expand:build"
    version: ClassVar[int] = 1
    new_blocks: int
    untie: bool = False
    vocabulary: int = 0  # rows kept of the embedding; 0 keeps all
    zeroed: tuple[str, ...] = ("o_proj", "down_proj")  # a planted defect leaves one out


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContinuePretraining:
    """Continual pre-training on packed rows with intra-document masking (paper 4.3, 4.4)."""

    builder: ClassVar[str] = "training.pretraining.continual:build"
    version: ClassVar[int] = 2  # 2: what each slice of the run drew is kept
    portions: tuple[Portion, ...]
    optimisation: Optimisation
    sequence: int = 512
    batch: int = 8
    seed: int = 0
    train: Literal["all", "new_blocks"] = "all"
    precision: Literal["float32", "bfloat16"] = "float32"
    document_isolation: bool = True  # off only as a planted defect
    label_shift: int = 1  # anything but 1 is a planted defect
    swapped_tokenizer: bool = False  # a planted defect: the checkpoint is saved with the ids of another vocabulary
    most_epochs: float | None = later(None)  # readings after which a portion stops, and the others take its share

    @property
    def tokens(self) -> int:
        """Training tokens of the whole stage."""
        return sum(portion.tokens for portion in self.portions)

    @property
    def steps(self) -> int:
        """Optimiser steps: tokens over tokens a step, rounded up."""
        return math.ceil(self.tokens / (self.sequence * self.batch))


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrawlFiles:
    """A user's own crawl: paths, directories or patterns of WARC, WET, PDF, SRT, VTT, JSONL or Parquet files, absolute or relative to the profile file."""

    paths: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrawlTexts:
    """Text sources as a crawl, each with its language, name and licence: data sets of the Hub's mirror, files of one's own."""

    sources: tuple[Source, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CurateCorpus:
    """The stage `curation` (paper 3): a crawl through a chain of layers.

    `crawl` is CrawlFiles, CrawlTexts or the embedded world's `training.world.crawl:Crawl`; `chain` is a `training.curation.settings:Curation`. Its layer
    `decontaminate`, where it has one, looks for what the profile's suites ask about, which the pipeline hands over. `positives` and `negatives`
    are what the layer `quality`, where the chain has it, learns from: sources, or another CurateCorpus of an embedded crawl, of whose crawl and
    chain they come.
    """

    builder: ClassVar[str] = "training.curation.stage:build"
    version: ClassVar[int] = 2
    crawl: Any
    chain: Any
    positives: Any = ()
    negatives: Any = ()
    reads: tuple[Source, ...] = ()  # the world's text that an embedded crawl is made of, for the fingerprint


Recipe = FromScratch | ImportCheckpoint | ExpandBlocks | ContinuePretraining | CurateCorpus


# ------------------------------------------------------------------------------------------------------------- the form


def encode(value: Any, where: str = "recipe") -> Any:
    """Return `value` as plain JSON types; dataclasses carry their import path under `__type__`.

    Raises RecipeError for anything without a deterministic form: sets of mixed types, callables, NaN, arbitrary objects.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        told = (f for f in dataclasses.fields(value) if not (f.metadata.get("later") and getattr(value, f.name) == f.default))
        fields = {f.name: encode(getattr(value, f.name), f"{where}.{f.name}") for f in told}
        return {"__type__": f"{kind.__module__}:{kind.__qualname__}", **fields}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecipeError(f"{where} is {value}: a recipe holds finite numbers only")
        return value
    if isinstance(value, (tuple, list)):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: encode(value[key], f"{where}.{key}") for key in sorted(value)}
    raise RecipeError(f"{where} is a {type(value).__name__}, which has no deterministic form; use literals and dataclasses")


def decode(data: Any) -> Any:
    """Rebuild what `encode` wrote; lists become tuples. The named type must be a dataclass."""
    if isinstance(data, dict) and "__type__" in data:
        module, _, name = data["__type__"].partition(":")
        kind = getattr(importlib.import_module(module), name, None)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise RecipeError(f"{data['__type__']} is not a recipe type")
        return kind(**{key: decode(value) for key, value in data.items() if key != "__type__"})
    if isinstance(data, dict):
        return {key: decode(value) for key, value in data.items()}
    if isinstance(data, list):
        return tuple(decode(item) for item in data)
    return data


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of an encoded value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
