"""The whole chain on a small dirty crawl, and a process that dies of SIGKILL all along it; what test_whole_chain.py starts.

    python -m tests.training.curation.whole_chain DIRECTORY OUTPUT native|ray WORKERS      # run it to its end
    python -m tests.training.curation.whole_chain DIRECTORY OUTPUT killed WORKERS          # each attempt dies a mark further than the last

DIRECTORY is what `prepare` made. A mark is where the chain stands and not when: a line that it tells, or the interpreter's note of a file that it is about
to open or move, so the marks are the same on a slow machine and on a fast one. Attempts are forked from a process that has made the imports and
nothing else, and cost what their part of the chain costs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from training.curation import chain, documents, extract
from training.curation.decontaminate import Decontaminate, write_ngrams
from training.curation.documents import Document
from training.curation.engine import Engine
from training.curation.exact import Exact
from training.curation.language import LanguageFilter
from training.curation.layer import LAYERS
from training.curation.lines import Lines
from training.curation.near import Near
from training.curation.perplexity import Perplexity
from training.curation.pii import Pii
from training.curation.quality import Quality
from training.curation.rules import Rules
from training.curation.settings import Curation
from training.curation.sources import Sources, documents_of
from training.curation.url import Url

LANGUAGES = ("eng", "tha")
PAGES = 100
MOST = 200  # attempts; there are about 90 marks


def recipe(directory: Path) -> Curation:
    """Every layer there is, as the profile nano sets them."""
    quality = Quality(share=0.95, held_out=0.3, learning_rate=0.5, epochs=25, dimensions=8, buckets=20_000)
    layers = (
        Url(),
        Lines(),
        LanguageFilter(languages=LANGUAGES),
        Rules(),
        Perplexity(share=0.97),
        dataclasses.replace(quality, positives=(str(directory / "positives.jsonl"),), negatives=(str(directory / "negatives.jsonl"),)),
        Near(),
        Exact(least_bytes=200),
        Pii(),
        Decontaminate(share=0.9, cut=True, ngrams=str(directory / "windows.npz")),
    )
    assert [layer.name for layer in layers] == list(LAYERS)
    return Curation(layers=layers)


def prepare(directory: Path) -> None:
    """A crawl of a file a language, rows with ids that come twice, the classifier's examples and the windows of the world's evaluation text."""
    from training.recipe import WorldText
    from training.world import crawl, text

    def told(split: Literal["train", "held_out"], seed: int, count: int) -> list[Document]:
        sources = [WorldText(language=language, documents=count, seed=seed, split=split) for language in LANGUAGES]
        return [Document(id=made.id, text=made.text, language=source.language) for source in sources for made in text.documents(source)]

    for language in LANGUAGES:
        crawl.write(crawl.Crawl(languages=(language,), pages=PAGES), directory / "input" / language)
    twice = told("train", 3, 20)
    documents.write(directory / "input" / "twice.jsonl", [*twice, *twice[:5]])
    junk = directory / "junk"
    kinds = ("stuffing", "repetition", "links", "salad", "mojibake")
    files = crawl.write(crawl.Crawl(languages=LANGUAGES, pages=10 * len(kinds), seed=501, only=kinds), junk)
    declared = {one.record: one.declared for one in crawl.truth(junk)}
    found = [made for path in files for made in documents_of(path, Sources(), lambda _: None, Counter())]
    documents.write(directory / "negatives.jsonl", [dataclasses.replace(made, language=declared[made.extra["record"]]) for made in found])
    documents.write(directory / "positives.jsonl", told("train", 501, 60))
    write_ngrams([(made.id, made.text) for made in told("held_out", 0, 400)], directory / "windows.npz")


def run(directory: Path, output: Path, engine: Engine, tell: Callable[[str], None] = lambda _: None) -> None:
    """The chain over the crawl, a shard a file."""
    extract.INPUT_BYTES = 1
    inputs = [str(directory / "input" / "*" / "*.warc.gz"), str(directory / "input" / "*.jsonl")]
    chain.run(recipe(directory), inputs, output, engine, tell)


# -------------------------------------------------------------------------------------------------------------------- killed


def mark_of_line(line: str) -> str:
    """The step and what of it: `01-url  2/3  90 of ...` is "01-url 2/3", `01-url  first pass ...` "01-url first"."""
    return " ".join(line.split()[:2])


def mark_of_event(event: str, path: str, output: Path) -> str:
    """What a note of the interpreter (`sys.addaudithook`) is to the chain, "" for nothing: a plan that is made and now moves to its place, the second
    shard's list of dropped documents or its counts about to be written, a file of the finished corpus."""
    own = path.removeprefix(f"{output}{os.sep}")
    if event == "open" and (found := re.match(r"\.(quarantine\.jsonl|report\.json|run\.json)\.", own)):
        return f"corpus {found[1]}"
    found = re.fullmatch(r"work/(\d\d-\w+)-[0-9a-f]{12}/(?:(plan)\.part|(dropped|counts)/\.00001\..*)", own)
    if found is None or (event == "os.rename") != bool(found[2]):
        return ""
    return f"{found[1]} {found[2] or found[3]}"


def die_at_the_next(met: set[str], told: int, directory: Path, output: Path, engine: Engine) -> None:
    """Run; at the first mark that is not among those met, say it to the file descriptor `told` and die."""

    def at(mark: str) -> None:
        if mark and mark not in met:
            os.write(told, mark.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.rename") and isinstance(arguments[0], (str, os.PathLike)):
            at(mark_of_event(event, str(arguments[0]), output))

    sys.addaudithook(hook)
    run(directory, output, engine, lambda line: at(mark_of_line(line)))


def killed(directory: Path, output: Path, engine: Engine) -> list[str]:
    """Start the chain again and again until it gets to its end; the marks that attempts died at. Raises RuntimeError where one failed otherwise."""
    met: list[str] = []
    while True:
        heard, told = os.pipe()
        child = os.fork()
        if not child:
            try:
                die_at_the_next(set(met), told, directory, output, engine)
                os._exit(0)
            finally:
                traceback.print_exc()
                os._exit(1)
        os.close(told)
        _, status = os.waitpid(child, 0)
        mark = os.read(heard, 1000).decode()
        os.close(heard)
        if not status:
            return met
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL or not mark or mark in met or len(met) > MOST:
            raise RuntimeError(f"after {met[-1:]} the chain ended with status {status} where it should have gone on: see above")
        met.append(mark)


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    directory, output, how, workers = Path(arguments[0]), Path(arguments[1]), arguments[2], int(arguments[3])
    if how == "killed":
        from training.curation import warm

        assert warm
        print(json.dumps(killed(directory, output, Engine(workers=workers))))
    else:
        run(directory, output, Engine(runner=how, workers=workers))  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
