"""The dirty crawl: the same bytes for a seed, every kind of trouble in every language, and a truth that says of each record what is so."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from training.languages import LANGUAGES as CODES
from training.languages import SCRIPTS, by_code, same_set
from training.recipe import WorldText
from training.world import crawl, crawl_truth, text
from training.world.crawl import Crawl, Truth
from training.world.crawl_pages import HOSTS, boilerplate, host_of, words
from training.world.crawl_truth import KIN, KINDS, NEAR
from training.world.language import LANGUAGES, WorldError

pytest.importorskip("warcio", reason="a crawl is written by warcio (the extra `curation`)")

Made = tuple[Path, list[Path], list[Truth]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    directory = tmp_path_factory.mktemp("crawl")
    files = crawl.write(Crawl(pages=100), directory)
    return directory, files, crawl.truth(directory)


@pytest.fixture(scope="module")
def pages(made: Made) -> dict[str, tuple[str, str, str, bytes]]:
    """record -> (URL, status line, content type, body), as warcio reads them; the torn record is not among them."""
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    found = {}
    for path in made[1]:
        with path.open("rb") as file:
            try:
                for record in ArchiveIterator(file):
                    if record.rec_type != "response":
                        continue
                    head, body = record.http_headers, record.content_stream().read()
                    if len(body) != int(head.get_header("Content-Length")):
                        continue  # torn
                    name = record.rec_headers.get_header("WARC-Record-ID").removeprefix("<urn:uuid:").removesuffix(">")
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    found[name] = (url, head.get_statuscode(), head.get_header("Content-Type"), body)
            except (ArchiveLoadFailed, EOFError):
                assert path == made[1][-1]
    return found


# ---------------------------------------------------------------------------------------------------------------- the files


def test_equal_settings_give_equal_bytes(tmp_path: Path) -> None:
    small = Crawl(languages=("eng", "tha"), pages=100, seed=3)
    one, other = crawl.write(small, tmp_path / "one"), crawl.write(small, tmp_path / "other")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert (tmp_path / "one/truth.jsonl").read_bytes() == (tmp_path / "other/truth.jsonl").read_bytes()
    crawl.write(dataclasses.replace(small, seed=4), tmp_path / "third")
    mine, theirs = ({truth.text for truth in crawl.truth(tmp_path / name) if truth.kind == ""} for name in ("one", "third"))
    assert len(mine & theirs) == 0


def test_a_language_has_the_same_pages_whatever_others_there_are(tmp_path: Path, made: Made) -> None:
    crawl.write(Crawl(languages=("lao",), pages=100), tmp_path)
    alone = {truth.record: truth for truth in crawl.truth(tmp_path) if truth.kind != "torn"}
    assert alone == {truth.record: truth for truth in made[2] if truth.declared == "lao" and truth.kind != "torn"}


def test_a_crawl_of_some_kinds_alone_has_as_many_pages_of_each(tmp_path: Path) -> None:
    kinds = ("stuffing", "salad", "mojibake")
    crawl.write(Crawl(languages=("eng", "tha"), pages=12, seed=3, only=kinds), tmp_path)
    found = Counter((truth.declared, truth.kind) for truth in crawl.truth(tmp_path)[:-1])
    assert found == {(iso, kind): 4 for iso in ("eng", "tha") for kind in kinds}
    for only, pages, said in (
        (("soap",), 10, "no trouble 'soap'"),
        (("torn",), 10, "no trouble 'torn'"),
        (kinds, 10, "multiple of 3"),
        ((), 12, "100 at least"),
    ):
        with pytest.raises(WorldError, match=said):
            Crawl(languages=("eng",), pages=pages, only=only)


def test_every_record_has_a_truth_and_the_last_one_is_torn(made: Made, pages: dict[str, tuple[str, str, str, bytes]]) -> None:
    truths = made[2]
    assert len({truth.record for truth in truths}) == len(truths) == 15 * 100 + 1
    assert truths[-1].kind == "torn"
    assert [truth.kind for truth in truths].count("torn") == 1
    assert set(pages) == {truth.record for truth in truths[:-1]}
    assert all(pages[truth.record][0] == truth.url for truth in truths[:-1])
    assert all(truth.licence == "Apache-2.0" and truth.source for truth in truths)


def test_every_kind_is_planted_in_every_language(made: Made) -> None:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for truth in made[2][:-1]:
        found[truth.declared][truth.kind] += 1
        about = KINDS.get(truth.kind)
        assert (truth.fate, truth.layers) == ((about.fate, about.layers) if about else ("keep", ()))
    assert set(found) == set(LANGUAGES)
    for iso, kinds in found.items():
        assert set(kinds) == {*KINDS, ""} - {"torn"}, iso
        assert min(kinds.values()) >= 2, iso
        assert kinds[""] >= 45, iso


# --------------------------------------------------------------------------------------------------------------- duplicates


def alike(one: str, other: str, unit: str) -> float:
    """Jaccard by the book: every run of five units of either text looked up in the list of the other's."""

    def runs(told: str) -> list[list[str]]:
        units: list[str] = []
        if unit == "characters":
            units = list(" ".join(told.lower().split()))
        else:
            for sign in told.lower():
                single = any(low <= ord(sign) <= high for script, ranges in SCRIPTS.items() if script != "Latin" for low, high in ranges)
                if sign.isspace():
                    units.append("")
                elif single:
                    units += [sign, ""]
                else:
                    units = [*units[:-1], units[-1] + sign] if units else [sign]
            units = [word for word in units if word]
        every = [units[at : at + 5] for at in range(len(units) - 4)]
        return [list(run) for run in dict.fromkeys(map(tuple, every))]

    mine, theirs = runs(one), runs(other)
    both = sum(run in theirs for run in mine)
    return both / (len(mine) + len(theirs) - both)


