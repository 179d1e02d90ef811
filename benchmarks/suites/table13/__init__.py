"""The base-model list of the paper (section 7.1, Table 13): thirteen rows, each a suite of its own name, `table13_ROW`, and all as `table13`.

Reading, common sense and most exams are SailCompass's tasks, translation is the suite `flores200`, and what SailCompass lacks (IndoCulture,
finetasks' Thai MMLU and M3Exam, VMLU, Tatabahasa) is `exam`. Shots are those of the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.suites import sailcompass
from benchmarks.suites.parallel import corpora
from benchmarks.suites.sailcompass import places
from benchmarks.suites.table13 import sources
from harness.suites import Suite, SuiteError, SuiteSpec, load
from training.languages import LANGUAGES

SEA = tuple(language.iso for language in LANGUAGES if language.iso not in ("eng", "cmn"))  # the 13


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRow:
    """A row of the table, and the factory of its suite. `benchmark` is its name in `goldens/paper/table_13.csv`, `shots` its shots."""

    name: str
    benchmark: str
    languages: tuple[str, ...]
    suite: str
    options: Mapping[str, Any]
    shots: int

    def __call__(self, name: str, languages: Sequence[str], absent: Sequence[str] = (), **options: Any) -> Suite:
        """The suite of some of the row's languages. Options are those of the suite under it; `absent` is said beside the score."""
        if odd := [language for language in languages if language not in self.languages]:
            raise SuiteError(f"suite {name}: {self.benchmark} of the list is in {', '.join(self.languages)}, not in {odd[0]}")
        suite = load(SuiteSpec(suite=self.suite, languages=tuple(languages), options={**self.options, **options}), name)
        return _saying(suite, absent) if absent else suite

    def alone(self, languages: Sequence[str], hub: Path | None, originals: Sequence[str] = ()) -> dict[str, SuiteSpec]:
        """What the row's bare name stands for: those of the languages that it has; data that is not there is an error when it is read."""
        there = tuple(language for language in self.languages if language in languages)
        if not there:
            raise SuiteError(f"table13_{self.name} has nothing in {', '.join(languages)}; it is in {', '.join(self.languages)}")
        return {f"table13_{self.name}": self._spec(there, originals)}

    def _spec(self, languages: tuple[str, ...], originals: Sequence[str]) -> SuiteSpec:
        given = self.suite == "sailcompass" and any(sailcompass.is_checkout(Path(path)) for path in originals)
        return SuiteSpec(suite=f"table13_{self.name}", languages=languages, options={"originals": sailcompass.GIVEN} if given else {})

    def held(self, language: str, hub: Path) -> bool:
        """Whether the mirror has the row's data in a language."""
        if self.suite == "sailcompass":
            return places.held(sailcompass.BY_DATA[self.options["task"]][language], hub, "")
        if self.suite == "flores200":
            try:
                return bool(corpora.read("flores200", ["eng", language], hub, "devtest").judged)
            except SuiteError:
                return False
        return sources.held(self.options["data"], hub)


def _sailcompass(name: str, benchmark: str, task: str, *languages: str) -> TableRow:
    return TableRow(name=name, benchmark=benchmark, languages=languages, suite="sailcompass", options={"task": task}, shots=3)


def _exam(name: str, benchmark: str, language: str, shots: int, **options: Any) -> TableRow:
    data = name.partition("_")[0]
    return TableRow(
        name=name,
        benchmark=benchmark,
        languages=(language,),
        suite="benchmarks.suites.table13.exam:build",
        options={"data": data, "shots": shots, **options},
        shots=shots,
    )


indoculture_ind = _exam("indoculture_ind", "IndoCulture", "ind", 0)
tydiqa_ind = _sailcompass("tydiqa_ind", "TydiQA", "tydiqa", "ind")
belebele_ind = _sailcompass("belebele_ind", "Belebele", "belebele", "ind")
mmlu_tha = _exam("mmlu_tha", "MMLU", "tha", 5)
m3exam_tha = _exam("m3exam_tha", "M3Exam", "tha", 5)
belebele_tha = _sailcompass("belebele_tha", "Belebele", "belebele", "tha")
vmlu_vie = _exam("vmlu_vie", "VMLU", "vie", 3, form="letter")
m3exam_vie = _sailcompass("m3exam_vie", "M3Exam", "m3exam", "vie")
belebele_vie = _sailcompass("belebele_vie", "Belebele", "belebele", "vie")
tatabahasa_zsm = _exam("tatabahasa_zsm", "Tatabahasa", "zsm", 3)
m3exam_jav = _sailcompass("m3exam_jav", "M3Exam", "m3exam", "jav")
flores200 = TableRow(
    name="flores200", benchmark="FLORES-200", languages=SEA, suite="flores200", options={"shots": 3, "modes": ["generate"]}, shots=3
)
xcopa = _sailcompass("xcopa", "XCOPA", "xcopa", "ind", "tha", "vie")

ROWS: Mapping[str, TableRow] = {
    row.name: row
    for row in (
        indoculture_ind, tydiqa_ind, belebele_ind, mmlu_tha, m3exam_tha, belebele_tha, vmlu_vie, m3exam_vie, belebele_vie, tatabahasa_zsm,
        m3exam_jav, flores200, xcopa,
    )
}  # fmt: skip


def build(name: str, languages: Sequence[str], row: str = "", **options: Any) -> Suite:
    """Factory of `table13`: option `row` names one of the thirteen; the others are those of its suite."""
    if row not in ROWS:
        raise SuiteError(f"suite {name}: row is {row!r}; it is one of {', '.join(ROWS)}")
    return ROWS[row](name, languages, **options)


def alone(languages: Sequence[str], hub: Path | None, originals: Sequence[str] = ()) -> dict[str, SuiteSpec]:
    """What `--suite table13` stands for: every row in those of the languages that it has and the mirror holds; what it lacks is said."""
    found: dict[str, SuiteSpec] = {}
    absent: list[str] = []
    for row in ROWS.values():
        asked = [language for language in row.languages if language in languages]
        there = tuple(language for language in asked if hub is None or row.held(language, hub))
        several = len(row.languages) > 1
        absent += [f"{row.name}_{language}" if several else row.name for language in asked if language not in there]
        if there:
            found[f"table13_{row.name}"] = row._spec(there, originals)
    if not found:
        missing = f" (not in the mirror: {', '.join(absent)})" if absent else ""
        raise SuiteError(f"table13 has nothing in {', '.join(languages)}{missing}")
    if absent:
        name, spec = next(iter(found.items()))
        found[name] = dataclasses.replace(spec, options={**spec.options, "absent": absent})
    return found


def _saying(suite: Suite, absent: Sequence[str]) -> Suite:
    """The suite, with what was asked for and is not in the mirror among its facts once its samples are made."""
    made = suite.samples

    def samples(context: Any) -> Any:
        yield from made(context)
        suite.facts["not in the mirror"] = ", ".join(absent)  # type: ignore[attr-defined]

    suite.samples = samples  # type: ignore[method-assign]
    return suite
