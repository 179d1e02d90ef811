"""Synthetic text (3.2): good English documents translated into a language; positives for the quality classifier, and text to train on.

    python -m training.curation.synthetic --language ind --translator nllb-200-3.3B/ --output synthetic/ \\
        --source cosmopedia=cosmopedia/*.parquet --source madlad=madlad/*.jsonl.zst --source ultrachat=ultrachat/*.jsonl

The recipe of 3.2 is 10,000 documents a language: 40 % Cosmopedia, 40 % MADLAD, 20 % UltraChat. Which documents depends on their texts and the seed
alone. They are translated in parts of PART documents, each written when it is done: a run that is stopped goes on after the last part, and ends in
the same shard. A document says which source, under which licence, and what translated it.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import heapq
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from training.curation.documents import CurationError, Document, Quarantined, files_of, read, write
from training.languages import LanguageError, by_code

PART = 16  # documents
COUNTS = {"cosmopedia": 4_000, "madlad": 4_000, "ultrachat": 2_000}  # 40/40/20 (3.2)
LICENCES = {"nllb": "CC-BY-NC-4.0"}  # of translators, by how their directory's name begins


class Translates(Protocol):
    """What translates: `training.models.translate.Translator`."""

    name: str

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Each text in the target language."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnglishSource:
    """Where English documents are drawn from: shards (paths, directories, patterns), and how many of them."""

    name: str
    files: tuple[str, ...]
    documents: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthetic:
    """The documents of a language: `sources` as 3.2 has them in COUNTS; `longest` characters of a document, a longer one is passed over."""

    language: str
    sources: tuple[EnglishSource, ...]
    seed: int = 0
    longest: int = 20_000

    def __post_init__(self) -> None:
        """Refuse a language that we do not know, and English."""
        try:
            iso = by_code(self.language).iso
        except LanguageError as error:
            raise CurationError(f"synthetic.language: {error}") from error
        if iso == "eng" or iso != self.language:
            raise CurationError(f"synthetic.language is {self.language!r}: give the ISO 639-3 code of a language other than English")
        if len({source.name for source in self.sources}) != len(self.sources) or not self.sources:
            raise CurationError("synthetic.sources: name at least one source, and each once")


def draw(recipe: Synthetic) -> list[Document]:
    """The English documents of a recipe, source by source, no text twice. Raises CurationError where a source holds too few."""
    drawn: list[Document] = []
    taken: set[bytes] = set()
    for source in recipe.sources:
        unreadable: list[Quarantined] = []
        heap: list[tuple[int, bytes, Document]] = []  # the smallest keys, the largest on top
        seen: set[bytes] = set()
        for path in files_of(source.files):
            for document in read(path, unreadable.append):
                text = hashlib.sha256(document.text.encode()).digest()
                if len(document.text) > recipe.longest or text in seen or text in taken:
                    continue
                seen.add(text)
                key = int.from_bytes(hashlib.sha256(f"{recipe.seed} ".encode() + text).digest(), "big")
                if len(heap) < source.documents:
                    heapq.heappush(heap, (-key, text, document))
                elif -heap[0][0] > key:
                    heapq.heappushpop(heap, (-key, text, document))
        if len(heap) < source.documents:
            raise CurationError(
                f"synthetic source {source.name} holds {len(heap)} documents of at most {recipe.longest} characters that no other source has, "
                f"{source.documents} are asked for ({len(unreadable)} rows cannot be read): give it more files or ask for fewer"
            )
        taken.update(text for _, text, _ in heap)
        drawn += [dataclasses.replace(document, source=source.name) for _, _, document in sorted(heap, key=lambda item: -item[0])]
    return drawn


def build(recipe: Synthetic, output: Path, translator: Callable[[], Translates], suffix: str = ".parquet") -> Path:
    """Translate the documents of a recipe into one shard of `output`, LANGUAGE.parquet, and return it; made already, it stands.

    `translator` is called when there is something to translate. Raises CurationError where `output` was begun with another recipe.
    """
    shard, parts = output / f"{recipe.language}{suffix}", output / f".{recipe.language}.parts"
    if shard.is_file():
        return shard
    drawn = draw(recipe)
    digest = hashlib.sha256(json.dumps([recipe.language, [(made.id, made.text) for made in drawn]]).encode()).hexdigest()
    parts.mkdir(parents=True, exist_ok=True)
    mark = parts / "drawn.json"
    if mark.is_file() and json.loads(mark.read_text())["digest"] != digest:
        raise CurationError(f"{parts} was begun with other documents: remove it, or give the recipe and files it was begun with")
    aside = mark.with_suffix(".new")
    aside.write_text(json.dumps({"digest": digest, "documents": len(drawn)}))
    aside.replace(mark)
    loaded: Translates | None = None
    for start in range(0, len(drawn), PART):
        part = parts / f"{start:08d}.jsonl"
        if not part.is_file():
            loaded = loaded or translator()
            write(part, translated(drawn[start : start + PART], recipe.language, loaded))
    made = [document for path in sorted(parts.glob("*.jsonl")) for document in read(path, _whole)]
    write(shard, made)
    shutil.rmtree(parts)
    return shard


def translated(documents: Sequence[Document], language: str, translator: Translates) -> list[Document]:
    """Documents in another language; one whose translation is blank is left out."""
    texts = translator.translate([document.text for document in documents], "eng", language)
    licence = next((licence for begins, licence in LICENCES.items() if translator.name.lower().startswith(begins)), "")
    return [
        Document(
            id=f"{document.source}/{document.id}/{language}",
            text=text,
            url=document.url,
            language=language,
            source=document.source,
            licence=" + ".join(part for part in (document.licence or "unknown", licence) if part),
            extra={**document.extra, "translator": translator.name, "translated_from": "eng"},
        )
        for document, text in zip(documents, texts, strict=True)
        if text.strip()
    ]


def _whole(found: Quarantined) -> None:
    raise CurationError(f"{found.file}, row {found.row}: {found.reason}; remove the file, it is translated again")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 2 a clear error."""
    from training.models.load import ModelError
    from training.models.translate import load_translator

    parser = argparse.ArgumentParser(
        prog="python -m training.curation.synthetic", description="English documents in another language (3.2)."
    )
    parser.add_argument("--language", required=True, help="ISO 639-3 code of the language to translate into")
    parser.add_argument("--translator", type=Path, required=True, help="checkpoint directory of the translation model")
    parser.add_argument("--output", type=Path, required=True, help="directory of the shard")
    parser.add_argument(
        "--source",
        action="append",
        required=True,
        metavar="NAME=FILES",
        help=f"English documents; {COUNTS}, or NAME:COUNT=FILES; again for each",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    try:
        recipe = Synthetic(language=given.language, sources=_sources(given.source), seed=given.seed)
        shard = build(recipe, given.output, lambda: load_translator(given.translator, given.dtype, given.device))
    except (CurationError, ModelError) as error:
        print(f"synthetic: {error}", file=sys.stderr)
        return 2
    print(shard)
    return 0


def _sources(given: Sequence[str]) -> tuple[EnglishSource, ...]:
    """NAME=FILES or NAME:COUNT=FILES; a NAME given again adds files. Raises CurationError."""
    found: dict[str, EnglishSource] = {}
    for each in given:
        named, equals, files = each.partition("=")
        name, _, count = named.partition(":")
        if not equals or not (count.isdigit() or (not count and name in COUNTS)):
            raise CurationError(f"--source {each}: write NAME:COUNT=FILES, or NAME=FILES for {', '.join(COUNTS)}")
        before = found.get(name)
        wanted = int(count) if count else before.documents if before else COUNTS[name]
        found[name] = EnglishSource(name=name, files=(*(before.files if before else ()), files), documents=wanted)
    return tuple(found.values())


if __name__ == "__main__":
    raise SystemExit(main())
