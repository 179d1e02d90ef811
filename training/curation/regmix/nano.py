"""RegMix for real on the embedded small world: `python -m training.curation.regmix.nano --directory DIR --runs 96`.

The languages of the paper's stage 1 around its raw tokens (Table 3; English and Chinese, which have none there, as in Table 4). 64 runs are
fitted, the others stay unseen. A killed command goes on. Writes mixtures.csv, losses.csv, prior.csv and mixture.csv into the directory.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.curation.documents import CurationError
from training.curation.regmix import command, files
from training.curation.regmix.mixtures import Bounds, Sampling, sample
from training.curation.regmix.proxies import ProxyCorpora, ProxySettings, enough, run_proxies, tell

# Billions of raw tokens.
PRIOR: Mapping[str, float] = {
    "eng": 51, "cmn": 50, "vie": 475, "ind": 325, "tha": 61, "zsm": 11, "mya": 6.5, "tgl": 4.4, "khm": 1.7,
}  # fmt: skip
# RegMix's own sampling suits domains of like size. Around these raw shares it leaves Khmer out of 88 of 100 mixtures and gives it more than 15 of a
# proxy's 30,720 tokens in one of ten: nothing is learned of it. Flatter shares, stronger draws and a bound of 200 epochs (the world has text without
# end) give every language 200 tokens or more in most runs. The search draws in the same way: under 15 epochs, the flat draws thrown away, it
# would ask about mixtures more lopsided than any run.
SAMPLING = Sampling(temperature=0.25, weakest=2.0, strongest=20.0, bounds=Bounds(epochs=200.0))
# Stories that nothing else reads: the held-out stories of the world are the gates'.
TRAIN_SEED, HELD_OUT_SEED, TOKENIZER_SEED = 31, 32, 33


def corpora(
    languages: Sequence[str] = tuple(PRIOR),
    documents: int = 300,
    held_out: int = 24,
    tokenizer_documents: int = 150,
    vocabulary: int = 2048,
) -> ProxyCorpora:
    """The world's text in `languages`, in a byte-level BPE of its own."""
    from training.pretraining.scratch import train_tokenizer
    from training.recipe import WorldText
    from training.world import text

    def told(language: str, count: int, seed: int) -> list[str]:
        return [made.text for made in text.documents(WorldText(language=language, documents=count, seed=seed))]

    tokenizer = train_tokenizer(
        (line for language in languages for line in told(language, tokenizer_documents, TOKENIZER_SEED)), vocabulary, context=1024
    )
    return ProxyCorpora.of(
        tokenizer, {language: (told(language, documents, TRAIN_SEED), told(language, held_out, HELD_OUT_SEED)) for language in languages}
    )


def main(argv: Sequence[str]) -> int:
    """Run it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.curation.regmix.nano", description="RegMix on the embedded world.")
    parser.add_argument("--directory", type=Path, required=True, help="where runs and results go; started again, it goes on")
    parser.add_argument("--runs", type=int, default=96, help="proxies to train (default 96: 64 fitted, 32 unseen)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="proxies at a time (default: one a core)")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu", help="where proxies train (default cpu: they are tiny)")
    options = parser.parse_args(list(argv))
    try:
        enough(options.runs)
        mixtures = sample(PRIOR, options.runs, SAMPLING)
        run_proxies(mixtures, corpora(), ProxySettings(), options.directory, options.workers, tell, options.device)
    except CurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    files.write_prior(options.directory / "prior.csv", {language: f"{tokens}e9" for language, tokens in PRIOR.items()})
    return command.main(command.arguments(options.directory, SAMPLING))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
