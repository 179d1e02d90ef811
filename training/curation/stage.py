"""The builder of the stage `curation`: a crawl through the chain; what it leaves is a corpus, not a checkpoint.

A crawl is the embedded one, files of the user's (read where they lie) or text sources, of which shards are made first. The work is done on this
machine, or on the Ray cluster that the order names (SEATRIALS_RAY, see cluster.py): the corpus is the same, and the record's environment says it.

result/shards/ dropped/ cut/ facts/ quarantine.jsonl report.json report.html as `python -m training.curation run` leaves them
result/truth.jsonl                                                      of an embedded crawl: what was planted, and what should become of it
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.curation import chain, documents, report
from training.curation.documents import CurationError, Document, Quarantined
from training.curation.engine import Engine
from training.curation.settings import Curation
from training.pretraining.sources import crawl_files, read
from training.recipe import CrawlFiles, CrawlTexts, CurateCorpus, Source

if TYPE_CHECKING:
    from training.run import Job

EXAMPLES = {"positives": "positives.jsonl", "negatives": "negatives.jsonl"}  # of the layer `quality`


def build(recipe: CurateCorpus, job: Job) -> None:
    """Write or find the crawl, run the chain in `job.resume` and leave the corpus in `job.result`."""
    from training.run import RANK, add_facts

    if RANK:
        return  # one process curates; it starts its own
    engine = Engine(runner="ray" if job.ray else "native", address=job.ray, workers=job.threads or os.cpu_count() or 1)
    cluster = engine.described()  # before anything is made: one that does not answer is said at once
    crawl = _crawl(recipe.crawl, job, "crawl")
    corpus = job.resume / "corpus"

    def tell(line: str) -> None:
        job.progress(f"curation: {' '.join(line.split())}")

    told = _with_examples(recipe, job, engine, _kept_apart(_beside_the_profile(recipe.chain, job), job))
    found = chain.run(told, [str(path) for path in crawl], corpus, engine, tell, shown_from=job.resume)
    shutil.copytree(corpus, job.result, dirs_exist_ok=True)
    (job.result / "run.json").unlink()  # names the files of this machine
    (job.result / "report.html").write_text(report.page(Path("corpus"), found, dropped=corpus), encoding="utf-8")
    if (truth := job.resume / "crawl" / "truth.jsonl").is_file():
        shutil.copyfile(truth, job.result / "truth.jsonl")
    if cluster:
        add_facts(job.result / "build.json", environment={"curation engine": cluster})
    add_facts(job.result / "build.json", layers={layer["name"]: [layer["seen"], layer["kept"]] for layer in found["layers"]})


def _crawl(crawl: Any, job: Job, name: str) -> list[Path]:
    """The files to read: a user's own; or those of the embedded crawl or of text sources, written once under a name, whole or not at all."""
    if isinstance(crawl, CrawlFiles):
        return crawl_files(crawl, job.profile_dir)
    directory = job.resume / name
    if not directory.is_dir():
        aside = job.resume / f"{name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        if isinstance(crawl, CrawlTexts):
            for number, part in enumerate(documents.in_shards(_of_sources(crawl.sources, job))):
                documents.write(aside / f"{number:05d}.parquet", part)
        else:
            from training.world import crawl as world

            world.write(crawl, aside)
        aside.rename(directory)
    return sorted(path for path in directory.iterdir() if ".warc" in path.name or path.suffix == ".parquet")


def _of_sources(sources: Sequence[Source], job: Job) -> Iterator[Document]:
    """The documents of the sources, in order. `record` is what the tellings of a parallel text share, as a page's is its WARC record.

    Two files of one name give the same ids to other texts; a chain keeps one document of an id, so what comes again is numbered.
    """
    met: Counter[str] = Counter()
    for source in dict.fromkeys(sources):
        for one in read(source, job.hub, job.profile_dir):
            met[one.id] += 1
            named = one.id if met[one.id] == 1 else f"{one.id} ({met[one.id]})"
            extra = {"record": one.cluster or named}
            yield Document(id=named, text=one.text, language=one.language, source=one.source, licence=one.licence, extra=extra)


