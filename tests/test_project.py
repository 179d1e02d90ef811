"""The house rules, held by machine: layers, heavy imports, safe loading, pinned environments, README."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("harness", "training", "benchmarks")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    layer = path.relative_to(ROOT).parts[0]
    above = {"training": ("harness", "benchmarks"), "harness": ("benchmarks",), "benchmarks": ()}[layer]
    for module in _imports(path):
        assert module.partition(".")[0] not in above, f"{path} imports {module}: benchmarks -> harness -> training is the only way"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_and_no_remote_code_runs(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in ("torch.load",):
            assert "weights_only" in keywords, f"{path}:{node.lineno}: torch.load without weights_only=True"
            assert ast.unparse(keywords["weights_only"]) == "True"
        assert not re.fullmatch(r"(pickle|dill|cloudpickle|joblib)\.loads?", name), f"{path}:{node.lineno}: {name}"
        if "trust_remote_code" in keywords:
            assert ast.unparse(keywords["trust_remote_code"]) == "False", f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is_for_and_stays_readable(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name != "__init__.py" or text.strip():
        assert ast.get_docstring(ast.parse(text)), f"{path} has no purpose docstring"
    assert text.count("\n") <= 500, f"{path} is over 500 lines"


def test_pytests_own_process_never_imports_torch() -> None:
    code = (
        "import sys; sys.argv = ['pytest']; import harness.plugin, harness.pipeline, harness.plugin.summary, harness.report\n"
        "from harness import profiles, suites\n"
        "specs = [item for p in ('nano', 'smol') for item in profiles.load(p).suites.items()]\n"
        "[suites.load(spec, name).metrics for name, spec in specs]\n"
        "heavy = [m for m in ('torch', 'transformers', 'lm_eval', 'pandas', 'datasets') if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_plugin_is_light_where_no_stage_is_named() -> None:
    code = (
        "import sys, harness.plugin\n"
        "heavy = [m for m in ('numpy', 'pydantic', 'pyarrow', 'scipy', 'harness.pipeline') if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_readme_names_commands_and_options_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    options = (ROOT / "harness/plugin/options.py").read_text(encoding="utf-8")
    for option in set(re.findall(r"--gate-[a-z-]+", readme)):
        assert f'"{option}"' in options
    for environment in re.findall(r"tox run -e ([a-z0-9,-]+)", readme):
        for name in environment.split(","):
            assert f"[testenv:{name}]" in (ROOT / "tox.ini").read_text()
    for path in re.findall(r"`((?:harness|training|goldens|benchmarks)/[\w./{},]+\.(?:py|md|toml))`", readme):
        if "PROFILE" not in path and "{" not in path:
            assert (ROOT / path).is_file(), path


def test_ranges_and_pins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text()
    assert "torch==2.13.0\n" in pins
    assert not re.search(r"https?://|file:|@ ", pins), "a constraints file names versions, never places"
    torch = next(line for line in project["dependencies"] if line.startswith("torch"))
    assert "==" not in torch, "pyproject holds a range; the constraints file pins"
    for wanted in ("pytest", "lm-eval", "transformers", "trl", "openai", "pandas", "torch"):
        assert any(re.match(rf"{wanted}\b", line) for line in project["dependencies"]), wanted
    assert {"vllm", "flash", "gpu", "dev"} <= set(project["optional-dependencies"])


@pytest.mark.slow
@pytest.mark.parametrize(("extra", "constraints"), [
    ("dev,gguf,curation-ray", "constraints.txt"), ("curation", "constraints.txt"), ("vllm,curation", "constraints-vllm.txt"),
    ("vllm", "constraints-vllm.txt"), ("flash", "constraints-vllm.txt"), ("gpu", "constraints-vllm.txt"),
])  # fmt: skip
def test_the_constraints_resolve(extra: str, constraints: str, tmp_path: Path) -> None:
    """Every documented set of extras, what tox installs among them, with what pins it. flash-attn is resolved by its metadata: to build it takes CUDA's compiler."""
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("uv is not installed: pip install uv")
    extras = [f"--extra={one}" for one in extra.split(",")]
    result = subprocess.run(
        [uv, "pip", "compile", "-q", "pyproject.toml", *extras, "-c", constraints, "-o", str(tmp_path / "resolved.txt")],
        cwd=ROOT,
        env={**os.environ, "FLASH_ATTENTION_SKIP_CUDA_BUILD": "TRUE"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / constraints).read_text(), re.MULTILINE))
    resolved = dict(re.findall(r"^([\w.-]+)==(\S+)", (tmp_path / "resolved.txt").read_text(), re.MULTILINE))
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    for name in ("torch", "transformers", "lm-eval", "trl", "numpy"):
        assert resolved[name] == normal[name]
    assert ("flash-attn" in resolved) is (extra in ("flash", "gpu"))
    assert ("vllm" in resolved) is (extra.startswith("vllm") or extra == "gpu")
    assert ("daft" in resolved) is ("curation" in extra)


@pytest.mark.parametrize(("verdicts", "code"), [(["pass", "inconclusive"], 0), (["pass", "not run", "inconclusive"], 1), ([], 1)])
def test_continuous_integration_lets_an_inconclusive_gate_pass_and_one_that_was_not_run_never(
    tmp_path: Path, verdicts: list[str], code: int
) -> None:
    (tmp_path / "runs").mkdir()
    rows = [{"gate": f"stage1.g.{place}", "verdict": verdict, "reason": "blocked"} for place, verdict in enumerate(verdicts)]
    (tmp_path / "runs" / "now.json").write_text(json.dumps({"gates": rows}))
    done = subprocess.run([sys.executable, ROOT / ".ci/all_were_judged.py", tmp_path], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    if "not run" in verdicts:
        assert "1 gates were not run: stage1.g.1: blocked" in done.stderr
    assert "all_were_judged.py" in (ROOT / ".ci/run").read_text()
