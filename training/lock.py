"""The stage lock: code that bears on an artifact does not move unseen (promise 1).

    python -m training.lock check
    python -m training.lock write [--equal "why the result is the same"]

`goldens/locks/stages.json` holds, for each builder, the version of its recipe and a hash of the syntax tree of every module of
`training` that the builder imports, directly or not, or loads by name (the layers of curation), and of the TOML files beside them.
Comments, docstrings and layout do not count. When one moves, either the recipe's `version` is raised (every artifact of it is built
anew) or the result is shown to be equal and `write --equal` says how.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "goldens" / "locks" / "stages.json"
PACKAGE = "training"
BY_NAME = {"training.curation.layer": "LAYERS"}  # module -> its table of what is loaded by name: "module:Class" strings


class LockError(Exception):
    """Code moved without a new version or a word that the result is equal; the message names builder and modules."""


def builders() -> dict[str, int]:
    """Every builder that a recipe names, with the recipe's version."""
    from training import recipe

    found = {}
    for _, kind in inspect.getmembers(recipe, inspect.isclass):
        if kind.__module__ == recipe.__name__ and hasattr(kind, "builder"):
            found[kind.builder] = int(kind.version)  # type: ignore[attr-defined]
    return found


def current(root: Path = ROOT, wanted: dict[str, int] | None = None) -> dict[str, dict[str, Any]]:
    """builder -> {"version", "modules": {module: hash of its syntax tree}} of the code as it stands."""
    modules = builders() if wanted is None else wanted
    return {
        builder: {"version": version, "modules": {name: tree_hash(path) for name, path in imports(builder.partition(":")[0], root).items()}}
        for builder, version in sorted(modules.items())
    }


def compare(locked: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> list[str]:
    """What is amiss, a line a builder: moved code under the same version, a version that the lock does not know, a builder gone."""
    amiss = []
    for builder in sorted(locked.keys() | now.keys()):
        if builder not in locked:
            amiss.append(f"{builder} is not in the lock: run `python -m training.lock write`")
        elif builder not in now:
            amiss.append(f"{builder} is in the lock and no recipe names it: run `python -m training.lock write`")
        elif locked[builder]["version"] != now[builder]["version"]:
            amiss.append(f"{builder} is at version {now[builder]['version']}, the lock at {locked[builder]['version']}: write the lock")
        elif moved := changed(locked[builder]["modules"], now[builder]["modules"]):
            amiss.append(
                f"{builder}: {', '.join(moved)} moved under version {now[builder]['version']}. Raise `version` of its recipe in "
                'training/recipe.py, or show that the result is equal and run `python -m training.lock write --equal "how"`'
            )
    return amiss


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Modules that were added, removed or changed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def check(path: Path = LOCK) -> None:
    """Raise LockError unless the lock is that of the code as it stands."""
    if amiss := compare(_read(path)["builders"], current()):
        raise LockError("\n".join(amiss))


def write(path: Path = LOCK, equal: str = "") -> None:
    """Write the lock. Raises LockError where code moved under the same version and `equal` gives no reason."""
    known = _read(path) if path.exists() else {"builders": {}, "equal": []}
    now = current()
    moved = {
        builder: modules
        for builder, entry in now.items()
        if builder in known["builders"]
        and known["builders"][builder]["version"] == entry["version"]
        and (modules := changed(known["builders"][builder]["modules"], entry["modules"]))
    }
    if moved and not equal.strip():
        raise LockError("\n".join(compare(known["builders"], now)))
    notes = list(known["equal"])
    if moved:
        notes.append({"reason": equal.strip(), "builders": moved, "version": {builder: now[builder]["version"] for builder in moved}})
    # A note speaks of the version it was made under; a raised version starts afresh.
    notes = [note for note in notes if any(now.get(builder, {}).get("version") == at for builder, at in note["version"].items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"builders": now, "equal": notes}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"builders": found["builders"], "equal": found["equal"]}
    except FileNotFoundError:
        raise LockError(f"there is no lock {path}: run `python -m training.lock write`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise LockError(f"the lock {path} cannot be read ({error}): restore it from the repository") from error


# ------------------------------------------------------------------------------------------------------------------- trees


def imports(module: str, root: Path = ROOT) -> dict[str, Path]:
    """`module` and every module of the package that it imports, at any depth and in functions too; module -> file, sorted."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name, root)
        if path is None or name in found:
            continue
        found[name] = path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        waiting.extend(_imported(tree, name, path, root))
        waiting.extend(_named(tree, BY_NAME.get(name, "")))
        found |= {data.relative_to(root).as_posix(): data for data in path.parent.glob("*.toml")}
        waiting.extend(name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1))  # packages run their __init__
    return dict(sorted(found.items()))


def _file(name: str, root: Path) -> Path | None:
    """The file of a module of the package, or None for anything else."""
    if name.partition(".")[0] != PACKAGE:
        return None
    stem = root.joinpath(*name.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _imported(tree: ast.Module, name: str, path: Path, root: Path) -> Iterator[str]:
    """Module names that a tree imports when it runs; what stands under `if TYPE_CHECKING:` never runs."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in _running(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (start, node.module or "") if part)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)  # a name may be a module


def _named(tree: ast.Module, table: str) -> Iterator[str]:
    """The modules of the "module:Class" strings in the assignment to `table`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == table for target in node.targets):
            texts = (part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant) and isinstance(part.value, str))
            yield from (text.partition(":")[0] for text in texts if ":" in text)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node under `node` but the bodies of `if TYPE_CHECKING:`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _running(other)
        else:
            yield from _running(child)


def tree_hash(path: Path) -> str:
    """SHA-256 (hex) of a module's syntax tree without docstrings: the same on every Python version that parses it to the same tree.

    Of any other file, the hash of its bytes.
    """
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(_form(tree).encode()).hexdigest()


def _form(value: Any) -> str:
    """A tree as text. Empty fields are left out: Python versions add such."""
    if isinstance(value, ast.AST):
        fields = ((field, _form(getattr(value, field, None))) for field in value._fields if field != "type_comment")
        return f"{type(value).__name__}({','.join(f'{field}={form}' for field, form in fields if form not in ('[]', 'None'))})"
    if isinstance(value, list):
        return f"[{','.join(_form(item) for item in value)}]"
    return repr(value)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.lock", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=("check", "write"))
    parser.add_argument("--equal", default="", metavar="REASON", help="why the moved code gives an equal result")
    options = parser.parse_args(arguments)
    try:
        if options.action == "check":
            check()
        else:
            write(equal=options.equal)
    except LockError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
