"""The builder of the stage `curation`: a crawl through the chain; what it leaves is a corpus, not a checkpoint.

result/shards/ dropped/ quarantine.jsonl report.json report.html        as `python -m training.curation run` leaves them
result/truth.jsonl                                                      of an embedded crawl: what was planted, and what should become of it
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.curation import chain, report
from training.curation.engine import Engine
from training.curation.settings import Curation
from training.pretraining.sources import crawl_files, read
from training.recipe import CrawlFiles, CurateCorpus

if TYPE_CHECKING:
    from training.run import Job

WINDOWS = "held_out.npz"


def build(recipe: CurateCorpus, job: Job) -> None:
    """Write or find the crawl, run the chain in `job.resume` and leave the corpus in `job.result`."""
    from training.run import RANK, add_facts

    if RANK:
        return  # one process curates; it starts its own
    crawl = _crawl(recipe, job)
    corpus = job.resume / "corpus"

    def tell(line: str) -> None:
        job.progress(f"curation: {' '.join(line.split())}")

    told = _with_held_out(recipe, job)
    engine = Engine(workers=job.threads or os.cpu_count() or 1)
    found = chain.run(told, [str(path) for path in crawl], corpus, engine, tell, shown_from=job.resume)
    shutil.copytree(corpus, job.result, dirs_exist_ok=True)
    (job.result / "run.json").unlink()  # names the files of this machine
    (job.result / "report.html").write_text(report.page(Path("corpus"), found, dropped=corpus), encoding="utf-8")
    if (truth := job.resume / "crawl" / "truth.jsonl").is_file():
        shutil.copyfile(truth, job.result / "truth.jsonl")
    add_facts(job.result / "build.json", layers={layer["name"]: [layer["seen"], layer["kept"]] for layer in found["layers"]})


def _crawl(recipe: CurateCorpus, job: Job) -> list[Path]:
    """The files to read: a user's own, or the embedded crawl, written once."""
    if isinstance(recipe.crawl, CrawlFiles):
        return crawl_files(recipe.crawl, job.profile_dir)
    from training.world import crawl

    directory = job.resume / "crawl"
    if not directory.is_dir():
        aside = job.resume / "crawl.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        crawl.write(recipe.crawl, aside)
        aside.rename(directory)
    return sorted(path for path in directory.iterdir() if ".warc" in path.name)


def _with_held_out(recipe: CurateCorpus, job: Job) -> Curation:
    """The chain, its layer `decontaminate` told where the windows of the held-out text lie."""
    chained: Curation = recipe.chain
    if not any(layer.name == "decontaminate" for layer in chained.layers):
        return chained
    from training.curation.decontaminate import write_ngrams

    path = job.resume / WINDOWS
    texts = [(document.id, document.text) for source in recipe.held_out for document in read(source, job.hub, job.profile_dir)]
    write_ngrams(texts, path)

    def told(layer: Any) -> Any:
        return dataclasses.replace(layer, ngrams=str(path)) if layer.name == "decontaminate" else layer

    return dataclasses.replace(chained, layers=tuple(told(layer) for layer in chained.layers))
