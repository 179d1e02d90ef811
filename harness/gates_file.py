"""The gates file: read, checked word by word against the profile, and expanded to gates, and held against the calibration beside it.

Every message names the file, the gate and the mend. Pydantic is imported where a table is checked, so that importing this is cheap.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import functools
import hashlib
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import calibration
from harness.gates import RULES, Gate, GatesError, Metrics, Waiver, expected_detectable, margin_of, seed_variance
from training.stages import GRAPH

if TYPE_CHECKING:
    from harness.profiles import Profile

KEYS = (
    "name",
    "stage",
    "suite",
    "metric",
    "rule",
    "against",
    "line",
    "margin",
    "relative",
    "languages",
    "macro",
    "stratum",
    "reason",
    "waiver",
)
NEEDED = ("name", "stage", "suite", "metric", "rule", "languages", "reason")


def digest_of(path: Path, today: datetime.date | None = None) -> str:
    """SHA-256 of what the gates file and its calibration say; comments and layout do not count, a waiver that has expired does."""
    said: dict[str, Any] = {"gates": _read(path)}
    waivers = [table["waiver"] for table, _ in _checked(path) if table["waiver"] is not None]
    said["standing"] = [waiver.active(today or datetime.date.today()) for waiver in waivers]
    measured = calibration.path_of(path)
    if measured.is_file():
        said["calibration"] = hashlib.sha256(measured.read_bytes()).hexdigest()
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def expanded(path: Path, profile: Profile, metrics: Metrics | None = None, *, calibrated: bool = True) -> tuple[Gate, ...]:
    """Read, check and expand a gates file (`harness.gates.load_gates`)."""
    found: list[Gate] = []
    for table, where in _checked(path):
        found += _expand(table, profile, metrics, where)
    names = [gate.name for gate in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise GatesError(f"{path}: two gates are called {twice}; give one of them another `name`")
    sizes = {stage: sum(gate.stage == stage for gate in found) for stage in {gate.stage for gate in found}}
    measured = calibration.read(calibration.path_of(path)) if calibrated else None
    done = tuple(
        dataclasses.replace(gate, family=sizes[gate.stage], calibrated=measured.of(gate, profile) if measured else None) for gate in found
    )
    for gate in done:
        _refuse_blind_margin(gate, path)
    return done


def check_words(path: Path) -> int:
    """Check what can be checked without a profile: TOML, keys, types, rules, waivers. Returns the number of tables; raises GatesError."""
    return len(_checked(path))


def _checked(path: Path) -> list[tuple[dict[str, Any], str]]:
    """The file's tables, each with the words that name it in a message."""
    data = _read(path)
    tables = data.get("gate", [])
    if unknown := [key for key in data if key not in ("schema", "gate")]:
        raise GatesError(f"{path}: unknown key {unknown[0]!r}; a gates file holds `schema = 1` and [[gate]] tables")
    if data.get("schema") != 1:
        raise GatesError(f"{path}: schema is {data.get('schema')!r}; this version reads `schema = 1`")
    if not isinstance(tables, list) or not tables:
        raise GatesError(f"{path}: no [[gate]] table; a profile without a gate certifies nothing")
    checked = []
    for place, table in enumerate(tables, 1):
        where = f"{path}: gate {place}" + (
            f" ({table['name']!r})" if isinstance(table, dict) and isinstance(table.get("name"), str) else ""
        )
        checked.append((_check(table, where), where))
    return checked