@pytest.mark.parametrize("iso", ["eng", "cmn", "tha", "mya", "vie"])
def test_recorded_similarities_are_exact(made: Made, iso: str) -> None:
    at = {truth.record: truth for truth in made[2]}
    for truth in (truth for truth in made[2] if truth.declared == iso and truth.jaccard):
        first = at[truth.favour]
        assert first.group == truth.group
        assert first.kind == ""
        for unit, value in truth.jaccard.items():
            assert value == pytest.approx(alike(first.text, truth.text, unit), abs=1e-12), truth
            assert {"exact": value == 1.0, "near": NEAR <= value < 1.0, "kin": KIN[0] <= value <= KIN[1]}[truth.kind], truth


def test_nothing_else_is_alike(made: Made) -> None:
    for iso in ("eng", "tha", "ind"):
        own = [truth for truth in made[2] if truth.declared == iso and truth.kind in ("", "passage", "charset", "private")]
        sets = [(truth.group, crawl_truth.shingles(truth.text, "words")) for truth in own]
        for (group, one), (other_group, other) in itertools.combinations(sets, 2):
            assert group == other_group or crawl_truth.jaccard(one, other) < 0.6


def canonical(url: str) -> str:
    bare = re.sub(r"#.*|\?(utm_|fbclid).*", "", url)
    return re.sub(r"^https?:", "", bare).rstrip("/")


def test_captures_of_one_page_have_one_address_and_the_longest_is_to_be_kept(made: Made) -> None:
    groups: dict[str, list[Truth]] = defaultdict(list)
    for truth in made[2][:-1]:
        groups[canonical(truth.url)].append(truth)
    for members in groups.values():
        kinds = sorted(truth.kind for truth in members)
        assert kinds in ([kinds[0]], ["", "url"], ["", "url", "url"])
        longest = max(members, key=lambda truth: len(truth.text))
        assert all(truth.favour == longest.record for truth in members if truth is not longest)
    assert len({truth.url for truth in made[2]}) == len(made[2]), "the addresses themselves differ"


def test_passages_are_long_and_shared(made: Made) -> None:
    groups: dict[str, list[Truth]] = defaultdict(list)
    for truth in made[2]:
        if truth.kind == "passage":
            groups[truth.group].append(truth)
    for members in groups.values():
        assert len(members) >= 2
        assert len({truth.passage for truth in members}) == 1
        assert len(members[0].passage) >= 100
        assert all(truth.passage in truth.text for truth in members)


# ------------------------------------------------------------------------------------------------------------- other trouble


def test_boilerplate_recurs_and_no_line_of_the_text_does(made: Made, pages: dict[str, tuple[str, str, str, bytes]]) -> None:
    whole = "\n".join(body.decode("utf-8", "replace") for _, _, _, body in pages.values())
    for iso, number in itertools.product(LANGUAGES, range(len(HOSTS))):
        for line in boilerplate(iso, host_of(iso, number)):
            assert whole.count(line) > 5, line
    lines = Counter(
        re.sub(r"\d+", "0", line.casefold())
        for truth in made[2]
        if truth.fate == "keep" and truth.kind != "kin"
        for line in truth.text.split("\n")
    )
    assert lines.most_common(1)[0][1] <= 5


