"""`python -m training.curation proxies`: the runs that a mixture is sought by, on a team's own curated text.

    python -m training.curation proxies --input corpus/shards --directory DIR --runs 96

Writes mixtures.csv, losses.csv and prior.csv into DIR, and says the `mixture` command that takes them. Stopped at any time, the same command goes on;
with more --runs it adds to those done. Memory holds the text taken of each language (--documents), as text and then as token ids, and each
process that trains reads the ids from a file: where text is cut off, proxies read what was taken more often than the real run would the whole.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training.curation.documents import CurationError, files_of
from training.curation.regmix import chosen, command, files
from training.curation.regmix.chosen import Choice, Chosen
from training.curation.regmix.mixtures import Mixtures, sample
from training.curation.regmix.proxies import RUNS, ProxyCorpora, ProxySettings, enough, run_proxies, tell
from training.recipe import Architecture, Optimisation, encode
from training.run import write_atomically

BEGUN = "proxies.json"  # what DIR was begun with


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """A model, how long it trains, and how many documents of a language are taken and held out for it."""

    settings: ProxySettings
    documents: int
    held_out: float


SIZES = {
    "nano": Size(settings=ProxySettings(), documents=1_000, held_out=24),
    # RegMix's own: 1.31M parameters besides the embeddings, 1.05 billion tokens a run.
    "1M": Size(
        settings=ProxySettings(
            architecture=Architecture(
                family="llama", vocabulary=50_432, hidden=256, intermediate=512, layers=2, heads=8, kv_heads=8, tied=False, context=2048
            ),
            optimisation=Optimisation(
                learning_rate=4e-4, decay="constant", warmup_fraction=100 / 1001, weight_decay=0.1, betas=(0.9, 0.95), epsilon=1e-8
            ),
            steps=1001,
            batch=512,
            sequence=2048,
        ),
        documents=100_000,
        held_out=500,
    ),
}
SHAPE = ("hidden", "layers", "heads", "intermediate", "vocabulary")
LENGTH = ("sequence", "batch", "steps")


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    made = argparse.ArgumentParser(
        prog="python -m training.curation proxies", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--input", nargs="+", required=True, help="curated shards: files, directories or patterns of JSONL or Parquet")
    made.add_argument("--directory", type=Path, required=True, help="where runs and results go; started again, it goes on")
    made.add_argument("--runs", type=int, default=96, help="proxies to train (default 96: 64 fitted, 32 unseen)")
    made.add_argument("--languages", nargs="+", default=[], help="ISO 639-3 codes (default: all languages of the shards)")
    made.add_argument("--tokenizer", type=Path, help="a directory with a byte-level BPE (default: one is trained on the text)")
    made.add_argument("--prior", type=Path, help="CSV: language, tokens of the raw text (default: those of the shards)")
    made.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu", help="where proxies train (default cpu)")
    made.add_argument("--workers", type=int, help="proxies at a time (default: one a core, and 1 where the device is not the cpu)")
    text = made.add_argument_group("text")
    text.add_argument("--documents", type=int, help="most documents taken of a language, held in memory (nano 1000, 1M 100000)")
    text.add_argument(
        "--held-out", type=float, help="of these never trained on, to judge by: a share under 1, or a number (nano 24, 1M 500)"
    )
    command.add_sampling(made.add_argument_group("mixtures"))
    model = made.add_argument_group("model, each option over what --size says")
    model.add_argument("--size", choices=tuple(SIZES), default="nano", help="nano: two seconds of one core a run; 1M: RegMix's, for a GPU")
    for name in (*SHAPE, *LENGTH):
        of = ", ".join(
            f"{size} {getattr(each.settings.architecture if name in SHAPE else each.settings, name)}" for size, each in SIZES.items()
        )
        model.add_argument(f"--{name}", type=int, help=of)
    model.add_argument("--learning-rate", type=float, help="nano 0.01, 1M 0.0004")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit status: 0 done, 2 for input that it cannot work with, 130 interrupted."""
    options = parser().parse_args(list(argv))
    try:
        return _run(options)
    except CurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from training.models.load import ModelError, load_tokenizer
    from training.pretraining.mapped import digest_of
    from training.pretraining.scratch import TokenizerError, train_tokenizer

    enough(options.runs)
    size = SIZES[options.size]
    settings = settings_of(options)
    choice = Choice(
        languages=tuple(options.languages),
        documents=size.documents if options.documents is None else options.documents,
        held_out=size.held_out if options.held_out is None else options.held_out,
    )
    sampling = command.sampling_of(options)
    given = files.read_prior(options.prior) if options.prior else {}
    try:
        tokenizer = load_tokenizer(options.tokenizer) if options.tokenizer else None
    except ModelError as error:
        raise CurationError(f"--tokenizer {error}") from error
    begun: dict[str, Any] = {
        "settings": {**encode(settings), "version": settings.version},
        "choice": _plain(choice),
        "sampling": _plain(sampling),
        "prior": given or "of the text",
        "tokenizer": digest_of(tokenizer) if tokenizer else "trained on the text",
    }
    _same(options.directory, begun)
    texts = chosen.choose(files_of(options.input), choice, _say)
    prior = _prior(given, [one.language for one in texts], bool(choice.languages), options.prior)
    if tokenizer is None:
        _say("training a tokenizer")
        try:
            tokenizer = train_tokenizer(chosen.tokenizer_texts(texts), settings.architecture.vocabulary, settings.sequence)
        except TokenizerError as error:
            raise CurationError(f"--vocabulary: {error}") from error
    corpora = chosen.tokenised(texts, tokenizer)
    begun["text"] = corpora.digest()
    _same(options.directory, begun)
    prior = prior or chosen.raw_tokens(texts, corpora)
    mixtures = sample(prior, options.runs, sampling)
    _say(_table(texts, corpora, prior, mixtures, settings))
    options.directory.mkdir(parents=True, exist_ok=True)
    write_atomically(options.directory / BEGUN, begun)
    workers = options.workers if options.workers is not None else (os.cpu_count() or 1) if options.device == "cpu" else 1
    run_proxies(mixtures, corpora, settings, options.directory, workers, tell, options.device)
    files.write_prior(options.directory / "prior.csv", prior)
    print(f"wrote mixtures.csv, losses.csv and prior.csv into {options.directory}; the mixture that they speak for:\n")
    print(shlex.join(["python", "-m", "training.curation", "mixture", *command.arguments(options.directory, sampling)]))
    return 0


