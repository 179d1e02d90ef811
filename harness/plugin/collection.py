"""Turns `-m stage2` into items: one a gate of the stage and of each of its ancestors, wherever pytest stands."""

from __future__ import annotations

import re
import shlex
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from harness.plugin.naming import only_stages
from harness.plugin.options import PIPELINE, SELECTED

if TYPE_CHECKING:
    from harness.certificate import Certificate
    from harness.gates import Gate, Verdict
    from harness.pipeline import Pipeline


class GateModule(pytest.Module):
    """The gates of a profile, seen by pytest as a module: its path is the gates file."""

    def _getobj(self) -> ModuleType:
        return ModuleType(f"gates_of_{self.name}")


class GateFailed(Exception):
    """A gate that is not a pass; the text is what a person reads under the failure."""


class GateItem(pytest.Function):
    """One gate. It asks for its stage's fixture, as a user's own test does, and reads its verdict off the certificate."""

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: Any, **__: Any) -> Any:
        """The verdict in words instead of a traceback."""
        if isinstance(excinfo.value, GateFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """What pytest calls this item in its headings."""
        return self.path, None, self.name


def pytest_ignore_collect(collection_path: Any, config: pytest.Config) -> bool | None:
    """In a gate run, pass over test files that name no stage: what `-m` would deselect need not be imported."""
    if PIPELINE not in config.stash or not only_stages(config.option.markexpr):
        return None
    if collection_path.is_dir() or collection_path.suffix != ".py" or collection_path.name == "conftest.py":
        return None
    stages = "|".join((*config.stash[PIPELINE].profile.stages, "nightly", "release"))
    text = collection_path.read_text(encoding="utf-8", errors="replace")
    return None if re.search(rf"mark\.({stages})\b|\b({stages})_checkpoint\b", text) else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the gates' items before -m, -k and --lf choose among them; gates come first, in the order of the graph."""
    if PIPELINE not in config.stash:
        return
    from harness.gates import gates_of

    pipeline, selected = config.stash[PIPELINE], config.stash[SELECTED]
    module = GateModule.from_parent(session, path=pipeline.profile.gates, nodeid=pipeline.profile.name)
    module.name = pipeline.profile.name
    # pytest.Module would import its path; ours has no source to import.
    module.obj = module._getobj()
    lineage = pipeline.lineage(selected)
    found: list[pytest.Item] = []
    for stage in lineage:
        markers = [name for name in lineage if stage in pipeline.profile.ancestry(name)]
        for gate in gates_of(pipeline.gates, stage):
            found.append(_item(module, gate, (*markers, "nightly", "release")))
    if "nightly" in (config.option.markexpr or ""):
        found += [_defect(module, name) for name, variant in pipeline.profile.variants.items() if variant.expect_red]
    items[:0] = found
    if reporter := config.pluginmanager.get_plugin("terminalreporter"):
        reporter._numcollected += len(found)  # it counts what collectors report; these came later


def _item(module: GateModule, gate: Gate, markers: tuple[str, ...]) -> GateItem:
    from harness.settings import Uncertified

    def run(request: pytest.FixtureRequest) -> None:
        try:
            certificate = request.getfixturevalue(f"{gate.stage}_checkpoint").certificate
        except Uncertified as stopped:
            certificate = stopped.certificate
        verdict = certificate.verdicts[gate.name]
        request.node.user_properties += properties(gate, verdict, certificate, alone(gate, request.config))
        if not verdict.passed:
            raise GateFailed(explain(gate, verdict, certificate, request.config))

    item = GateItem.from_parent(module, name=gate.name, callobj=run)
    for marker in markers:
        item.add_marker(marker)
    return item


def _defect(module: GateModule, name: str) -> GateItem:
    """A planted defect: passes where the gates that it should turn red are red (promise 7)."""

    def run(request: pytest.FixtureRequest) -> None:
        pipeline = request.config.stash[PIPELINE]
        variant = pipeline.profile.variants[name]
        certificate = pipeline.with_variant(name).certify(variant.stage)
        expected = {gate: certificate.verdicts[gate].verdict for gate in variant.expect_red}
        stayed = [gate for gate, verdict in expected.items() if verdict != "fail"]
        also = [gate for gate, verdict in certificate.verdicts.items() if verdict.verdict == "fail" and gate not in expected]
        told = {"defect": name, "seen": not stayed, "expected": expected, "also": also, "cause": certificate.cause}
        request.node.user_properties.append(("seatrials.defect", told))
        if certificate.cause:
            raise GateFailed(f"{name} could not be judged: {certificate.cause[1]}")
        if stayed:
            raise GateFailed(f"the planted defect {name} was not seen by {', '.join(stayed)}: these gates cannot be trusted")

    item = GateItem.from_parent(module, name=f"defect.{name}", callobj=run)
    item.add_marker("nightly")
    return item


def properties(gate: Gate, verdict: Verdict, certificate: Certificate, command: str) -> list[tuple[str, object]]:
    """What a report carries of a verdict: to the table, through xdist, and into JUnit. `command` shows this gate alone."""
    row = {
        "gate": gate.name,
        "stage": gate.stage,
        "rule": gate.rule,
        "metric": f"{gate.suite}.{gate.metric}",
        "against_stage": gate.against,
        "fingerprint": certificate.fingerprint,
        "content": certificate.content,
        "rows": certificate.rows.get(gate.stage),
        "build_error": certificate.cause[1] if certificate.cause and certificate.cause[0] == gate.stage else None,
        "cause": certificate.cause,
        "ungated": certificate.ungated,
        "gates_digest": certificate.gates,
        "baselines": dict(certificate.baselines),
        "command": command,
        **verdict.encode(),
    }
    shown = [(f"gate.{key}", value) for key, value in row.items() if key not in ("telling", "rows") and value is not None]
    return [*shown, ("seatrials", row)]


def explain(gate: Gate, verdict: Verdict, certificate: Certificate, config: pytest.Config) -> str:
    """The text under a gate that did not pass: why, the three most telling samples, and how to see it alone."""
    lines = [
        f"{gate.name}: {verdict.verdict}{' (waived: ' + verdict.waiver + ')' if verdict.waived else ''}",
        f"  {verdict.reason}",
        f"  why this gate: {gate.reason}",
    ]
    for telling in verdict.telling[:3]:
        lines.append(f"  sample {telling.sample}: {telling.value} against {telling.against}")
        lines += [f"    {key}: {_shorten(text)}" for key, text in telling.shown.items()]
    lines.append(f"  this gate alone: {alone(gate, config)}")
    return "\n".join(lines)


def alone(gate: Gate, config: pytest.Config) -> str:
    """The command that runs one gate."""
    option = config.option
    parts = ["pytest", "-m", gate.stage, "-k", gate.name, *told(config)]
    parts += [f"--gate-replay={option.gate_replay}"] if option.gate_replay else []
    parts += ["--gate-ungated"] if option.gate_ungated else []
    return shlex.join(parts)


def told(config: pytest.Config) -> list[str]:
    """The options that say what is judged and where, as this run was given them."""
    option = config.option
    parts = [f"--gate-profile={option.gate_profile}"] if option.gate_profile != "nano" else []
    parts += [f"--gate-hub={option.gate_hub}"] if option.gate_hub else []
    parts += [f"--gate-originals={path}" for path in option.gate_originals]
    parts += [f"--gate-variant={name}" for name in option.gate_variant]
    parts += [f"--gate-store={option.gate_store}"] if option.gate_store != ".seatrials" else []
    parts += [f"--gate-backend={option.gate_backend}"] if option.gate_backend != "hf" else []
    parts += [f"--gate-samples={option.gate_samples}"] if option.gate_samples else []
    return parts


def _shorten(text: str, limit: int = 160) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def pipeline_of(config: pytest.Config) -> Pipeline:
    """The pipeline of this run. A usage error where no stage was named."""
    if PIPELINE not in config.stash:
        raise pytest.UsageError("a stage's fixture needs a gate run: name the stage with -m, e.g. pytest -m stage2")
    return config.stash[PIPELINE]
