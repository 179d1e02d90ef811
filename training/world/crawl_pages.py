"""Pages of the dirty crawl: world text in lines, and the HTML of a host around it.

Three hosts a language, each with lines that stand on all its pages: menu, cookie notice and footer around the article, and inside it, where no
extraction tells them from text, a word on sharing, on subscribing and on reading more. Their words are drafts (`boilerplate.toml`).
"""

from __future__ import annotations

import dataclasses
import functools
import html
import itertools
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training.languages import by_code
from training.recipe import WorldText
from training.world import language, text
from training.world.language import WorldError

HOSTS = ("harbour", "market", "village")
MENU, INSIDE = ("home", "about", "contact", "news", "search"), ("share", "subscribe", "read_more")
LEAST = 400  # characters of a page's text: below 250 trafilatura takes menus for text
SAME_LINE = 2  # times that a line of a world document (a quiz's answer) may stand in a language's pages: six are boilerplate
BATCH = 40
STREAMS = 10**6  # seeds of world text between the crawls of two seeds
_END = re.compile(r"(?<=[.?!])\s+|(?<=[。။។])\s*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capture:
    """What the crawler was answered under a URL."""

    url: str
    body: bytes
    status: str = "200 OK"
    content_type: str = "text/html; charset=utf-8"


@functools.cache
def words(iso: str) -> Mapping[str, str]:
    """The words around a page in a language. Raises WorldError where there are none."""
    path = Path(__file__).with_name("boilerplate.toml")
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    if iso not in data:
        raise WorldError(f"{path.name} has no language {iso!r}: it has {', '.join(data)}")
    found: Mapping[str, str] = data[iso]
    return found


def host_of(iso: str, number: int) -> str:
    """A host of the language; `.example` is nobody's."""
    return f"{HOSTS[number % len(HOSTS)]}-{iso}.example"


def boilerplate(iso: str, host: str) -> tuple[str, ...]:
    """The lines that stand on every page of the host."""
    return tuple(words(iso)[key].format(host=host) for key in (*MENU, "cookies", *INSIDE, "rights"))


def page(iso: str, host: str, title: str, lines: Sequence[str], *, links: Sequence[str] = (), charset: str = "utf-8") -> str:
    """The HTML of a page of the host, which calls itself a page in `iso`: a paragraph a line, then a list of links."""

    def said(key: str) -> str:
        return html.escape(words(iso)[key].format(host=host), quote=False)

    menu = "".join(f'<li><a href="/{key}">{said(key)}</a></li>' for key in MENU)
    article = "\n".join(f"<p>{html.escape(line, quote=False)}</p>" for line in lines)
    if links:
        listed = (f'<li><a href="/tag/{number}">{html.escape(link)}</a></li>' for number, link in enumerate(links))
        article += "\n<ul>" + "\n".join(listed) + "</ul>"
    return f"""<!DOCTYPE html>
<html lang="{by_code(iso).lid176}">
<head><meta charset="{charset}"><title>{html.escape(title, quote=False)} | {host}</title></head>
<body>
<header><nav class="menu"><ul>{menu}</ul></nav></header>
<div class="cookie-notice" role="dialog">{said("cookies")}</div>
<main><article>
{article}
<p>{said("share")}</p>
<p>{said("subscribe")}</p>
<p>{said("read_more")}</p>
</article></main>
<footer><p>{said("rights")}</p></footer>
</body>
</html>
"""


class Pool:
    """World text of one language, never the same document twice; `stream` keeps pools of one crawl apart."""

    def __init__(self, iso: str, seed: int, stream: int = 0) -> None:
        """Text for the crawl of a seed."""
        self.iso = iso
        self._first = seed * STREAMS + stream * (STREAMS // 100)
        self._documents = self._told()
        self._lines: Counter[str] = Counter()

    def _told(self) -> Iterator[list[str]]:
        for batch in itertools.count(self._first):
            for document in text.documents(WorldText(language=self.iso, documents=BATCH, seed=batch)):
                yield document.text.split("\n")

    def take(self, least: int = LEAST) -> list[str]:
        """Lines of whole documents, at least so many characters."""
        taken: list[str] = []
        while sum(map(len, taken)) < least:
            lines = next(self._documents)
            folded = [re.sub(r"\d+", "0", line.casefold()) for line in lines]
            if all(self._lines[line] < SAME_LINE for line in folded):
                self._lines.update(folded)
                taken += lines
        return taken

    def story(self) -> str:
        """A document of one line and at least four sentences."""
        while True:
            lines = next(self._documents)
            if len(lines) == 1 and len(self.sentences(lines[0])) >= 4:
                return lines[0]

    def sentences(self, line: str) -> list[str]:
        """The sentences of a line; in Thai and Lao, which end none with a sign, what stands between spaces."""
        end = re.compile(r"\s+") if self.iso in ("tha", "lao") else _END
        return [part for part in end.split(line) if part]

    def joined(self, sentences: Sequence[str]) -> str:
        """Sentences as one line."""
        return language.load(self.iso).sentence_gap.join(sentences)