def settings_of(options: argparse.Namespace) -> ProxySettings:
    """The size's settings with the options laid over them. Raises CurationError for a model that cannot be."""
    settings = SIZES[options.size].settings
    shape = {name: value for name in SHAPE if (value := getattr(options, name)) is not None}
    length = {name: value for name in LENGTH if (value := getattr(options, name)) is not None}
    if low := [name for name, value in (shape | length).items() if value < 1]:
        raise CurationError(f"--{low[0]} {(shape | length)[low[0]]}: 1 or more")
    if "heads" in shape:
        shape["kv_heads"] = shape["heads"]
    architecture = dataclasses.replace(settings.architecture, **shape, context=length.get("sequence", settings.sequence))
    if architecture.hidden % (2 * architecture.heads):
        raise CurationError(f"--hidden {architecture.hidden}: a multiple of twice the {architecture.heads} heads is needed")
    optimisation = settings.optimisation
    if options.learning_rate is not None:
        if not options.learning_rate > 0:
            raise CurationError(f"--learning-rate {options.learning_rate:g}: more than 0")
        optimisation = dataclasses.replace(optimisation, learning_rate=options.learning_rate)
    return dataclasses.replace(settings, architecture=architecture, optimisation=optimisation, **length)


def _prior(given: Mapping[str, float], languages: Sequence[str], named: bool, path: Path | None) -> dict[str, float]:
    """The given prior of these languages, {} where none is given; rows of others are left out only where the languages were named."""
    if not given:
        return {}
    if missing := [language for language in languages if language not in given]:
        raise CurationError(f"{path} has no row of {missing[0]!r}, which the text has; add its raw tokens, or name --languages without it")
    if strange := [language for language in given if language not in languages and not named]:
        raise CurationError(
            f"{path} has {strange[0]!r}, of which the text has no document; take the row out, or name --languages without it"
        )
    return {language: given[language] for language in languages}


def _plain(settings: Any) -> dict[str, Any]:
    """A dataclass as JSON gives it back."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return found


def _same(directory: Path, wanted: Mapping[str, Any]) -> None:
    """Raise CurationError where runs of `directory` are of something else than `wanted`, which may not hold everything yet."""
    if not any((directory / RUNS).glob("*.json")):
        return  # nothing is done that could be taken for something else
    try:
        begun = json.loads((directory / BEGUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CurationError(f"{directory} holds proxies that another command began; give another --directory") from None
    except (OSError, ValueError) as error:
        raise CurationError(f"{directory / BEGUN} cannot be read ({error}); give another --directory") from error
    before, now = _flat(begun), _flat(json.loads(json.dumps(wanted)))
    for name in sorted(now.keys() | {name for name in before if name.partition(".")[0] in wanted}):
        if before.get(name) != now.get(name):
            what = (
                "was begun with other text: --input has changed"
                if name == "text"
                else f"was begun with {name} {before.get(name, 'not there')} and is now to go on with {now.get(name, 'not there')}"
            )
            raise CurationError(f"{directory} {what}; give what it was begun with, or another --directory")


def _flat(value: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, each in value.items():
        found |= _flat(each, f"{under}{name}.") if isinstance(each, Mapping) else {f"{under}{name}": each}
    return found


def _table(texts: Sequence[Chosen], corpora: ProxyCorpora, prior: Mapping[str, float], mixtures: Mixtures, settings: ProxySettings) -> str:
    """A row a language: what there is, what was taken, and how often the proxy that draws most of it reads it."""
    lines = [
        f"{'language':<10}{'documents':>12}{'raw tokens':>16}{'trained on':>12}{'tokens':>14}{'held out':>10}{'tokens':>12}{'read, most':>12}"
    ]
    for one, text in zip(texts, corpora.texts, strict=True):
        most = float(mixtures.weights_ND[:, mixtures.domains.index(one.language)].max()) * settings.tokens / max(1, len(text.train.ids_N))
        lines.append(
            f"{one.language:<10}{one.documents:>12,}{prior[one.language]:>16,.0f}{len(one.train):>12,}{len(text.train.ids_N):>14,}"
            f"{len(one.held_out):>10,}{len(text.held_out.ids_N):>12,}{most:>12.2f}"
        )
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
