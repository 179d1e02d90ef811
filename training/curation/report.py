"""What became of a corpus, for people: `python -m training.curation report CORPUS` prints it and writes CORPUS/report.html.

A line a layer (seen, kept, dropped, bytes), under it the reasons with samples of what was dropped and cut; a table by language; what the corpus holds by
source and licence; what could not be read, and, apart from it, what was kept with a remark.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.curation.chain import read_report
from training.curation.documents import CurationError

SAMPLES = 3  # dropped documents shown a reason
CUT = 6  # things cut shown a layer
WIDTH = 120  # characters of a sample in text
LOOKED_AT = 20_000  # lines of a layer's dropped files that are searched for samples


def load(corpus: Path) -> dict[str, Any]:
    """The report of a corpus directory. Raises CurationError where there is none."""
    report = read_report(corpus)
    if report is None:
        unfinished = " (the run there was not finished: start it again)" if (corpus / "work").is_dir() else ""
        raise CurationError(f"{corpus} holds no report.json{unfinished}; give the --output directory of a run")
    return report


def samples(corpus: Path, step: str) -> dict[str, list[dict[str, Any]]]:
    """A few dropped documents of a step for each reason, the first of each language before a second."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in _rows(corpus / "dropped" / step):
        found.setdefault(row["reason"], {}).setdefault(row["language"], []).append(row)
    return {reason: _in_turns(languages, SAMPLES) for reason, languages in found.items()}


def cut(corpus: Path, step: str) -> list[dict[str, Any]]:
    """A few things that a step cut from documents that stay, the first of each language before a second."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in _rows(corpus / "cut" / step, "samples.jsonl"):
        found.setdefault(row["language"], []).append(row)
    return _in_turns(found, CUT)


def _in_turns(languages: dict[str, list[dict[str, Any]]], most: int) -> list[dict[str, Any]]:
    return [rows[turn] for turn in range(most) for rows in languages.values() if turn < len(rows)][:most]


def _rows(directory: Path, pattern: str = "*.jsonl") -> Iterator[dict[str, Any]]:
    looked = 0
    for path in sorted(directory.glob(pattern)):
        with path.open(encoding="utf-8") as file:
            for line in file:
                looked += 1
                if looked > LOOKED_AT:
                    return
                yield json.loads(line)


def text(report: dict[str, Any], corpus: Path | None = None) -> str:
    """The report as plain text; with samples where the corpus is given."""
    lines = [f"{'layer':<16} {'seen':>10} {'kept':>10} {'dropped':>9} {'MB seen':>9} {'MB kept':>9}"]
    for layer in report["layers"]:
        share = f"{layer['dropped'] / layer['seen']:.1%}" if layer["seen"] else "-"
        lines.append(
            f"{layer['name']:<16} {layer['seen']:>10,} {layer['kept']:>10,} {share:>9} "
            f"{layer['seen_bytes'] / 1e6:>9.2f} {layer['kept_bytes'] / 1e6:>9.2f}"
        )
        dropped = samples(corpus, layer["step"]) if corpus else {}
        for reason, count in sorted(layer["reasons"].items(), key=lambda item: -item[1]):
            lines.append(f"    {count:>9,}  {reason}")
            lines += [_sample("dropped", row["language"], row["excerpt"]) for row in dropped.get(reason, [])]
        lines += [f"    {count:>9,}  ({what})" for what, count in sorted(layer["counts"].items())]
        lines += [_sample("cut", row["language"], row["what"]) for row in cut(corpus, layer["step"])] if corpus else []
    lines += ["", f"{'language':<10} {'read':>10} {'in the corpus':>14} {'MB':>9}"]
    for language, (seen, kept, size) in _languages(report).items():
        lines.append(f"{language or '(none)':<10} {seen:>10,} {kept:>14,} {size / 1e6:>9.2f}")
    lines += ["", f"{'licence':<24} {'source':<32} {'documents':>10} {'MB':>9}"]
    for (licence, source), (documents, size) in _licences(report).items():
        lines.append(f"{licence or '(none stated)':<24} {source or '(none stated)':<32} {documents:>10,} {size / 1e6:>9.2f}")
    lines += ["", f"left out by kind: {sum(report['skipped'].values()):,}"]
    lines += [f"    {count:>9,}  {reason}" for reason, count in sorted(report["skipped"].items(), key=lambda item: -item[1])]
    lines += [f"not readable: {report['quarantined']:,} (quarantine.jsonl)"]
    lines += [f"    {count:>9,}  {reason}" for reason, count in _most(report["quarantine_reasons"])]
    lines += [f"kept with a remark: {report.get('remarks', 0):,} (quarantine.jsonl, `kept` is true)"]
    lines += [f"    {count:>9,}  {reason}" for reason, count in _most(report.get("remark_reasons", {}))]
    return "\n".join(lines)


def _sample(what: str, language: str, said: str) -> str:
    """A line of what was dropped or cut; nothing in it that moves a terminal's cursor."""
    one = "".join(letter for letter in " ".join(said.split()) if letter.isprintable())
    return f"{'':>15}{what}, {language or 'no language'}: {one[:WIDTH]}{'...' if len(one) > WIDTH else ''}"


def _most(reasons: dict[str, int]) -> list[tuple[str, int]]:
    """The reasons that are told most often: 10 of them, as each may name its own byte or character."""
    return sorted(reasons.items(), key=lambda item: -item[1])[:10]