def test_words_around_pages_are_in_the_languages_script() -> None:
    keys = set(words("eng"))
    for language in CODES:
        own = words(language.iso)
        assert set(own) == keys
        assert len(set(own.values())) == len(keys)
        letters = [ord(sign) for value in own.values() for sign in value.replace("{host}", "").replace("Cookie", "") if sign.isalpha()]
        assert all(any(low <= point <= high for low, high in SCRIPTS[language.script]) for point in letters), language.iso


def test_personal_data_is_nobodys_and_stands_on_its_page(made: Made, pages: dict[str, tuple[str, str, str, bytes]]) -> None:
    for truth in (truth for truth in made[2] if truth.kind == "private"):
        assert truth.masked == {"email": 1, "telephone": 1, "identity": 1}
        body = pages[truth.record][3].decode()
        assert all(one in body and one not in truth.text for held in truth.private.values() for one in held)
        assert truth.private["email"][0].endswith("@example.org")
        assert "555" in truth.private["telephone"][0]
    assert not any(truth.private for truth in made[2] if truth.kind != "private")


def test_contaminated_pages_hold_stories_of_the_evaluation(made: Made, pages: dict[str, tuple[str, str, str, bytes]]) -> None:
    for iso in ("eng", "khm"):
        held = {document.text for document in text.documents(WorldText(language=iso, documents=60, split="held_out"))}
        for truth in (truth for truth in made[2] if truth.declared == iso and truth.kind == "contaminated"):
            assert truth.passage in held
            assert truth.passage in pages[truth.record][3].decode()
            assert truth.passage not in truth.text


def test_wrong_languages_are_no_neighbours(made: Made) -> None:
    wrong = [truth for truth in made[2] if truth.kind == "wrong_language"]
    assert all(not same_set(truth.language, truth.declared) for truth in wrong)
    assert all(by_code(truth.declared).lid176 == truth.url.split("/")[3] for truth in wrong)


def test_broken_pages_are_broken_as_said(made: Made, pages: dict[str, tuple[str, str, str, bytes]]) -> None:
    for truth in made[2][:-1]:
        _, status, sort, body = pages[truth.record]
        broken = "\ufffd" in body.decode("utf-8", "replace")
        assert broken == (truth.kind == "broken_utf8" or sort == "image/png")
        assert (b"\0" in body) == (truth.kind == "nul" or sort == "image/png")
        assert status == ("404" if truth.kind == "missing" else "200")
        assert sort.startswith("text/html") == (truth.kind != "not_html")
        assert ("iso-8859-1" in sort) == (truth.kind == "charset")


def test_main_text_can_be_taken_from_clean_pages(made: Made, pages: dict[str, tuple[str, str, str, bytes]]) -> None:
    trafilatura = pytest.importorskip("trafilatura", reason="extraction needs the extra `curation`")
    for iso in LANGUAGES:
        truth = next(truth for truth in made[2] if truth.declared == iso and truth.kind == "")
        taken = trafilatura.extract(pages[truth.record][3].decode()) or ""
        for line in truth.text.split("\n"):
            assert "".join(line.split()) in "".join(taken.split()), iso


# ------------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"languages": ("xyz",)}, "no language 'xyz'"), ({"pages": 99}, "100 at least"), ({"languages": ()}, "at least one"), ({"seed": -1}, "0 or more")],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(WorldError, match=said):
        Crawl(**settings)  # type: ignore[arg-type]


def test_a_truth_that_is_none_is_named(tmp_path: Path, made: Made) -> None:
    with pytest.raises(WorldError, match=r"truth\.jsonl cannot be read"):
        crawl.truth(tmp_path)
    row = json.loads((made[0] / "truth.jsonl").read_text().partition("\n")[0])
    (tmp_path / "truth.jsonl").write_text(json.dumps({**row, "masked": {"email": 7}}) + "\n")
    with pytest.raises(WorldError, match="line 1: its counts of personal data"):
        crawl.truth(tmp_path)


def test_the_command_refuses_a_directory_of_another_crawl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.warc.gz").write_bytes(b"")
    assert crawl.main([str(tmp_path), "--pages", "100", "--languages", "eng"]) == 2
    assert "other.warc.gz is not of this crawl" in capsys.readouterr().err
    (tmp_path / "other.warc.gz").unlink()
    assert crawl.main([str(tmp_path), "--pages", "100", "--languages", "eng"]) == 0
    assert "101 records in 1 files" in capsys.readouterr().out
