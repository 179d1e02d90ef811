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
from training.curation.documents import CurationError
from training.curation.engine import Engine
from training.curation.settings import Curation
from training.pretraining.sources import crawl_files
from training.recipe import CrawlFiles, CurateCorpus

if TYPE_CHECKING:
    from training.run import Job


def build(recipe: CurateCorpus, job: Job) -> None:
    """Write or find the crawl, run the chain in `job.resume` and leave the corpus in `job.result`."""
    from training.run import RANK, add_facts

    if RANK:
        return  # one process curates; it starts its own
    crawl = _crawl(recipe, job)
    corpus = job.resume / "corpus"

    def tell(line: str) -> None:
        job.progress(f"curation: {' '.join(line.split())}")

    told = _kept_apart(recipe.chain, job)
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


def _kept_apart(chained: Curation, job: Job) -> Curation:
    """The chain, its layer `decontaminate` told where the windows of the evaluation text lie. Raises CurationError where there are none."""
    if not any(layer.name == "decontaminate" for layer in chained.layers):
        return chained
    if job.evaluation is None:
        raise CurationError("the chain has the layer decontaminate, and the order names no windows of evaluation text (`evaluation`)")

    def told(layer: Any) -> Any:
        return dataclasses.replace(layer, ngrams=str(job.evaluation)) if layer.name == "decontaminate" else layer

    return dataclasses.replace(chained, layers=tuple(told(layer) for layer in chained.layers))
