"""What is planted in the dirty crawl, one method a kind of trouble; each leaves pages and their truth.

Every draw hangs on the language, the seed and the kind alone, so a page is the same whatever other languages the crawl has.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from training.languages import by_code, same_set
from training.recipe import WorldText
from training.world import crawl_private, facts, language, text
from training.world.crawl_pages import LEAST, Capture, Pool, host_of, page, words
from training.world.crawl_truth import KIN, KINDS, NEAR, Truth, similarity

HELD_OUT = 60  # documents: those that the suites of `nano` read
LONG = 900  # characters of pages of which one sentence is changed
PASSAGE = 220  # characters
# Addresses of one page: what crawlers meet.
ALIASES: tuple[Callable[[str], str], ...] = (
    lambda url: f"{url}?utm_source=feed&utm_medium=rss",
    lambda url: url.replace("https://", "http://"),
    lambda url: f"{url}/",
    lambda url: f"{url}#comments",
    lambda url: f"{url}?fbclid=IwAR0{len(url)}",
)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


class Planter:
    """The pages of one language."""

    def __init__(self, iso: str, pages: int, seed: int, only: Sequence[str] = ()) -> None:
        """Plant every kind, then clean pages until there are `pages`; or `only` some kinds (of duplicates their originals besides), as many of each."""
        self.iso, self.seed = iso, seed
        self.told_in = language.load(iso)
        self.pool, self.aside = Pool(iso, seed), Pool(iso, seed, stream=1)
        self.pages: list[tuple[Truth, Capture]] = []
        others = [other for other in language.LANGUAGES if not same_set(iso, other)]
        # another neighbour for every language, so that each is planted in some other
        self.other = others[language.LANGUAGES.index(iso) % len(others)]
        self.others = Pool(self.other, seed, stream=2 + language.LANGUAGES.index(iso))
        for kind, about in KINDS.items():
            if about.share and (kind in only or not only):
                self.rng = random.Random(f"crawl/{iso}/{seed}/{kind}")
                getattr(self, f"_{kind}")(pages // len(only) if only else max(2, round(about.share * pages)))
        while len(self.pages) < pages:
            self.add("", self.pool.take())

    def add(self, kind: str, lines: Sequence[str], **known: Any) -> Truth:
        """A page of these lines. `known`: fields of the truth that differ from what follows from the kind; and `raw`, `links`, `extra`, `head`."""
        serial = len(self.pages)
        record = str(uuid.UUID(bytes=hashlib.sha256(f"{self.iso}/{self.seed}/{serial}".encode()).digest()[:16], version=4))
        host = known.pop("host", "") or host_of(self.iso, serial)
        title = random.Random(record)
        names = facts.choose(title, "festival"), facts.choose(title, "town")
        url = known.pop("url", "") or f"https://{host}/{by_code(self.iso).lid176}/2026/{'-'.join(names).replace('_', '-')}-{serial}"
        shown = self.told_in.separator.join((self.told_in.lexicon["festival"][names[0]], self.told_in.lexicon["town"][names[1]]))
        raw: Callable[[str], bytes] = known.pop("raw", str.encode)
        head: dict[str, str] = known.pop("head", {})
        charset = known.pop("charset", "utf-8")
        made = page(self.iso, host, shown, [*lines, *known.pop("extra", ())], links=known.pop("links", ()), charset=charset)
        about = KINDS.get(kind)
        settled: dict[str, Any] = {
            "language": self.iso,
            "group": f"{self.iso}/{kind or 'page'}-{serial}",
            "fate": about.fate if about else "keep",
            "layers": about.layers if about else (),
            "text": "\n".join(lines),
        }
        truth = Truth(record=record, url=url, host=host, declared=self.iso, kind=kind, **{**settled, **known})
        self.pages.append((truth, Capture(url=url, body=raw(made), **head)))
        return truth

    # -------------------------------------------------------------------------------------------------------- duplicates

    def _exact(self, count: int) -> None:
        while count:
            first = self.add("", self.pool.take(), group=f"{self.iso}/exact-{len(self.pages)}")
            for _ in range(min(count, 1 + self.rng.randrange(2))):
                self.add(
                    "exact", first.text.split("\n"), group=first.group, favour=first.record, jaccard=similarity(first.text, first.text)
                )
                count -= 1

    def _near(self, count: int) -> None:
        for _ in range(count):
            lines = self.pool.take(LONG)
            first = self.add("", lines, group=f"{self.iso}/near-{len(self.pages)}")
            edited, alike = self._edited(lines)
            self.add("near", edited, group=first.group, favour=first.record, jaccard=alike)

    def _edited(self, lines: list[str]) -> tuple[list[str], dict[str, float]]:
        """The lines with as many of up to three drawn sentences exchanged for others as leave a near duplicate; where none do, one added."""
        best = [*lines, self.pool.sentences(self.aside.story())[0]]
        edited = list(lines)
        for _ in range(3):
            place = max(range(len(edited)), key=lambda at: (len(self.pool.sentences(edited[at])), self.rng.random()))
            sentences = self.pool.sentences(edited[place])
            sentences[self.rng.randrange(len(sentences))] = self.pool.sentences(self.aside.story())[0]
            edited[place] = self.pool.joined(sentences)
            if min(similarity("\n".join(lines), "\n".join(edited)).values()) < NEAR:
                break
            best = list(edited)
        alike = similarity("\n".join(lines), "\n".join(best))
        if min(alike.values()) < NEAR:
            raise language.WorldError(f"{self.iso}: a near duplicate of {alike}, below {NEAR}; the world's documents are too short")
        return best, alike

    def _kin(self, count: int) -> None:
        for _ in range(count):
            stories = [self.pool.story() for _ in range(4)]
            first = self.add("", stories, group=f"{self.iso}/kin-{len(self.pages)}")
            for shared in (2, 3, 2, 3, 1, 2, 3):  # stories differ in length
                lines = [*stories[:shared], *(self.aside.story() for _ in range(4 - shared))]
                alike = similarity(first.text, "\n".join(lines))
                if all(KIN[0] <= value <= KIN[1] for value in alike.values()):
                    break
            else:
                raise language.WorldError(
                    f"{self.iso}: two pages share {alike}, outside {KIN}; the world's documents differ too much in length"
                )
            self.add("kin", lines, group=first.group, favour=first.record, jaccard=alike)

    def _url(self, count: int) -> None:
        while count:
            lines = self.pool.take(LONG)
            first = self.add("", lines, group=f"{self.iso}/url-{len(self.pages)}")
            for cut in (0.6, 0.35)[: min(count, 2)]:
                left = round(cut * sum(map(len, lines)))
                shorter = []
                for line in lines:
                    shorter.append(line[: max(left, 0)])
                    left -= len(line)
                alias = ALIASES[(count + len(first.group)) % len(ALIASES)](first.url)
                kept = [line for line in shorter if line]
                self.add("url", kept, group=first.group, favour=first.record, host=first.host, url=alias)
                count -= 1

    def _passage(self, count: int) -> None:
        while count:
            size = 2 if count in (2, 4) else min(count, 3)
            passage = ""
            while len(passage) < PASSAGE:
                passage = self.pool.joined([passage, self.aside.story()] if passage else [self.aside.story()])
            group = f"{self.iso}/passage-{len(self.pages)}"
            for _ in range(size):
                sentences = self.pool.sentences(self.pool.story())
                inside = self.pool.joined([*sentences[:2], passage, *sentences[2:]])
                self.add("passage", [inside, *self.pool.take()], group=group, passage=passage)
            count -= size

    # -------------------------------------------------------------------------------------------------------------- spam

    def _word(self, *groups: str) -> str:
        return self.told_in.lexicon[(group := groups[self.rng.randrange(len(groups))])][facts.choose(self.rng, group)]

    def _stuffing(self, count: int) -> None:
        for _ in range(count):
            keyword = f"{self._word('goods', 'food')} {words(self.iso)['offer']}"
            self.add("stuffing", [" ".join([keyword] * (30 + self.rng.randrange(20)))])

    def _repetition(self, count: int) -> None:
        for number in range(count):
            sentence = self.pool.sentences(self.aside.story())[0]
            line = self.pool.joined([sentence] * 20) if number % 2 else self._word("goods", "colour") * 150
            self.add("repetition", [line])

    def _links(self, count: int) -> None:
        offer = words(self.iso)["offer"]
        for number in range(count):
            goods = [(facts.choose(self.rng, "goods"), facts.choose(self.rng, "colour")) for _ in range(60)]
            addresses = [f"www.{thing}-{at}.example/{colour}" for at, (thing, colour) in enumerate(goods)]
            offers = [f"{self.told_in.lexicon['goods'][thing]} {offer} {at}" for at, (thing, _) in enumerate(goods)]
            self.add("links", [], links=addresses if number % 2 else offers)

    def _salad(self, count: int) -> None:
        for _ in range(count):
            said: list[str] = []
            while len(" ".join(said)) < LEAST + 200:
                said.append(self._word("food", "goods", "job", "festival", "weather", "time", "day", "taste"))
                said.append(self.told_in.function_words[self.rng.randrange(len(self.told_in.function_words))])
            lines = [self.told_in.separator.join(said[at : at + 25]) for at in range(0, len(said), 25)]
            self.add("salad", lines)

    # --------------------------------------------------------------------------------------------- languages and encodings

    def _wrong_language(self, count: int) -> None:
        for _ in range(count):
            self.add("wrong_language", self.others.take(), language=self.other)

    def _mixed(self, count: int) -> None:
        for _ in range(count):
            self.add("mixed", [*self.pool.take(), *self.others.take()])

    def _charset(self, count: int) -> None:
        for _ in range(count):
            lines = self.pool.take()
            lines[0] = f"“{lines[0]}”"
            head = {"content_type": "text/html; charset=iso-8859-1"}
            self.add("charset", lines, head=head, charset="windows-1252")

    def _mojibake(self, count: int) -> None:
        for _ in range(count):
            lines = [garbled(line) for line in self.pool.take()]
            self.add("mojibake", lines, text="")

    def _broken_utf8(self, count: int) -> None:
        for _ in range(count):
            lines = self.pool.take()
            self.add("broken_utf8", [f"{lines[0]} —", *lines[1:]], text="\n".join(lines), raw=_cut_dash)

    def _nul(self, count: int) -> None:
        for _ in range(count):
            self.add("nul", self.pool.take(), raw=lambda made: made.replace("</p>", "\0\0</p>").encode())

    # ------------------------------------------------------------------------------------------- what must not be trained on

    def _private(self, count: int) -> None:
        for _ in range(count):
            held, said = crawl_private.made_up(self.iso, self.rng), words(self.iso)
            line = f"{said['contact']}: {held['email'][0]}, {said['telephone']} {held['telephone'][0]}, {said['identity']} {held['identity'][0]}"
            self.add("private", self.pool.take(), extra=[line], private=held)

    def _contaminated(self, count: int) -> None:
        held = text.documents(WorldText(language=self.iso, documents=HELD_OUT, split="held_out"))
        for number in range(count):
            before, after = self.pool.take(LEAST // 2), self.pool.take(LEAST // 2)
            story = held[(number * 7) % HELD_OUT].text
            self.add("contaminated", [*before, story, *after], text="\n".join([*before, *after]), passage=story)

    # ------------------------------------------------------------------------------------------------------ hardly a page

    def _short(self, count: int) -> None:
        for _ in range(count):
            self.add("short", [self._word("food", "goods")])

    def _not_html(self, count: int) -> None:
        for number in range(count):
            sort, body = ("image/png", PNG) if number % 2 else ("application/json", b'{"pages": []}')
            self.add("not_html", [], raw=lambda _, body=body: body, head={"content_type": sort})

    def _missing(self, count: int) -> None:
        for _ in range(count):
            self.add("missing", [words(self.iso)["not_found"], *self.pool.take()], text="", head={"status": "404 Not Found"})


def garbled(line: str) -> str:
    """A line read in the wrong encoding: UTF-8 as Latin-1, or where that would show little, UTF-16 with its bytes swapped."""
    if sum(sign > "\x7f" for sign in line) > len(line) // 10:
        return line.encode().decode("latin-1")
    return line.encode("utf-16-le").decode("utf-16-be", "replace")


def _cut_dash(made: str) -> bytes:
    return made.encode().replace("—".encode(), "—".encode()[:2], 1)
