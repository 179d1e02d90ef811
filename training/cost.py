"""What a stage costs before it is built: parameters, FLOPs, steps, GPU-hours, memory a GPU, disk. Arithmetic alone: no torch, no weights.

FLOPs count multiplications and additions of the matrix products (2 a weight and token forward, twice that backward: the 6ND of common
use) plus those of attention over the positions that intra-document masking leaves (`algorithms.md` topic 3). Bytes are decimal.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from training.pretraining.loop import PASS_TOKENS
from training.recipe import (
    ContinuePretraining,
    CurateCorpus,
    ExpandBlocks,
    FromScratch,
    HubText,
    ImportCheckpoint,
    Portion,
    Recipe,
    TextFiles,
)

SNAPSHOTS = 3  # resume states on disk at most: two kept (`training/pretraining/resume.py`) while a third is written
LOGITS_BYTES = 2 * 512 * 2**20  # a chunk of float32 logits and its copy in bfloat16 or its gradient (`training/pretraining/loss.py`)
TEXT_BYTES = 4  # bytes of text a token: Table 3's disk sizes over its tokens
TOKEN_BYTES = 4  # a token id in the files that training maps (2 for a vocabulary of at most 65,536)


class CostError(Exception):
    """A cost that cannot be told; the message names what is unknown and the mend."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hardware:
    """A GPU and how well it is used: `utilisation` is the share of `flops` (dense, a second) that training reaches (MFU)."""

    name: str = "H100-class GPU"
    flops: float = 989e12  # bfloat16, without sparsity
    memory: float = 80e9  # bytes
    utilisation: float = 0.40

    def __post_init__(self) -> None:
        """Refuse what no machine has."""
        if not (self.flops > 0 and self.memory > 0 and 0 < self.utilisation <= 1):
            raise CostError(
                f"{self.name}: flops and memory must be positive and utilisation within (0, 1], not {self.flops:g}, "
                f"{self.memory:g} and {self.utilisation:g}"
            )


H100 = Hardware()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a Qwen2- or Llama-family decoder. `new_layers` of its layers were put in by block expansion."""

    family: Literal["qwen2", "llama"] = "qwen2"
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    new_layers: int = 0

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Width of all key heads together."""
        return self.kv_heads * self.head_size

    @property
    def layer_linear(self) -> int:
        """Weights of one layer's seven matrices."""
        return 2 * self.hidden * self.queries + 2 * self.hidden * self.keys + 3 * self.hidden * self.intermediate

    @property
    def layer_parameters(self) -> int:
        """All parameters of one layer: matrices, two norms, and in Qwen2 the biases of q, k and v."""
        biases = self.queries + 2 * self.keys if self.family == "qwen2" else 0
        return self.layer_linear + 2 * self.hidden + biases

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, or of the head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        return self.layers * self.layer_parameters + self.embedding * (1 if self.tied else 2) + self.hidden

    @property
    def matmul_parameters(self) -> int:
        """Weights that every token is multiplied with: the layers' matrices and the head. The N of 6ND; the embedding is looked up."""
        return self.layers * self.layer_linear + self.embedding

    def trained(self, train: str) -> int:
        """Parameters that learn under `train`: all, or the new blocks'."""
        return self.parameters if train == "all" else self.new_layers * self.layer_parameters


def _qwen(layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, vocabulary: int, tied: bool) -> Shape:
    return Shape(
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=kv_heads,
        head_size=hidden // heads,
        vocabulary=vocabulary,
        tied=tied,
    )


def _llama(layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, vocabulary: int) -> Shape:
    return dataclasses.replace(_qwen(layers, hidden, intermediate, heads, kv_heads, vocabulary, True), family="llama")


# From the models' published config.json.
KNOWN: dict[str, Shape] = {
    "Qwen/Qwen2.5-0.5B": _qwen(24, 896, 4864, 14, 2, 151936, True),
    "Qwen/Qwen2.5-1.5B": _qwen(28, 1536, 8960, 12, 2, 151936, True),
    "Qwen/Qwen2.5-3B": _qwen(36, 2048, 11008, 16, 2, 151936, True),
    "Qwen/Qwen2.5-7B": _qwen(28, 3584, 18944, 28, 4, 152064, False),
    "Qwen/Qwen2.5-14B": _qwen(48, 5120, 13824, 40, 8, 152064, False),
    "Qwen/Qwen2.5-32B": _qwen(64, 5120, 27648, 40, 8, 152064, False),
    "Qwen/Qwen2.5-72B": _qwen(80, 8192, 29568, 64, 8, 152064, False),
    "HuggingFaceTB/SmolLM2-135M": _llama(30, 576, 1536, 9, 3, 49152),
    "HuggingFaceTB/SmolLM2-360M": _llama(32, 960, 2560, 15, 5, 49152),
    "HuggingFaceTB/SmolLM2-1.7B": _llama(24, 2048, 8192, 32, 32, 49152),
}