def _beside_the_profile(chained: Curation, job: Job) -> Curation:
    """The chain, the files and directories that its layers' settings name found where the profile's file lies."""

    def found(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(found(one) for one in value)
        path = job.profile_dir / Path(value).expanduser()
        return str(path) if value and path.exists() else value

    def told(layer: Any) -> Any:
        return dataclasses.replace(layer, **{setting: found(getattr(layer, setting)) for setting in layer.files})

    return dataclasses.replace(chained, layers=tuple(told(layer) for layer in chained.layers))


def _kept_apart(chained: Curation, job: Job) -> Curation:
    """The chain, its layer `decontaminate` told where the windows of the evaluation text lie. Raises CurationError where there are none."""
    if not any(layer.name == "decontaminate" for layer in chained.layers):
        return chained
    if any(getattr(layer, "ngrams", "") for layer in chained.layers):
        raise CurationError(
            "decontaminate.ngrams is not a setting of a stage: it is handed the windows of what the profile's suites ask about"
        )
    if job.evaluation is None:
        raise CurationError("the chain has the layer decontaminate, and the order names no windows of evaluation text (`evaluation`)")

    def told(layer: Any) -> Any:
        return dataclasses.replace(layer, ngrams=str(job.evaluation)) if layer.name == "decontaminate" else layer

    return dataclasses.replace(chained, layers=tuple(told(layer) for layer in chained.layers))


def _with_examples(recipe: CurateCorpus, job: Job, engine: Engine, chained: Curation) -> Curation:
    """The chain, its layer `quality` told where its examples lie, where the recipe has some. Raises CurationError for one class without the other."""
    given = {name: getattr(recipe, name) for name in EXAMPLES if getattr(recipe, name)}
    if not given or not any(layer.name == "quality" for layer in chained.layers):
        return chained
    if len(given) < len(EXAMPLES):
        raise CurationError(f"the recipe has {', '.join(given)} alone: a classifier of quality learns from positives and negatives")
    paths = {}
    for name, examples in given.items():
        path = job.resume / EXAMPLES[name]
        if not path.is_file():
            if isinstance(examples, CurateCorpus):
                made = _of_a_crawl(examples, job, engine, name)
            else:
                made = (
                    Document(id=one.id, text=one.text, language=one.language)
                    for source in examples
                    for one in read(source, job.hub, job.profile_dir)
                )
            documents.write(path, made)
        paths[name] = (str(path),)

    def told(layer: Any) -> Any:
        return dataclasses.replace(layer, **paths) if layer.name == "quality" else layer

    return dataclasses.replace(chained, layers=tuple(told(layer) for layer in chained.layers))


def _of_a_crawl(recipe: CurateCorpus, job: Job, engine: Engine, name: str) -> Iterator[Document]:
    """The corpus of another embedded crawl, each page in the language that it declares. Raises CurationError for any other."""
    if isinstance(recipe.crawl, CrawlFiles | CrawlTexts):
        raise CurationError(
            f"{name}: examples from a crawl of files are curated first and named as TextFiles, so that the record holds their content"
        )
    from training.world import crawl_truth

    files = _crawl(recipe.crawl, job, f"{name}.crawl")
    declared = {truth.record: truth.declared for truth in crawl_truth.read(files[0].parent / crawl_truth.FILE)}
    output = job.resume / f"{name}.corpus"
    chain.run(recipe.chain, [str(path) for path in files], output, engine)
    for path in sorted((output / "shards").iterdir()):
        for made in documents.read(path, _refuse):
            yield Document(id=made.id, text=made.text, language=declared[made.extra["record"]])


def _refuse(amiss: Quarantined) -> None:
    raise CurationError(f"{amiss.file}, row {amiss.row}: {amiss.reason}; the resume directory was changed: remove it and build again")
