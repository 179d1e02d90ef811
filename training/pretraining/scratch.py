"""The builder of a `base` trained here: a byte-level BPE of its own, then a small model from random weights (nano; paper 4.1's role)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from training.models import load
from training.pretraining import corpus
from training.pretraining.loop import Plan, train
from training.pretraining.sources import read
from training.pretraining.stream import Stream
from training.recipe import FromScratch, digest, encode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from training.run import Job

# Words keep their combining marks (Thai, Lao, Khmer and Burmese vowels are marks, not letters); digits stand alone.
SPLIT = r" ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s+(?!\S)|\s+"
# Scripts without spaces would else make whole phrases of the training text one token. 24 bytes are 8 letters of such a script.
LONGEST_TOKEN = 24


class TokenizerError(Exception):
    """A vocabulary that cannot be had from the text given."""


def build(recipe: FromScratch, job: Job) -> None:
    """Train tokenizer and model and leave the checkpoint in `job.result`."""
    from training.run import RANK, add_facts

    job.progress("tokenizer")
    documents = (document for source in recipe.tokenizer_sources for document in read(source, job.hub, job.profile_dir))
    tokenizer = train_tokenizer(corpus.texts(documents), recipe.architecture.vocabulary, recipe.architecture.context)
    corpora, rows = corpus.of_job(recipe.portions, tokenizer, job)
    reader = Stream(corpora, recipe.sequence, recipe.seed)
    end = corpus.end_of_document(tokenizer)
    model = load.new_model(recipe.architecture, len(tokenizer), recipe.seed, bos_token_id=end, eos_token_id=end)
    plan = Plan(
        steps=math.ceil(sum(portion.tokens for portion in recipe.portions) / (recipe.sequence * recipe.batch)),
        batch=recipe.batch,
        optimisation=recipe.optimisation,
        identity=digest({"recipe": encode(recipe), "rows": rows}),
        precision=recipe.precision,
    )
    facts = train(model, reader, plan, job)
    if RANK == 0:
        job.progress("save", step=plan.steps, steps=plan.steps)
        load.save_checkpoint(model, tokenizer, job.result)
        add_facts(job.result / "build.json", **facts, rows=rows, vocabulary=len(tokenizer))


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most `vocabulary` tokens with the one special token `<|endoftext|>`: any text round-trips.

    The same texts give the same tokenizer in any process. Raises TokenizerError where `vocabulary` does not hold the 256 bytes.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary <= len(alphabet):
        raise TokenizerError(f"architecture.vocabulary {vocabulary} does not hold the {len(alphabet)} bytes and one special token")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[corpus.END_OF_DOCUMENT],
        initial_alphabet=sorted(alphabet),
        max_token_length=LONGEST_TOKEN,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=corpus.END_OF_DOCUMENT,
        eos_token=corpus.END_OF_DOCUMENT,
        pad_token=corpus.END_OF_DOCUMENT,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
