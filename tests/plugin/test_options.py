"""Each `--gate-*` option through pytest itself: what is written, what is printed, the exit code, and the word for a value that cannot be.

What an option does below pytest has its tests beside the code; those that change the verdicts' course are in `test_surface.py`.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.plugin.conftest import TOY, Ran, Run, record_of, run_pytest
from tests.plugin.test_faults import contents, forget
from training.recipe import WorldText

LONG = f"{'n' * 300}.html"  # a name that no file system takes, which is seen only when it is written


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror of the Hub with the one data set that TOY_HUB asks for."""
    from training.world import text

    texts = [document.text for document in text.documents(WorldText(language="eng", documents=24, split="held_out"))]
    path = tmp_path / "mirror/harbour/news/eng/test.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"text": each}) + "\n" for each in texts), encoding="utf-8")
    manifest = {"harbour/news/eng/test.jsonl": {"rows": len(texts)}}
    (tmp_path / "mirror/MANIFEST.json").write_text(json.dumps(manifest))
    return tmp_path / "mirror"


# ---------------------------------------------------------------------------------------------------------------- report


def test_a_report_is_written_where_it_is_asked_for(whole: Ran) -> None:
    """Its directory is made; the page shows this very run."""
    assert whole.result.returncode == 0
    assert whole.stdout.splitlines().count("report: made/here/report.html") == 1
    page = (whole.directory / "made/here/report.html").read_text(encoding="utf-8")
    assert "<h1>Release: stage1 may sail on</h1>" in page
    assert record_of(whole.directory)["made"] in page
    for row in record_of(whole.directory)["gates"]:
        assert row["gate"] in page
        assert f"{row['value']:.4f}" in page
    assert [path.name for path in (whole.directory / "made/here").iterdir()] == ["report.html"]


def test_a_report_that_cannot_be_written_is_told_beside_the_table(toy: Run, tmp_path: Path) -> None:
    result = toy("-m", "base", f"--gate-report={LONG}")
    assert result.returncode == 1, result.stdout
    assert "gates: 1 pass" in result.stdout
    assert re.search(
        r"NO REPORT: the report .* cannot be written \(File name too long\): name another file with --gate-report", result.stdout
    )
    assert record_of(tmp_path)["gates"][0]["verdict"] == "pass"


# ---------------------------------------------------------------------------------------------------------- store and hub


def test_a_store_elsewhere_is_read_and_written_and_nothing_else(warm_store: Path, tmp_path: Path) -> None:
    shutil.copytree(warm_store, tmp_path / "on disk/store")
    before = len(list((tmp_path / "on disk/store/runs").iterdir()))
    result = run_pytest(tmp_path, ["-m", "base", f"--gate-profile={TOY}", "--gate-store=on disk/store"], {"SEATRIALS_STORE": "other"})
    assert result.returncode == 0, result.stdout
    assert "  store on disk/store, hub none" in result.stdout
    assert re.search(r"base +reuse", result.stdout)
    assert "record: on disk/store/runs/" in result.stdout
    assert len(list((tmp_path / "on disk/store/runs").iterdir())) == before + 1
    assert not {".seatrials", "other"} & {path.name for path in tmp_path.iterdir()}, "the option goes before the variable"


def test_the_variable_names_a_store_too(warm_store: Path, tmp_path: Path) -> None:
    arguments = ["-m", "base", f"--gate-profile={TOY}", "--collect-only"]
    result = run_pytest(tmp_path, arguments, {"SEATRIALS_STORE": str(warm_store)})
    assert f"  store {warm_store}, hub none" in result.stdout
    assert re.search(r"base +reuse .* certified", result.stdout)
    assert not (tmp_path / ".seatrials").exists()


def test_a_mirror_of_the_hub_reaches_whoever_reads_it(toy: Run, mirror: Path) -> None:
    """Named by the option it is what the evaluation reads; named by the variable it is the same."""
    told = {"TOY_HUB": "1"}
    result = toy("-m", "base", "--gate-hub=mirror", environment=told)
    assert result.returncode == 0, result.stdout
    assert "hub mirror, baseline" in result.stdout
    assert record_of(mirror.parent)["gates"][0]["samples"] == 24, "as many as the mirror holds; the profile's own are 40"
    again = toy("-m", "base", "--collect-only", environment=told | {"SEATRIALS_HUB": str(mirror)})
    assert re.search(r"base +reuse .* certified", again.stdout), again.stdout
    without = toy("-m", "base", environment=told)
    assert without.returncode == 4, without.stdout
    assert "is read from a local mirror of the Hub: give --gate-hub DIR or set SEATRIALS_HUB" in without.stdout
    assert "INTERNALERROR" not in without.stdout


# ------------------------------------------------------------------------------------------------------ samples, dry run