def _languages(report: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """language -> documents read under that name, documents and bytes in the corpus."""
    found: dict[str, list[int]] = {}
    for language, counts in (report["layers"][0]["by_language"] if report["layers"] else {}).items():
        found.setdefault(language, [0, 0, 0])[0] += counts["seen"]
    for entry in report["corpus"]:
        held = found.setdefault(entry["language"], [0, 0, 0])
        held[1] += entry["documents"]
        held[2] += entry["bytes"]
    return {language: (seen, kept, size) for language, (seen, kept, size) in sorted(found.items())}


def _licences(report: dict[str, Any]) -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for entry in report["corpus"]:
        held = found.setdefault((entry["licence"], entry["source"]), [0, 0])
        held[0] += entry["documents"]
        held[1] += entry["bytes"]
    return {key: (documents, size) for key, (documents, size) in sorted(found.items())}


# -------------------------------------------------------------------------------------------------------------------- HTML

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b2733; background: #fff }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 } td, th { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #dde3e8 }
td:first-child, th:first-child { text-align: left } .bar { background: #e4eaef; height: .5rem; min-width: 6rem } .bar b { display: block; height: 100%; background: #2b6ea6 }
details { margin: .2rem 0 .2rem 1rem } blockquote { margin: .3rem 0; padding: .3rem .8rem; border-left: 3px solid #cbd5dd; overflow-wrap: anywhere }
small { color: #5a6875 } .wide { overflow-x: auto }
@media (prefers-color-scheme: dark) { body { background: #14191e; color: #dbe3ea } td, th { border-color: #2c3640 } .bar { background: #2c3640 } }
"""


def page(corpus: Path, report: dict[str, Any], dropped: Path | None = None) -> str:
    """The report as one self-contained page; everything from the documents is escaped. Samples are read in `dropped`, else in the corpus."""
    e = html.escape
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Curation of {e(corpus.name)}</title><style>{STYLE}</style><h1>Curation of {e(corpus.name)}</h1>",
        "<div class=wide><table><tr><th>layer<th>seen<th>kept<th>dropped<th>MB kept<th></tr>",
    ]
    for layer in report["layers"]:
        share = layer["kept"] / layer["seen"] if layer["seen"] else 1.0
        parts.append(
            f"<tr><td>{e(layer['name'])}<td>{layer['seen']:,}<td>{layer['kept']:,}<td>{1 - share:.1%}<td>{layer['kept_bytes'] / 1e6:,.2f}"
            f"<td><div class=bar><b style='width:{share:.1%}'></b></div></tr>"
        )
    parts.append("</table></div><h2>Why</h2>")
    for layer in report["layers"]:
        if not layer["reasons"] and not layer["counts"]:
            continue
        parts.append(f"<h3>{e(layer['name'])}</h3>")
        if layer["counts"]:
            told = ", ".join(f"{e(what)} {count:,}" for what, count in sorted(layer["counts"].items()))
            parts.append(f"<p><small>{told}</small></p>")
        shown = samples(dropped or corpus, layer["step"])
        for reason, count in sorted(layer["reasons"].items(), key=lambda item: -item[1]):
            parts.append(f"<details><summary>{e(reason)}: {count:,}</summary>")
            for row in shown.get(reason, []):
                parts.append(
                    f"<blockquote dir=auto>{e(row['excerpt'])}<br><small>{e(row['language'] or 'no language')} · {e(row['id'])} · "
                    f"{e(row['detail'])}</small></blockquote>"
                )
            parts.append("</details>")
        if pieces := cut(dropped or corpus, layer["step"]):
            parts.append("<details><summary>What was cut from documents that stay: samples</summary>")
            parts += [
                f"<blockquote dir=auto>{e(row['what'])}<br><small>{e(row['language'] or 'no language')} · {e(row['id'])}</small></blockquote>"
                for row in pieces
            ]
            parts.append("</details>")
    parts.append("<h2>Languages</h2><div class=wide><table><tr><th>language<th>read<th>in the corpus<th>MB</tr>")
    parts += [
        f"<tr><td>{e(language or '(none)')}<td>{seen:,}<td>{kept:,}<td>{size / 1e6:,.2f}</tr>"
        for language, (seen, kept, size) in _languages(report).items()
    ]
    parts.append("</table></div><h2>Sources and licences</h2><div class=wide><table><tr><th>licence<th>source<th>documents<th>MB</tr>")
    parts += [
        f"<tr><td>{e(licence or '(none stated)')}<td>{e(source or '(none stated)')}<td>{documents:,}<td>{size / 1e6:,.2f}</tr>"
        for (licence, source), (documents, size) in _licences(report).items()
    ]
    skipped = ", ".join(f"{e(reason)} {count:,}" for reason, count in sorted(report["skipped"].items(), key=lambda item: -item[1]))
    lost = "".join(f", {e(reason)} {count:,}" for reason, count in _most(report["quarantine_reasons"]))
    remarks = "".join(f", {e(reason)} {count:,}" for reason, count in _most(report.get("remark_reasons", {})))
    parts.append(f"</table></div><p>Left out by kind: {skipped or 'nothing'}.</p>")
    parts.append(f"<p>Not readable: {report['quarantined']:,} (quarantine.jsonl){lost}.</p>")
    parts.append(f"<p>Kept with a remark: {report.get('remarks', 0):,} (quarantine.jsonl, <code>kept</code> is true){remarks}.</p>")
    return "\n".join(parts)
