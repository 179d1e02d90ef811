"""The committed quick samples of a profile, and what its suites cost: `python -m harness.quick write smol --hub DIR [--store DIR]`.

A suite draws its own quick sample (stratified by language and stratum, by hash of the cluster: `harness.suites.spread`).
`goldens/samples/PROFILE.json` pins what it drew, id by id, so that data, options or code that move the draw are seen as what they are, and
not as a change of score. Beside the ids stand the size of the full suite and the seconds that one checkpoint took, from which the plan
tells the minutes.

    write   draw and write the file; with --store, the seconds of that store's last quick evaluations
    check   draw, and say what differs from the file (exit code 1)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness import goldens, profiles
from harness.durable import write_json
from harness.profiles import Profile
from harness.suites import SuiteContext, SuiteError, load

SHOWN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawn:
    """One suite's quick sample: its ids in order of drawing, the size of the full suite, seconds a checkpoint (None: never measured)."""

    ids: tuple[str, ...]
    of: int
    seconds: float | None = None

    def differs(self, ids: Iterable[str]) -> str:
        """In words, what of a draw is not the committed one; "" where it is."""
        found, wanted = set(ids), set(self.ids)
        parts = []
        for word, names in (("gone", sorted(wanted - found)), ("new", sorted(found - wanted))):
            if names:
                parts.append(f"{len(names)} {word}, e.g. {', '.join(names[:SHOWN])}")
        return "; ".join(parts)


def path_of(profile: Profile) -> Path:
    """Where a profile's quick samples stand: `goldens/samples/STEM.json` for `goldens/gates/STEM.toml`."""
    return goldens.beside(profile.gates) / "samples" / f"{profile.gates.stem}.json"


def read(path: Path) -> dict[str, Drawn]:
    """The committed samples by suite; empty where there is no file. Raises SuiteError for a file that is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != 1:
            raise ValueError("its schema is not 1")
        return {
            name: Drawn(ids=tuple(entry["ids"]), of=int(entry["of"]), seconds=entry.get("seconds"))
            for name, entry in data["suites"].items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SuiteError(f"{path} holds no quick samples ({error}); restore it from git or run `python -m harness.quick write`") from error


def hold(path: Path, suite: str, ids: Iterable[str]) -> None:
    """Raise SuiteError unless a quick draw is the committed one; a suite that the file does not name is free."""
    committed = read(path).get(suite)
    if committed is not None and (said := committed.differs(ids)):
        raise SuiteError(
            f"suite {suite}: the quick sample is not the one committed in {path} ({said}); its data or options changed. "
            "If that is meant, run `python -m harness.quick write` and bless again"
        )


def draw(profile: Profile, hub: Path | None, seconds: Mapping[str, float] | None = None) -> dict[str, Drawn]:
    """Draw every suite of a profile anew. Raises SuiteError where one cannot be had."""
    found = {}
    for name, spec in profile.suites.items():
        suite = load(spec, name, profile.directory)
        if getattr(suite, "needs_tokenizer", False) or not getattr(suite, "needs_model", True):  # drawn for an artifact, from its seed
            continue
        ids: list[str] = []
        of = 0
        for samples in ("quick", "full"):
            context = SuiteContext(hub=str(hub) if hub else None, profile_dir=str(profile.directory), samples=samples)  # type: ignore[arg-type]
            drawn = [sample.sample for sample in suite.samples(context)]
            ids, of = (drawn, of) if samples == "quick" else (ids, len(drawn))
        found[name] = Drawn(ids=tuple(ids), of=of, seconds=(seconds or {}).get(name))
    return found


def measured(store: Path) -> dict[str, float]:
    """Seconds of each suite: the longest of the store's quick evaluations that computed every answer."""
    found: dict[str, float] = {}
    for path in sorted((store / "rows").glob("*-quick/summary.json")):
        for name, entry in json.loads(path.read_text(encoding="utf-8")).items():
            if entry["computed"] and not entry["cached"]:
                found[name] = max(found.get(name, 0.0), float(entry["seconds"]))
    return found


def plan_line(profile: Profile, samples: str) -> str:
    """Expected minutes of one checkpoint's evaluation, suite by suite; "" where nothing was measured.

    Measured are quick samples; those of a full run are taken to be as dear, sample for sample.
    """
    found = {
        name: drawn.seconds * (drawn.of / len(drawn.ids) if samples == "full" else 1)
        for name, drawn in read(path_of(profile)).items()
        if drawn.seconds is not None and drawn.ids
    }
    if not found:
        return ""
    parts = [f"{name} {seconds / 60:.1f}" for name, seconds in sorted(found.items(), key=lambda item: -item[1])]
    how = ", from the quick samples" if samples == "full" else ""
    return f"an evaluation, minutes{how}: {', '.join(parts)}; {sum(found.values()) / 60:.0f} in all"


def write(profile: Profile, drawn: Mapping[str, Drawn]) -> Path:
    """Write the file; what was measured before and not now is kept."""
    path = path_of(profile)
    before = read(path)
    suites = {}
    for name, entry in drawn.items():
        seconds = entry.seconds if entry.seconds is not None else before[name].seconds if name in before else None
        suites[name] = {"of": entry.of, "seconds": None if seconds is None else round(seconds, 1), "ids": list(entry.ids)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": 1, "profile": profile.name, "suites": suites})
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 done, 1 something differs, 2 a clear error."""
    parser = argparse.ArgumentParser(prog="python -m harness.quick", description="The committed quick samples of a profile.")
    parser.add_argument("do", choices=("write", "check"))
    parser.add_argument("profile")
    parser.add_argument("--hub", type=Path, default=None, help="local mirror of Hub data sets")
    parser.add_argument("--store", type=Path, default=None, help="take the seconds of this store's last quick evaluations")
    given = parser.parse_args(arguments)
    try:
        profile = profiles.load(given.profile)
        drawn = draw(profile, given.hub.absolute() if given.hub else None, measured(given.store) if given.store else None)
        for name, entry in drawn.items():
            print(f"{name:<24} {len(entry.ids):>6} of {entry.of:>6}" + (f"  {entry.seconds:.0f} s" if entry.seconds else ""))
        if given.do == "write":
            print(f"written: {write(profile, drawn)}")
            return 0
        committed = read(path_of(profile))
        moved = {name: said for name, entry in drawn.items() if (said := committed.get(name, Drawn(ids=(), of=0)).differs(entry.ids))}
        for name, said in moved.items():
            print(f"{name}: {said}", file=sys.stderr)
        return 1 if moved else 0
    except (SuiteError, profiles.ProfileError) as error:
        print(f"quick: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