def test_quick_takes_a_sample_and_full_takes_all(toy: Run, tmp_path: Path) -> None:
    told = {"TOY_SAMPLES": "quick"}
    full = toy("-m", "base", "--gate-samples=full", environment=told)
    assert full.returncode == 0, full.stdout
    assert ", samples full" in full.stdout
    assert re.search(r"base +reuse .* certified", full.stdout), "what the warm store was judged by"
    quick = toy("-m", "base", "--gate-samples=quick")
    assert quick.returncode == 0, quick.stdout
    assert ", samples quick" in quick.stdout
    assert re.search(r"base +reuse .* to be judged", quick.stdout)
    record = record_of(tmp_path)
    assert (record["samples"], record["gates"][0]["samples"]) == ("quick", 24), "12 of each stratum, of 40 in all"
    assert record["gates"][0]["rows"].endswith("-quick")


@pytest.mark.parametrize("more", [(), ("-q",), ("-n", "2")])
def test_a_dry_run_prints_the_plan_and_leaves_no_trace(tmp_path: Path, more: tuple[str, ...]) -> None:
    (tmp_path / "own").mkdir()
    arguments = ["-m", "expand", "--gate-dry-run", f"--gate-profile={TOY}", "--gate-store=own/store", "--gate-launcher=torchrun:4"]
    result = run_pytest(tmp_path, [*arguments, "--gate-report=report.html", "-p", "no:cacheprovider", *more])
    assert result.returncode == 0, result.stdout
    assert "dry run of toy, base -> expand: nothing is built, loaded or judged" in result.stdout
    assert re.search(r"base +- +35,104 +24,000 +24 ", result.stdout), "stage, parent, parameters, tokens, steps"
    asked = f"pytest -m expand --gate-profile={TOY} --gate-store=own/store --gate-launcher torchrun:4"
    assert re.search(rf"^  ask +{re.escape(asked)}$", result.stdout, re.MULTILINE), (
        "a command that can be pasted: of this profile and store"
    )
    assert re.search(r"^  \* torchrun +.* --nproc-per-node=4 .* own/store/\.building/FP12-base/order\.json$", result.stdout, re.MULTILINE)
    assert "= gates: " not in result.stdout
    assert "passed" not in result.stdout
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["own"]


# ------------------------------------------------------------------------------------------------------- build, launcher


def test_a_named_stage_is_built_by_the_launcher_that_is_named(toy: Run, tmp_path: Path, warm_store: Path) -> None:
    """A command of the user's starts builds and evaluations; what is not named stays `not run`, for that reason."""
    store = tmp_path / ".seatrials"
    forget(store, "expand", "stage1")
    launcher = tmp_path / "my launcher"
    launcher.write_text(f'echo "$*" >>"{tmp_path}/orders"\nexec {sys.executable} -m "$@"\n')
    command = f"--gate-launcher=command:bash '{launcher}' {{module}} {{order}}"
    result = toy("-m", "stage1", "--gate-build=expand", command, environment={"TOY_BUILD": "named"})
    assert result.returncode == 3, result.stdout
    assert re.search(r"expand +build", result.stdout)
    assert re.search(r"stage1 +wait +not built; name it with --gate-build stage1", result.stdout)
    verdicts = {row["gate"]: (row["verdict"], row["reason"]) for row in record_of(tmp_path)["gates"]}
    assert [verdicts[gate][0] for gate in ("base.speaks.eng", "expand.same.eng")] == ["pass", "pass"]
    assert verdicts["stage1.learns.ind"] == ("not run", "not built: profile toy builds only what --gate-build names")
    orders = (tmp_path / "orders").read_text().splitlines()
    assert [order.split()[0] for order in orders] == ["harness.evaluation", "training.run", "harness.evaluation"]
    assert re.fullmatch(rf"training\.run {store}/\.building/\w+-expand/order\.json", orders[1])
    built = contents(store)
    assert built.keys() == {"base", "expand"}
    assert built["expand"] == contents(warm_store)["expand"]


# ------------------------------------------------------------------------------------------------------------- bad values


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--gate-store=file"], {}, r"the store \S+/file is not a directory; name one with --store, --gate-store or SEATRIALS_STORE"),
        ([], {"SEATRIALS_STORE": "file"}, r"the store \S+/file is not a directory"),
        (["--gate-hub=file"], {}, "--gate-hub file: no such directory; name one that holds DATASET/CONFIG/SPLIT.jsonl"),
        (["--gate-hub=gone"], {"SEATRIALS_HUB": "."}, "--gate-hub gone: no such directory"),
        ([], {"SEATRIALS_HUB": "gone"}, "SEATRIALS_HUB gone: no such directory"),
        (["--gate-report=."], {}, r"--gate-report \.: it is a directory; name a file, such as report\.html"),
        (["--gate-report=file/in/report.html"], {}, r"--gate-report \S+: \S+/file is not a directory; name a file"),
        (["--gate-samples=some"], {}, r"argument --gate-samples: invalid choice: '?some'? \(choose from '?quick'?, '?full'?\)"),
        (["--gate-launcher=command:mine {module}"], {}, r"the command must contain \{order\}"),
    ],
)
def test_a_value_that_cannot_be_is_refused_before_anything_is_done(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    (tmp_path / "file").write_text("no directory")
    result = run_pytest(tmp_path, ["-m", "stage1", f"--gate-profile={TOY}", "-p", "no:cacheprovider", *arguments], environment)
    assert result.returncode == 4
    assert re.search(said, result.stdout + result.stderr), result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