def _refuse_blind_margin(gate: Gate, path: Path) -> None:
    found = expected_detectable(gate)
    if found is None or gate.calibrated is None:
        return
    margin = margin_of(gate, gate.calibrated.reference)
    if margin is not None and margin < found:
        raise GatesError(
            f"{path}: {gate.name}: its margin of {margin:.4g} cannot be told from nought: at 90 % power {found:.4g} is the least that can "
            f"(standard error {gate.calibrated.standard_error:.2g}, between seeds {seed_variance(gate)[0]:.2g}); "
            "widen the margin, add held-out clusters, or leave the language to a macro gate"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GatesError(f"no gates file {path}; the profile's `gates` must name one") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise GatesError(f"{path} is not readable TOML: {error}") from error


def _close(word: object, among: Iterable[str]) -> str:
    found = difflib.get_close_matches(str(word), list(among), 1)
    return f"; did you mean {found[0]!r}?" if found else ""


@functools.cache
def _table() -> Any:
    """The schema of a gate's table."""
    import pydantic

    class Table(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
        name: str = pydantic.Field(pattern=r"^[A-Za-z0-9_-]+$")
        stage: str
        suite: str
        metric: str
        rule: str
        against: str = ""
        line: float | None = None
        margin: float | None = pydantic.Field(default=None, ge=0)
        relative: float | None = pydantic.Field(default=None, ge=0, lt=1)
        languages: str | list[str]
        macro: bool = False
        stratum: str = ""
        reason: str = pydantic.Field(min_length=1, pattern=r"^[^\n]*$")
        waiver: dict[str, Any] | None = None

    return Table


def _check(table: Any, where: str) -> dict[str, Any]:
    """The table with every key known and every value of the right type; `languages` is a str or a tuple of str."""
    import pydantic

    if not isinstance(table, dict):
        raise GatesError(f"{where} is not a table; write [[gate]]")
    for key in table:
        if key not in KEYS:
            raise GatesError(f"{where}: unknown key {key!r}{_close(key, KEYS)}. Known: {', '.join(KEYS)}")
    if missing := [key for key in NEEDED if key not in table]:
        raise GatesError(f"{where}: {missing[0]!r} is missing")
    if table["rule"] not in RULES:
        raise GatesError(f"{where}: no rule {table['rule']!r}{_close(table['rule'], RULES)}. Rules: {', '.join(RULES)}")

    try:
        checked = _table()(**table).model_dump()
        if checked["waiver"] is not None:
            checked["waiver"] = pydantic.TypeAdapter(Waiver, config=None).validate_python(checked["waiver"])
            if unknown := [key for key in table["waiver"] if key not in ("who", "why", "until")]:
                raise GatesError(f"{where}: unknown key {unknown[0]!r} in waiver; it holds who, why and until")
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if str(part) in (*KEYS, "who", "why", "until")) or "waiver"
        raise GatesError(f"{where}: {key} = {first.get('input')!r}: {first['msg']}") from None
    _check_rule(checked, where)
    return checked


def _check_rule(table: dict[str, Any], where: str) -> None:
    """Refuse a combination of keys that the rule cannot use."""
    rule = table["rule"]
    margins = [key for key in ("margin", "relative") if table[key] is not None]
    if rule in ("at_least", "at_most"):
        if table["line"] is None or margins or table["against"]:
            raise GatesError(f"{where}: {rule} takes `line` and neither `against` nor a margin")
    elif rule == "matches" and table["line"] is not None:
        if table["against"] or margins != ["margin"]:
            raise GatesError(f"{where}: matches with a `line` takes `margin` and no `against`")
    elif not table["against"]:
        raise GatesError(f"{where}: {rule} needs `against` (a stage, 'parent' or 'blessed')")
    elif table["line"] is not None or len(margins) != 1:
        raise GatesError(f"{where}: {rule} takes `against` and exactly one of `margin` (absolute) and `relative`, and no `line`")


def _expand(table: dict[str, Any], profile: Profile, metrics: Metrics | None, where: str) -> list[Gate]:
    """One table as one guard a language, or as one macro gate; every name in it checked against the profile."""
    stage, suite = table["stage"], table["suite"]
    if stage not in profile.stages:
        raise GatesError(
            f"{where}: profile {profile.name} has no stage {stage!r}{_close(stage, profile.stages)}. Stages: {', '.join(profile.stages)}"
        )
    if suite not in profile.suites:
        raise GatesError(
            f"{where}: profile {profile.name} has no suite {suite!r}{_close(suite, profile.suites)}. Suites: {', '.join(profile.suites)}"
        )
    spec = profile.suites[suite]
    if metrics is not None and suite in metrics and table["metric"] not in metrics[suite]:
        known = metrics[suite]
        raise GatesError(
            f"{where}: suite {suite} has no metric {table['metric']!r}{_close(table['metric'], known)}. Metrics: {', '.join(known)}"
        )
    if table["against"] == "parent":
        parents = profile.made_from(stage)
        if len(parents) != 1:
            raise GatesError(f"{where}: against = 'parent', but {stage} has {len(parents)} parents; name the stage")
        table["against"] = parents[0]
    against = table["against"]
    if against == "release":
        raise GatesError(f"{where}: against = 'release': write 'blessed', which holds the stage against both baselines")
    if against and against != "blessed" and against not in profile.ancestry(stage)[:-1]:
        among = (*profile.ancestry(stage)[:-1], "blessed", "parent")
        raise GatesError(f"{where}: against = {against!r} is no ancestor of {stage}{_close(against, among)}. It may be {', '.join(among)}")
    for name in (stage, *((against,) if against and against != "blessed" else ())):
        if spec.stages and name not in spec.stages:
            raise GatesError(
                f"{where}: suite {suite} does not run on {name} (it runs on {', '.join(spec.stages)}); add the stage to the suite"
            )
        if not spec.stages and GRAPH[name].makes != "checkpoint":
            raise GatesError(
                f"{where}: {name} makes a {GRAPH[name].makes}, and suite {suite} runs on checkpoints; give the suite stages = ('{name}',)"
            )
    languages = expand_languages(table["languages"], stage, profile, where)
    if lacking := [language for language in languages if language not in spec.languages]:
        raise GatesError(
            f"{where}: suite {suite} has no {', '.join(lacking)} (it has {', '.join(spec.languages)}); name the languages it has"
        )
    if table["macro"] and len(languages) < 2:
        raise GatesError(f"{where}: a macro gate over {languages[0]} alone; leave out `macro`")
    common = {key: table[key] for key in KEYS if key not in ("name", "languages")}
    label = table["name"]
    if table["macro"]:
        return [Gate(name=f"{stage}.{label}.macro", label=label, languages=languages, **common)]
    return [Gate(name=f"{stage}.{label}.{language}", label=label, languages=(language,), **common) for language in languages]


def expand_languages(said: str | Sequence[str], stage: str, profile: Profile, where: str) -> tuple[str, ...]:
    """The languages that `all`, `X.new`, `X.seen` (X: `stage`, `parent` or a stage's name) or a list stand for, in the profile's order."""
    if isinstance(said, str):
        if said == "all":
            return profile.languages
        base, _, what = said.partition(".")
        names = {"stage": (stage,), "parent": profile.made_from(stage)}.get(base, (base,))
        if what not in ("new", "seen") or len(names) != 1 or names[0] not in profile.stages:
            among = ["all", *(f"{name}.{kind}" for name in ("stage", "parent", *profile.stages) for kind in ("new", "seen"))]
            raise GatesError(
                f"{where}: languages = {said!r} is not understood{_close(said, among)}. Write {', '.join(among[:5])}, ... or a list"
            )
        found = profile.stages[names[0]].adds if what == "new" else profile.seen(names[0])
        if not found:
            raise GatesError(f"{where}: languages = {said!r} is empty: {names[0]} adds no language; name them, or leave the gate out")
        return tuple(found)
    if not said or len(set(said)) != len(said):
        raise GatesError(f"{where}: languages is an empty list or names one twice")
    if unknown := [language for language in said if language not in profile.languages]:
        raise GatesError(f"{where}: profile {profile.name} has no language {unknown[0]!r}{_close(unknown[0], profile.languages)}")
    return tuple(said)
