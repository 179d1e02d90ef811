"""Held-out documents for suites that score text: from a recipe's text sources, with the cluster that resampling must keep together.

A document's cluster is the story, article or row that it tells, whatever its language, so that a parallel text is one cluster: what
`Document.cluster` says, else the id without a leading `LANGUAGE/`. A user's own file has no parallel texts: a cluster a document.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.overlap import find
from harness.suites import Sample, SuiteContext, SuiteError
from training.pretraining import sources as reading
from training.pretraining.select import SelectError
from training.recipe import HubText, RecipeError, TextFiles, WorldText, decode
from training.world.language import WorldError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    """A document to be scored."""

    sample: str
    cluster: str
    language: str
    stratum: str
    text: str


def as_sources(name: str, given: Any) -> dict[str, list[Any]]:
    """Sources by language, where a plain path (JSONL or Parquet with a column `text`) stands for the file. Raises SuiteError naming what is none."""
    if not isinstance(given, Mapping):
        raise SuiteError(f'suite {name}: sources is {given!r}; it maps a language to its sources: {{"ind": ["texts.jsonl"]}}')
    return {language: [_source(name, language, one) for one in _listed(each)] for language, each in given.items()}


def _listed(given: Any) -> Sequence[Any]:
    return given if isinstance(given, list | tuple) else [given]


def _source(name: str, language: str, given: Any) -> Any:
    if isinstance(given, str) and given.endswith((".jsonl", ".parquet")):
        return TextFiles(path=given, language=language)
    try:
        source = decode(given)
    except (RecipeError, ImportError, TypeError, ValueError) as error:
        raise SuiteError(f"suite {name}, {language}: {given!r} is no text source: {error}") from error
    if isinstance(source, WorldText | HubText | TextFiles):
        return source
    raise SuiteError(
        f"suite {name}, {language}: {given!r} is no text source; give a path that ends in .jsonl or .parquet, or a source of a recipe"
    )


def check_sources(name: str, languages: Sequence[str], sources: Mapping[str, Sequence[Any]]) -> None:
    """Raise SuiteError where a language has no source."""
    if missing := [language for language in languages if not sources.get(language)]:
        raise SuiteError(f"suite {name}: no source for {', '.join(missing)}; give `sources` one for each language, or drop the language")


def texts(
    name: str, languages: Sequence[str], sources: Mapping[str, Sequence[Any]], context: SuiteContext, invalid: list[Sample] | None = None
) -> Iterator[Text]:
    """The documents of the languages, in order. Raises SuiteError naming suite, language and source.

    Rows that are no text, or blank, go to `invalid` where it is given; without it the first that is no text is an error, as in training.
    """
    for language in languages:
        for given in sources[language]:
            source = decode(given) if isinstance(given, dict) else given
            try:
                yield from _read(source, language, context, invalid)
            except (reading.SourceError, WorldError, ValueError) as error:
                raise SuiteError(f"suite {name}, {language}: {error}") from error


def repeated(
    name: str, asked: Sequence[tuple[str, str, str]], apart_from: Mapping[str, Sequence[Any]], context: SuiteContext
) -> frozenset[str]:
    """Of (sample, language, text) the samples whose text also stands in the language's training sources `apart_from`.

    Data sets repeat themselves and hold parts of one another, and a split by document keeps that.
    """
    found: set[str] = set()
    for language in apart_from:
        own = [(name, sample, text) for sample, of, text in asked if of == language]
        found |= {overlap.sample for overlap in find((text.text for text in texts(name, [language], apart_from, context)), own)}
    return frozenset(found)


def _read(source: Any, language: str, context: SuiteContext, invalid: list[Sample] | None) -> Iterator[Text]:
    if source.language != language:
        raise SuiteError(f"the source {reading.name(source)} is {source.language}, but it is listed under {language}")
    strata = {}
    if isinstance(source, WorldText):
        from training.world import text as world

        strata = {document.id: document.stratum for document in world.documents(source)}
    hub, home = Path(context.hub) if context.hub else None, Path(context.profile_dir)
    sifted = invalid is not None and not isinstance(source, WorldText)
    for document in _documents(source, hub, home) if sifted else reading.read(source, hub, home):
        prefix = f"{language}/"
        named = f"{source.path}#{document.id.rpartition('#')[2]}" if isinstance(source, TextFiles) else document.id
        sample = prefix + named.removeprefix(prefix)
        cluster = document.cluster or (sample if isinstance(source, TextFiles) else named.removeprefix(prefix))
        if isinstance(document, Amiss):
            assert invalid is not None
            invalid.append(Sample(sample=sample, cluster=cluster, language=language, invalid=document.why))
        else:
            yield Text(sample=sample, cluster=cluster, language=language, stratum=strata.get(document.id, ""), text=document.text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Amiss:
    """A document that cannot be scored: one of its rows is no text, or all are blank."""

    id: str
    why: str
    cluster: str = ""


def _documents(source: HubText | TextFiles, hub: Path | None, home: Path) -> Iterator[reading.Document | Amiss]:
    """What `training.pretraining.sources.read` gives of a file, and what it stops at or passes over."""
    if isinstance(source, HubText):
        path = reading.hub_path(source, hub)
        assert hub is not None
        rows = reading.rows_of_mirror(path, hub)
        stem, group = f"{source.dataset}/{source.config}/{source.split}:{source.field}", f"{source.dataset}/{source.split}"
        try:
            groups = reading.RULES[source.select](rows, source.field)
        except (KeyError, SelectError) as error:
            raise reading.SourceError(f"{path}: {error}") from error
    else:
        path = reading.file_path(source, home)
        rows = list(reading.rows_of(path))
        stem, group = path.name, ""
        groups = [(str(index), (index,)) for index in range(len(rows))]
    if not groups:
        raise reading.SourceError(
            f"{reading.name(source)} holds no document; name another file, split or `select` rule, or drop the source"
        )
    for key, members in groups:
        name, cluster = f"{stem}#{key}", f"{group}#{key}" if group else ""
        try:
            found = [reading._text(rows[index], source.field, path, index) for index in members]
        except reading.SourceError as error:
            yield Amiss(id=name, why=str(error), cluster=cluster)
            continue
        if joined := "\n".join(text for text in found if text):
            yield reading.Document(
                id=name, text=joined, language=source.language, source=reading.name(source), licence=source.licence, cluster=cluster
            )
        else:
            yield Amiss(id=name, why=f"{path}, row {members[0] + 1}, field {source.field!r} is blank", cluster=cluster)
