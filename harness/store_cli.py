"""`python -m harness.store`: look at the store, and move artifacts in and out of it.

    list                      what there is, and in which fields an artifact differs from its sibling
    show NAME                 the record of one artifact
    verify [NAME ...]         hash every file again
    adopt STAGE DIR           take a checkpoint made elsewhere
    prune [--keep N] [--yes]  forget older artifacts that nothing stands on
    push URL [NAME ...]       to a mirror, with ancestors;   pull URL [NAME ...]  from it

NAME is a fingerprint's first digits or [PROFILE/]STAGE[@VARIANT]. Exit: 0 done, 1 damaged or failed, 2 a wrong command line.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness import goldens, prune
from harness.record import Damaged, Record, StoreError, differences
from harness.selection import UnknownSelector, chosen, one
from harness.store import Artifact, Store
from training.stages import GRAPH


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(Store(options.store), options)
    except UnknownSelector as error:
        print(f"harness.store: {error}", file=sys.stderr)
        return 2
    except StoreError as error:
        print(f"harness.store: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("harness.store: interrupted; the store is valid, run the same command again to go on", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `| head` has seen enough
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.store", description="The artifacts of Seatrials.", allow_abbrev=False)
    where = os.environ.get("SEATRIALS_STORE") or ".seatrials"
    parser.add_argument("--store", type=Path, default=Path(where), help="the store (SEATRIALS_STORE; default .seatrials)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(run=run)
        return made

    listing = command("list", _list, "what there is, and how it differs from its sibling")
    listing.add_argument("names", nargs="*", metavar="NAME")
    command("show", _show, "the record of one artifact").add_argument("name", metavar="NAME")
    command("verify", _verify, "hash every file again").add_argument("names", nargs="*", metavar="NAME")
    adopting = command("adopt", _adopt, "take a checkpoint made elsewhere (safetensors only)")
    adopting.add_argument("stage", choices=tuple(GRAPH), metavar="STAGE")
    adopting.add_argument("directory", type=Path, metavar="DIR")
    adopting.add_argument("--parent", action="append", default=[], metavar="NAME", help="the artifact it was made from")
    adopting.add_argument("--profile", default="nano", metavar="NAME|FILE.py")
    adopting.add_argument("--variant", default="main")
    adopting.add_argument("--link", action="store_true", help="hard-link the files instead of copying them")
    pruning = command("prune", _prune, "forget older artifacts that nothing stands on (only shows what it would do)")
    pruning.add_argument("--keep", type=int, default=2, metavar="N", help="newest artifacts kept of each stage and variant (default 2)")
    pruning.add_argument(
        "--goldens", type=Path, action="append", default=[], metavar="DIR", help="further goldens whose artifacts are kept"
    )
    pruning.add_argument("--yes", action="store_true", help="remove them")
    for name, run, text in (("push", _push, "send artifacts to a mirror"), ("pull", _pull, "fetch artifacts from a mirror")):
        moving = command(name, run, text)
        moving.add_argument("url", metavar="URL")
        moving.add_argument("names", nargs="*", metavar="NAME")
    return parser


def _selected(store: Store, names: Sequence[str]) -> list[Artifact]:
    artifacts = store.artifacts()
    wanted = {id(record) for record in chosen([artifact.record for artifact in artifacts], names)}
    return [artifact for artifact in artifacts if id(artifact.record) in wanted]


# -------------------------------------------------------------------------------------------------------------- commands


def _list(store: Store, options: argparse.Namespace) -> int:
    everything = store.artifacts()
    artifacts = _selected(store, options.names)
    order = {stage: index for index, stage in enumerate(GRAPH)}
    artifacts.sort(key=lambda item: (item.record.profile, order.get(item.record.stage, len(order)), item.record.stage, item.record.started))
    rows = [("PROFILE", "STAGE", "VARIANT", "FINGERPRINT", "SIZE", "TOKENS", "MADE", "DIFFERS FROM SIBLING IN")]
    for artifact in artifacts:
        record = artifact.record
        made = f"{record.started[:16].replace('T', ' ')}{' adopted' if record.adopted else ''}"
        tokens = f"{record.tokens:,}" if record.tokens else "-"
        rows.append(
            (
                record.profile,
                record.stage,
                record.variant,
                record.fingerprint[:12],
                _size(record.bytes),
                tokens,
                made,
                _apart(record, everything),
            )
        )
    if artifacts:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
        for row in rows:
            cells = [
                cell.rjust(width) if column in (4, 5) else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=False))
            ]
            print("  ".join([*cells, row[-1]]).rstrip())
    broken = store.damaged()
    for path, error in broken:
        print(f"damaged: {path}: {error}", file=sys.stderr)
    if not artifacts and not broken:
        print(f"no artifacts in {store.root}; `pytest -m stage2` builds some")
    return 1 if broken else 0


def _apart(record: Record, everything: Sequence[Artifact]) -> str:
    """In what a record differs from its sibling: the one made before it of its variant, else the newest of `main`."""
    family = [item.record for item in everything if (item.record.profile, item.record.stage) == (record.profile, record.stage)]
    before = [other for other in family if other.variant == record.variant and other != record and other.started <= record.started]
    main = [other for other in family if other.variant == "main" and record.variant != "main"]
    if not before and not main:
        return "-"
    sibling = max(before or main, key=lambda other: (other.started, other.fingerprint))
    found = differences(sibling, record)
    shown = "; ".join(found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    return f"{sibling.fingerprint[:6]}: {shown or 'nothing'}"


def _show(store: Store, options: argparse.Namespace) -> int:
    artifacts = {id(artifact.record): artifact for artifact in store.artifacts()}
    record = one([artifact.record for artifact in artifacts.values()], options.name)
    print(artifacts[id(record)].path)
    print(json.dumps(record.to_json(), indent=1, ensure_ascii=False))
    return 0


def _verify(store: Store, options: argparse.Namespace) -> int:
    broken = [str(error) for _, error in store.damaged()]
    sound = 0
    for artifact in _selected(store, options.names):
        try:
            store.verify(artifact)
        except Damaged as error:
            broken.append(str(error))
        else:
            sound += 1
            print(f"{artifact}: {len(artifact.record.files)} files, {_size(artifact.record.bytes)}, as recorded")
    for text in broken:
        print(f"harness.store: {text}", file=sys.stderr)
    print(f"{sound} sound, {len(broken)} damaged")
    return 1 if broken else 0


def _profile(named: str, stage: str) -> tuple[str, tuple[str, ...]]:
    """A profile's own name, and the checkpoints that the stage is made from in it; a name that cannot be loaded is taken as it is."""
    from harness import profiles

    try:
        profile = profiles.load(named)
    except profiles.ProfileError as error:
        if named.endswith(".py"):
            raise StoreError(str(error)) from error
        return named, tuple(name for name in GRAPH[stage].parents if GRAPH[name].makes == "checkpoint")
    if stage not in profile.stages:
        raise StoreError(f"profile {profile.name} has no stage {stage}; it has {', '.join(profile.stages)}")
    return profile.name, profile.made_from(stage)


