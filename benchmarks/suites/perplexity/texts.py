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
from harness.suites import SuiteContext, SuiteError
from training.pretraining import sources as reading
from training.recipe import TextFiles, WorldText, decode
from training.world.language import WorldError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    """A document to be scored."""

    sample: str
    cluster: str
    language: str
    stratum: str
    text: str


def check_sources(name: str, languages: Sequence[str], sources: Mapping[str, Sequence[Any]]) -> None:
    """Raise SuiteError where a language has no source."""
    if missing := [language for language in languages if not sources.get(language)]:
        raise SuiteError(f"suite {name}: no source for {', '.join(missing)}; give `sources` one for each language, or drop the language")


def texts(name: str, languages: Sequence[str], sources: Mapping[str, Sequence[Any]], context: SuiteContext) -> Iterator[Text]:
    """The documents of the languages, in order. Raises SuiteError naming suite, language and source."""
    for language in languages:
        for given in sources[language]:
            source = decode(given) if isinstance(given, dict) else given
            try:
                yield from _read(source, language, context)
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


def _read(source: Any, language: str, context: SuiteContext) -> Iterator[Text]:
    if source.language != language:
        raise SuiteError(f"the source {reading.name(source)} is {source.language}, but it is listed under {language}")
    strata = {}
    if isinstance(source, WorldText):
        from training.world import text as world

        strata = {document.id: document.stratum for document in world.documents(source)}
    for document in reading.read(source, Path(context.hub) if context.hub else None, Path(context.profile_dir)):
        prefix = f"{language}/"
        named = f"{source.path}#{document.id.rpartition('#')[2]}" if isinstance(source, TextFiles) else document.id
        sample = prefix + named.removeprefix(prefix)
        cluster = document.cluster or (sample if isinstance(source, TextFiles) else named.removeprefix(prefix))
        yield Text(sample=sample, cluster=cluster, language=language, stratum=strata.get(document.id, ""), text=document.text)
