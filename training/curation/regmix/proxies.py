"""Proxy runs: a tiny model a mixture, trained for real, and its held-out loss on every language.

A proxy is a variant of the stage whose mixture is sought: run `proxy-017` is `stage1@proxy-017`. All proxies start from the same weights and
read the same text in the same order within a language; only the shares differ. Losses are bits a UTF-8 byte, so that languages and tokenizers
compare. A run leaves one small JSON file, written whole or not at all: a search that was killed goes on with the runs that are missing.

`run_proxies` starts one process that imports torch once and forks a child a run (worker.py): the import costs seconds, the fork milliseconds,
and nothing of a run outlives it. The process is not the caller's, whose threads a fork would not survive.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from training.curation.documents import CurationError
from training.curation.regmix import files
from training.curation.regmix.files import Losses
from training.curation.regmix.mixtures import Counts, Mixtures
from training.curation.regmix.regression import LEAST_RUNS
from training.pretraining.packing import Corpus
from training.recipe import Architecture, Optimisation, digest, encode
from training.run import write_atomically

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STAGE = "stage1"
TEXT, PLAN, RUNS, LOG = "text.npz", "plan.json", "runs", "worker.log"
ROOT = Path(__file__).resolve().parents[3]  # where `training` is imported from
# The logits of a step are 4 MB, made and freed some times. By its own rule glibc gives them back to the system each time and takes them again, page
# by page: a tenth to a quarter of a run, as measured. These two stop it (older glibc takes no more than 32 MB for the first); losses are the same to the
# bit. Other systems read neither.
HEAP = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProxySettings:
    """The model and how long it trains. The defaults are nano's: two seconds of one core. `version` moves when losses may."""

    version: ClassVar[int] = 1
    architecture: Architecture = dataclasses.field(
        default_factory=lambda: Architecture(
            vocabulary=2048, hidden=64, intermediate=192, layers=2, heads=4, kv_heads=4, tied=True, context=128
        )
    )
    optimisation: Optimisation = dataclasses.field(
        default_factory=lambda: Optimisation(
            learning_rate=1e-2, decay="linear", final_fraction=0.1, warmup_fraction=0.1, weight_decay=0.1, epsilon=1e-8
        )
    )
    steps: int = 60
    batch: int = 4
    sequence: int = 128
    seed: int = 0

    @property
    def tokens(self) -> int:
        """Training tokens of a run."""
        return self.steps * self.batch * self.sequence


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ProxyText:
    """The tokens of one language: those trained on, of which a run draws its share (over and over where it must), and those held out."""

    language: str
    train: Corpus
    held_out: Corpus


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ProxyCorpora:
    """The text of all proxies, in one tokenizer. `token_bytes_V`: UTF-8 bytes that each token stands for, 0 for the end of a document."""

    texts: tuple[ProxyText, ...]
    token_bytes_V: Counts
    end: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, texts: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> ProxyCorpora:
        """Tokenise language -> (documents to train on, documents held out). The tokenizer is a byte-level BPE (`scratch.train_tokenizer`)."""
        from training.pretraining.corpus import end_of_document, tokenise

        end = end_of_document(tokenizer)
        sides = {
            language: [Corpus.of(language, language, tokenise(tokenizer, documents), end, 0) for documents in both]
            for language, both in texts.items()
        }
        vocabulary, added = tokenizer.get_vocab(), tokenizer.get_added_vocab()
        lengths_V = np.zeros(1 + max(vocabulary.values()), dtype=np.int64)
        for token, number in vocabulary.items():  # a byte-level vocabulary spells a byte a character, but for tokens added to it
            lengths_V[number] = 0 if number == end else len(token.encode() if token in added else token)
        return cls(
            texts=tuple(ProxyText(language=language, train=train, held_out=held) for language, (train, held) in sides.items()),
            token_bytes_V=lengths_V,
            end=end,
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """Their languages, in the order given."""
        return tuple(text.language for text in self.texts)

    def arrays(self) -> dict[str, Any]:
        """As named arrays, for a file."""
        found: dict[str, Any] = {"token_bytes": self.token_bytes_V, "end": np.array([self.end])}
        for text in self.texts:
            for side, corpus in (("train", text.train), ("held_out", text.held_out)):
                found[f"{text.language}/{side}/ids"] = corpus.ids_N
                found[f"{text.language}/{side}/starts"] = corpus.starts_D1
        return found

    @classmethod
    def load(cls, path: Path, languages: Sequence[str]) -> ProxyCorpora:
        """Read what `arrays` gave."""
        with np.load(path, allow_pickle=False) as stored:

            def corpus(language: str, side: str) -> Corpus:
                ids_N, starts_D1 = stored[f"{language}/{side}/ids"], stored[f"{language}/{side}/starts"]
                return Corpus(name=language, language=language, ids_N=ids_N, starts_D1=starts_D1, budget=0)

            texts = tuple(
                ProxyText(language=language, train=corpus(language, "train"), held_out=corpus(language, "held_out"))
                for language in languages
            )
            return cls(texts=texts, token_bytes_V=stored["token_bytes"], end=int(stored["end"][0]))

    def digest(self) -> str:
        """SHA-256 (hex) over all of it."""
        running = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            running.update(f"{name} {array.dtype} {array.shape}\n".encode())
            running.update(np.ascontiguousarray(array).tobytes())
        return running.hexdigest()


def enough(runs: int) -> None:
    """Raise CurationError for a search of fewer runs than a regression takes."""
    if runs < LEAST_RUNS:
        raise CurationError(f"--runs {runs}: a regression needs {LEAST_RUNS} runs, and some unseen ones to judge it")


def tell(run: str, done: int, of: int) -> None:
    """Say on the standard error that a run has ended."""
    print(f"{run} ended, {done} of {of}", file=sys.stderr, flush=True)


def variant(run: str) -> str:
    """The run's name in the release graph."""
    return f"{STAGE}@{run}"


def run_proxies(
    mixtures: Mixtures,
    corpora: ProxyCorpora,
    settings: ProxySettings,
    directory: Path,
    workers: int,
    told: Callable[[str, int, int], None] | None = None,
    device: Literal["cpu", "cuda", "auto"] = "cpu",
) -> Losses:
    """Train the proxies that `directory` lacks, `workers` at a time on a core (or the GPU) each; returns all their losses (also in losses.csv there).

    `told(run, done, of)` hears of each that ends. A row of other settings, other text or another mixture is not taken for this one's. Raises
    CurationError where a run fails: those done are kept, and the same call goes on.
    """
    _check(mixtures, corpora, settings, workers)
    (directory / RUNS).mkdir(parents=True, exist_ok=True)
    text = corpora.digest()
    identities = {
        run: digest({"settings": encode(settings), "version": settings.version, "text": text, "weights": _weights(mixtures, place)})
        for place, run in enumerate(mixtures.runs)
    }
    missing = [run for run in mixtures.runs if read_row(directory, run, identities[run]) is None]
    if missing:
        _save_text(directory, corpora)
        weights = {run: _weights(mixtures, place) for place, run in enumerate(mixtures.runs)}
        plan = {
            "settings": encode(settings),
            "device": device,
            "languages": list(corpora.languages),
            "runs": [{"run": run, "identity": identities[run], "weights": weights[run]} for run in missing],
        }
        write_atomically(directory / PLAN, plan)
        _work(directory, workers, len(missing), len(mixtures.runs), device, told)
    rows = {run: read_row(directory, run, identities[run]) for run in mixtures.runs}
    if absent := [run for run, row in rows.items() if row is None]:
        raise CurationError(f"{len(absent)} proxies left no row, the first is {absent[0]}: see {directory / LOG}, then call again to go on")
    languages = tuple(sorted(corpora.languages))
    values = np.array([[row["losses"][language] for language in languages] for row in rows.values() if row is not None])
    losses = Losses(runs=mixtures.runs, targets=languages, values_NT=values)
    files.write_table(directory / "mixtures.csv", mixtures.runs, mixtures.domains, mixtures.weights_ND)
    files.write_table(directory / "losses.csv", losses.runs, losses.targets, losses.values_NT)
    return losses


def read_row(directory: Path, run: str, identity: str) -> dict[str, Any] | None:
    """What a run left, None where there is nothing, a torn file, or another run's row."""
    try:
        row = json.loads((directory / RUNS / f"{run}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) and row.get("identity") == identity else None


def _weights(mixtures: Mixtures, place: int) -> dict[str, float]:
    return dict(zip(mixtures.domains, mixtures.weights_ND[place].tolist(), strict=True))


def _check(mixtures: Mixtures, corpora: ProxyCorpora, settings: ProxySettings, workers: int) -> None:
    if tuple(sorted(corpora.languages)) != mixtures.domains:
        odd = sorted(set(corpora.languages) ^ set(mixtures.domains))
        raise CurationError(
            f"{', '.join(odd) or 'a language'} is not both in the mixtures and in the text once; they must be of the same languages"
        )
    if workers < 1:
        raise CurationError(f"{workers} workers: 1 or more are needed")
    if not 2 <= settings.sequence <= settings.architecture.context:
        raise CurationError(f"rows of {settings.sequence} tokens do not fit a context of {settings.architecture.context}")
    for text in corpora.texts:
        if not text.train.documents:
            raise CurationError(f"there is no text of {text.language!r} to train on; give it documents, or leave it out of the mixtures")
        if len(text.held_out.ids_N) < settings.sequence:
            raise CurationError(
                f"the held-out text of {text.language!r} is {len(text.held_out.ids_N)} tokens, less than one row of {settings.sequence}: hold out more"
            )


def _save_text(directory: Path, corpora: ProxyCorpora) -> None:
    aside = directory / f".{os.getpid()}.{TEXT}"
    np.savez(aside, **corpora.arrays())
    aside.replace(directory / TEXT)


def _work(directory: Path, workers: int, missing: int, of: int, device: str, told: Callable[[str, int, int], None] | None) -> None:
    """Start the warm process and listen until it ends."""
    # One thread a run; and a process of its own, whatever torchrun started the caller.
    environment = HEAP | {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    path = os.pathsep.join(part for part in (str(ROOT), environment.get("PYTHONPATH", "")) if part)
    environment |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": path}
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-m", "training.curation.regmix.worker", str(directory), str(workers)]
    with (directory / LOG).open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        try:
            assert process.stdout is not None
            for done, line in enumerate(process.stdout, of - missing + 1):
                if told is not None:
                    told(line.strip(), done, of)
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        said = (directory / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
        raise CurationError(f"the proxies stopped (status {process.returncode}): {said[-1]}. Those done are kept; see {directory / LOG}")