def shape_of_config(config: Mapping[str, Any], where: str = "config.json") -> Shape:
    """The shape that a config.json states. Raises CostError for another family or a missing key."""
    if config.get("model_type") not in ("qwen2", "llama"):
        raise CostError(f"{where}: model_type is {config.get('model_type')!r}; the cost of qwen2 and llama models can be told")
    try:
        heads = int(config["num_attention_heads"])
        return Shape(
            family=config["model_type"],
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            intermediate=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_size=int(config.get("head_dim") or config["hidden_size"] // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CostError(
            f"{where} does not say the model's sizes ({type(error).__name__}: {error}); use the file its library wrote"
        ) from None


def shape_of_model(model: str, directory: Path | None = None) -> Shape:
    """The shape of an imported model: a checkpoint directory (relative to `directory`), or a Hub id in KNOWN. Raises CostError."""
    path = (directory or Path()) / Path(model).expanduser() / "config.json"
    if path.is_file():
        try:
            return shape_of_config(json.loads(path.read_text(encoding="utf-8")), str(path))
        except (OSError, ValueError) as error:
            raise CostError(f"{path} cannot be read: {error}") from error
    found = KNOWN.get(model) or KNOWN.get(model.removesuffix("-Instruct"))
    if found is None:
        raise CostError(
            f"the sizes of {model} are not known here: put a directory of that name with its config.json beside the profile file, "
            f"or name one of {', '.join(KNOWN)}"
        )
    return found


def shape(recipe: Recipe, parent: Shape | None = None, directory: Path | None = None) -> Shape:
    """The shape of what a recipe leaves, given its parent's. Raises CostError."""
    if isinstance(recipe, FromScratch):
        made = recipe.architecture
        return Shape(
            family=made.family,
            layers=made.layers,
            hidden=made.hidden,
            intermediate=made.intermediate,
            heads=made.heads,
            kv_heads=made.kv_heads,
            head_size=made.hidden // made.heads,
            vocabulary=made.vocabulary,
            tied=made.tied,
        )
    if isinstance(recipe, ImportCheckpoint):
        return shape_of_model(recipe.model, directory)
    if parent is None:
        raise CostError(f"{type(recipe).__name__} changes a parent's checkpoint: give the parent's shape")
    if isinstance(recipe, ExpandBlocks):
        if recipe.new_blocks < 1 or parent.layers % recipe.new_blocks:
            raise CostError(f"new_blocks={recipe.new_blocks} does not divide the parent's {parent.layers} layers; choose a divisor")
        if recipe.vocabulary > parent.vocabulary:
            raise CostError(f"vocabulary={recipe.vocabulary} is more than the parent's {parent.vocabulary} rows; the trim only cuts")
        return dataclasses.replace(
            parent,
            layers=parent.layers + recipe.new_blocks,
            new_layers=recipe.new_blocks,
            vocabulary=recipe.vocabulary or parent.vocabulary,
            tied=parent.tied and not recipe.untie,
        )
    return parent


# ------------------------------------------------------------------------------------------------------------------ FLOPs


def attended(lengths: Sequence[int]) -> float:
    """Mean number of positions that a token attends to, itself included, in documents of these lengths: sum n (n + 1) / 2 over sum n."""
    if not lengths or min(lengths) < 1:
        raise CostError("document lengths must be positive, and at least one")
    return sum(length * (length + 1) for length in lengths) / (2 * sum(lengths))


def row_of(sequence: int, document: float | None = None) -> list[int]:
    """The document lengths of a packed row of `sequence` tokens, documents being `document` tokens long (None: the whole row)."""
    if document is None or document >= sequence:
        return [sequence]
    if document < 1:
        raise CostError(f"documents of {document} tokens: the mean length is at least 1")
    length = round(document)
    return [length] * (sequence // length) + ([sequence % length] if sequence % length else [])


def forward_flops(of: Shape, positions: float) -> float:
    """FLOPs of the forward pass a token, each attending to `positions` on average: 2 a weight, and 4 a position and query width."""
    return 2 * of.matmul_parameters + 4 * positions * of.queries * of.layers


def training_flops(of: Shape, positions: float, train: str = "all") -> float:
    """FLOPs of forward and backward a token. With `train="new_blocks"` only the new blocks' matrices have weight gradients."""
    weights = of.matmul_parameters if train == "all" else of.new_layers * of.layer_linear
    return 2 * (of.matmul_parameters + of.matmul_parameters + weights) + 12 * positions * of.queries * of.layers


def head_in_layers(of: Shape, positions: float = 0.0) -> float:
    """How many transformer layers the LM head costs, by FLOPs (topic 3's r; 0 positions counts the matrices alone)."""
    return 2 * of.embedding / (2 * of.layer_linear + 4 * positions * of.queries)


# ----------------------------------------------------------------------------------------------------------------- memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """An estimate of the bytes on one GPU at the peak of a training step."""

    weights: float
    gradients: float
    optimiser: float
    working: float  # copies of weights in the precision of the matrix products
    activations: float

    @property
    def total(self) -> float:
        """All of it; allocators waste some more."""
        return self.weights + self.gradients + self.optimiser + self.working + self.activations


def memory(of: Shape, shards: int, sequence: int, rows: int = 1, *, train: str = "all", precision: str = "bfloat16") -> Memory:
    """Estimate a GPU's memory as `training/pretraining/loop.py` needs it, split over `shards` GPUs (FSDP; 1: whole on it).

    Weights, gradients and AdamW's moments are float32. Each layer is computed again in the backward pass (its input is kept, in float32),
    `rows` rows of `sequence` tokens at a time. `working`, whole: with bfloat16 the copies that autocast keeps. Split: embedding, norm and
    head, gathered with their gradient as long as a pass runs; a layer, the one fetched ahead, a gradient, and its bfloat16 copy. In both
    the loss's copy of the head and its gradient.
    """
    if shards < 1 or sequence < 1 or rows < 1:
        raise CostError(f"shards, sequence and rows must be positive, not {shards}, {sequence} and {rows}")
    trained, width, half = of.trained(train), 2 if precision == "bfloat16" else 4, precision == "bfloat16"
    outside = of.embedding * (1 if of.tied else 2) + of.hidden
    working = 8 * outside + (12 + 2 * half) * of.layer_parameters if shards > 1 else 2 * half * of.parameters
    working += (4 + 2 * half) * of.embedding
    # Of one layer, a token: inputs and outputs of two norms in float32; q, k, v, the rotated q and k, the attention's output; gate, up, their
    # product and the activation between.
    layer = 4 * 4 * of.hidden + width * (3 * of.queries + 3 * of.keys + 4 * of.intermediate)
    tokens = sequence * rows
    return Memory(
        weights=4 * of.parameters / shards,
        gradients=4 * trained / shards,
        optimiser=8 * trained / shards,
        working=working,
        activations=tokens * (4 * of.hidden * of.layers + layer) + min(LOGITS_BYTES, 8 * tokens * of.vocabulary),
    )


# ----------------------------------------------------------------------------------------------------------------- stages


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """What one stage costs. `steps` is 0 for a stage that trains nothing; bytes and FLOPs are of the whole stage."""

    shape: Shape
    tokens: int = 0
    steps: int = 0
    flops: float = 0.0
    gpu_hours: float = 0.0
    checkpoint_bytes: float
    resume_bytes: float = 0.0  # at most, while building
    text_bytes: float = 0.0  # of a user's or the Hub's text, about
    token_bytes: float = 0.0  # token ids on disk, at most, while building
    rows: int = 0  # of a pass, on a GPU
    element: int  # bytes of a stored weight
    sharded: Memory | None = None
    whole: Memory | None = None

    def hours(self, gpus: int) -> float:
        """Wall time on `gpus` GPUs, which the utilisation already charges for what they wait on each other."""
        return self.gpu_hours / gpus


def cost(
    recipe: Recipe,
    parent: Cost | None = None,
    *,
    gpus: int = 1,
    hardware: Hardware = H100,
    document: float | None = None,
    directory: Path | None = None,
) -> Cost:
    """The cost of a recipe on top of its parent's. `document` is the mean length of a document in tokens; None, rows of one document
    each, is the upper bound. Raises CostError."""
    if gpus < 1:
        raise CostError(f"{gpus} GPUs: give at least one")
    if isinstance(recipe, CurateCorpus):
        raise CostError("a corpus is made on CPUs, by documents a second: README, Curation")
    made = shape(recipe, parent.shape if parent else None, directory)
    if isinstance(recipe, ImportCheckpoint):
        element = 2 if recipe.precision == "bfloat16" else 4
        return Cost(shape=made, checkpoint_bytes=element * made.parameters, element=element)
    if isinstance(recipe, ExpandBlocks):
        element = parent.element if parent else 4
        return Cost(shape=made, checkpoint_bytes=element * made.parameters, element=element)
    assert isinstance(recipe, (FromScratch, ContinuePretraining))
    train = recipe.train if isinstance(recipe, ContinuePretraining) else "all"
    tokens = sum(portion.tokens for portion in recipe.portions)
    steps = math.ceil(tokens / (recipe.sequence * recipe.batch))
    trained = steps * recipe.sequence * recipe.batch  # a last step is a whole one
    flops = trained * training_flops(made, attended(row_of(recipe.sequence, document)), train)
    sizes = {"train": train, "precision": recipe.precision}
    rows = max(1, min(recipe.batch // gpus, PASS_TOKENS["cuda"] // recipe.sequence))
    return Cost(
        shape=made,
        tokens=tokens,
        steps=steps,
        flops=flops,
        gpu_hours=flops / (hardware.flops * hardware.utilisation) / 3600,
        checkpoint_bytes=4 * made.parameters,
        resume_bytes=SNAPSHOTS * 12 * made.trained(train),
        text_bytes=TEXT_BYTES * sum(portion.tokens for portion in recipe.portions if _from_disk(portion)),
        token_bytes=TOKEN_BYTES * tokens,
        element=4,
        rows=rows,
        sharded=memory(made, gpus, recipe.sequence, rows, **sizes),  # type: ignore[arg-type]
        whole=memory(made, 1, recipe.sequence, rows, **sizes),  # type: ignore[arg-type]
    )


def _from_disk(portion: Portion) -> bool:
    return any(isinstance(source, (TextFiles, HubText)) for source in portion.sources)