def _adopt(store: Store, options: argparse.Namespace) -> int:
    options.profile, before = _profile(options.profile, options.stage)
    artifacts = store.artifacts(options.profile)
    named = {id(artifact.record): artifact for artifact in artifacts}
    parents = [named[id(one([artifact.record for artifact in artifacts], name))] for name in options.parent]
    if not parents:
        for stage in before:
            of_stage = [artifact for artifact in artifacts if artifact.record.stage == stage]
            if len(of_stage) != 1:
                found = f"{len(of_stage)} of it are in the store" if of_stage else f"none is in the store: build or adopt {stage} first"
                raise UnknownSelector(f"{options.stage} is made from {stage}; say from which one with --parent FINGERPRINT ({found})")
            parents += of_stage
    artifact = store.adopt(
        options.stage, options.directory, profile=options.profile, variant=options.variant, parents=parents, link=options.link
    )
    made = f", made from {', '.join(str(parent) for parent in parents)}" if parents else ""
    print(f"adopted {artifact}{made}: {len(artifact.record.files)} files, content {artifact.record.content[:12]}")
    return 0


def _prune(store: Store, options: argparse.Namespace) -> int:
    kept = [goldens.root() / "blessed", *options.goldens]
    if missing := [str(path) for path in options.goldens if not path.exists()]:
        raise UnknownSelector(f"no goldens at {', '.join(missing)}; nothing was pruned")
    decided = (prune.act if options.yes else prune.plan)(store, keep=options.keep, goldens=[path for path in kept if path.exists()])
    for decision in decided.decisions:
        print(f"{'keep  ' if decision.keep else 'remove'}  {decision.artifact}  {_size(decision.artifact.record.bytes)}  {decision.why}")
    for path in decided.leftovers:
        print(f"remove  {path.relative_to(store.root)}  left behind by a finished build")
    freed = _size(sum(artifact.record.bytes for artifact in decided.removed))
    done = "removed" if options.yes else "would be removed (--yes removes)"
    print(f"{len(decided.removed)} artifacts, {freed}, and {len(decided.leftovers)} left-over directories {done}")
    return 0


def _push(store: Store, options: argparse.Namespace) -> int:
    from harness.mirror import Mirror

    print(f"{len(Mirror(options.url).push(store, options.names))} pushed")
    return 0


def _pull(store: Store, options: argparse.Namespace) -> int:
    from harness.mirror import Mirror

    print(f"{len(Mirror(options.url).pull(store, options.names))} pulled")
    return 0


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
