"""The order of things: resolve a stage, reuse or order its checkpoint, run the suites, certify it, and only then go on.

    certify(stage):  certify the parents -> (a failed gate stops the line)
                     find the artifact or order it built by a child process
                     find the certificate, or evaluate and judge
pytest's fixtures and gate items call `certify` and `checkpoint`; nothing else knows this order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness import baselines, children, evidence, launch, quick
from harness.apart import Apart
from harness.certificate import Certificate, find_certificate, save_certificate
from harness.children import BuildError
from harness.conditions import lacking
from harness.gates import Gate, GatesError, gates_digest, gates_of, judge_stage, load_gates, not_run
from harness.launch import LaunchError
from harness.lease import Lease
from harness.progress import Progress
from harness.record import StoreError, changes, fingerprint
from harness.rows import StatisticsError
from harness.rules import rows_lookup, suite_metrics
from harness.settings import Checkpoint, NotBuilt, Planned, Replay, Settings, Uncertified
from harness.store import Artifact, Store
from harness.suites import SuiteError
from training.models.load import ModelError
from training.pretraining.imported import local_digest
from training.pretraining.sources import SourceError, data_digest
from training.recipe import ImportCheckpoint, Recipe, digest, encode

# What stops a stage with a message for a person.
TOLD = (BuildError, StoreError, SourceError, ModelError, SuiteError, StatisticsError, GatesError, LaunchError, baselines.BaselineError)
SAVE_EVERY = 60.0  # seconds between a builder's saved states


class Pipeline:
    """One run over one profile. Results are kept for the session: a stage is resolved once."""

    def __init__(self, settings: Settings, progress: Progress | None = None) -> None:
        self.settings = settings
        self.profile = settings.profile
        self.store = Store(settings.store)
        self.progress = progress or Progress(None, live=False)
        declared = {name: suite_metrics(self.profile, name) for name in self.profile.suites}
        self.gates = load_gates(self.profile.gates, self.profile, declared, calibrated=settings.calibrated)
        self.gates_digest = gates_digest(self.profile.gates)
        self.samples = settings.samples or self.profile.samples
        self._replayed = Replay.read(settings.replay) if settings.replay else None
        if self._replayed is not None:
            self.samples, self.settings = self._replayed.samples, dataclasses.replace(self.settings, backend=self._replayed.backend)
            if self._replayed.profile != self.profile.name:
                raise GatesError(f"--gate-replay {settings.replay}: a run of the profile {self._replayed.profile}; give --gate-profile")
        self._certificates: dict[str, Certificate] = {}
        self._artifacts: dict[str, Artifact] = {}
        self._rows: dict[str, Path] = {}
        self._data: dict[str, str] = {}
        self._suites = ""

    # ------------------------------------------------------------------------------------------------------ resolving

    def variant(self, stage: str) -> str:
        """The variant of a stage that this run takes: the part after @ of --gate-variant STAGE@NAME, else the run's label."""
        for name in self.settings.variants:
            if self.profile.variants[name].stage == stage:
                return name.partition("@")[2]
        return self.settings.label

    def recipe(self, stage: str) -> Recipe:
        """The recipe of a stage in this run."""
        variant = self.variant(stage)
        named = self.profile.variants.get(f"{stage}@{variant}")
        return named.recipe if named else self.profile.stages[stage].recipe

    def data(self, stage: str) -> str:
        """Digest of the data rows that a stage consumes."""
        if stage not in self._data:
            cache = self.store.root / "data-digests.json" if self.store.root.is_dir() else None
            recipe = self.recipe(stage)
            if isinstance(recipe, ImportCheckpoint):
                self._data[stage] = local_digest(recipe, self.profile.directory)
            else:
                self._data[stage] = data_digest(recipe, self.settings.hub, self.profile.directory, cache)
        return self._data[stage]

    def made_of(self, stage: str) -> str | None:
        """Digest of the data that a stage is made of: what it consumes, and what a corpus must not hold; None while that is not read."""
        return self._apart().made_of(self.recipe(stage), self.data(stage))

    def _apart(self) -> Apart:
        return Apart(settings=self.settings, store=self.store, progress=self.progress, suites=self._suites_digest())

    def fingerprint(self, stage: str) -> str | None:
        """The identity of a stage's artifact, or None while a parent has none."""
        parents = [self.find(parent) for parent in self.profile.parents(stage)]
        if any(parent is None for parent in parents) or (made_of := self.made_of(stage)) is None:
            return None
        recipe = self.recipe(stage)
        return fingerprint(
            stage=stage,
            recipe=encode(recipe),
            version=recipe.version,
            data=made_of,
            parents=[parent.record.content for parent in parents if parent],
        )

    def find(self, stage: str) -> Artifact | None:
        """The artifact of a stage, if the store has it."""
        if stage in self._artifacts:
            return self._artifacts[stage]
        if self._replayed is not None:
            found = self.store.find(self._replayed.stages.get(stage, ""))
        else:
            fingerprint = self.fingerprint(stage)
            found = self.store.find(fingerprint) if fingerprint else None
            found = found or self._adopted(stage)
        if found is not None:
            self._artifacts[stage] = found
        return found

    def _adopted(self, stage: str) -> Artifact | None:
        """A checkpoint made elsewhere stands in for a build, whatever it was trained on: the newest adopted onto the checkpoint of this run."""
        made_from = self.profile.made_from(stage)
        parents = [self.find(parent) for parent in made_from]
        contents = [parent.record.content if parent else None for parent in parents]
        found = [
            artifact
            for artifact in self.store.artifacts(self.profile.name, stage, self.variant(stage))
            if artifact.record.adopted and [parent.content for parent in artifact.record.parents if parent.stage in made_from] == contents
        ]
        return max(found, key=lambda artifact: artifact.record.started, default=None)

    def with_variant(self, name: str) -> Pipeline:
        """A pipeline like this one with a variant taken; its gates stop nothing, so that a planted defect is seen whole."""
        others = [other for other in self.settings.variants if self.profile.variants[other].stage != self.profile.variants[name].stage]
        return Pipeline(dataclasses.replace(self.settings, variants=(name, *others), ungated=True, replay=None), self.progress)

    def baseline_name(self) -> str:
        """Which baselines the profile has, for the header."""
        try:
            kinds = sorted({kind for stage in self.profile.stages for kind in baselines.of(self.profile, stage)})
        except baselines.BaselineError as error:
            return f"unreadable ({error})"
        return " and ".join(kinds) or "none yet"

    # ------------------------------------------------------------------------------------------------------- planning

    def plan(self, stages: tuple[str, ...]) -> list[Planned]:
        """What this run will do for the stages and their ancestors, and why; builds nothing, loads no model."""
        planned = []
        for stage in self.lineage(stages):
            try:
                planned.append(self._planned(stage))
            except TOLD as error:
                why = f"cannot be resolved: {str(error).splitlines()[0]}"
                planned.append(Planned(stage=stage, variant=self.variant(stage), action="build", why=why, minutes=0.0))
        return planned

    def lineage(self, stages: tuple[str, ...]) -> tuple[str, ...]:
        """The stages and all their ancestors, parents first."""
        return tuple(dict.fromkeys(name for stage in stages for name in self.profile.ancestry(stage)))

    def _planned(self, stage: str) -> Planned:
        entry, variant = self.profile.stages[stage], self.variant(stage)
        found = self.find(stage)
        if found is not None:
            state = "adopted" if found.record.adopted else f"built {found.record.started[:16].replace('T', ' ')}"
            judged = "certified" if self._stored_certificate(stage, found) else "to be judged"
            why = f"{found.record.fingerprint[:12]}, {state}, {judged}"
            if not found.record.adopted and (passed_over := self._adopted(stage)) is not None:
                why += f"; it goes before the adopted {passed_over.record.fingerprint[:12]} (`harness.store prune` takes it away)"
            return Planned(stage=stage, variant=variant, action="reuse", why=why, minutes=0.0)
        if self._replayed is not None:
            told = ("wait", "the replayed record has no artifact of it in this store", 0.0)
        elif not self._may_build(stage):
            told = ("wait", f"not built; name it with --gate-build {stage}", entry.minutes)
        else:
            told = ("build", self._why(stage), entry.minutes)
        return Planned(stage=stage, variant=variant, action=told[0], why=told[1], minutes=told[2])

    def _may_build(self, stage: str) -> bool:
        return self.profile.build == "auto" or stage in self.settings.build

    def _why(self, stage: str) -> str:
        missing = [parent for parent in self.profile.parents(stage) if self.find(parent) is None]
        if missing:
            return f"its parent {missing[0]} is built first"
        made_of = self.made_of(stage)
        if made_of is None:
            return "what the suites ask is read first; where it is what it was, its corpus is reused"
        siblings = self.store.artifacts(self.profile.name, stage, self.variant(stage))
        if not siblings:
            return "not in the store"
        newest = max(siblings, key=lambda artifact: artifact.record.started)
        recipe = self.recipe(stage)
        parents = [self.find(parent) for parent in self.profile.parents(stage)]
        changed = changes(
            newest.record,
            recipe=encode(recipe),
            version=recipe.version,
            data=made_of,
            parents=[p.record.content for p in parents if p],
        )
        return f"changed since {newest.record.fingerprint[:12]}: {'; '.join(changed)}"

    # ------------------------------------------------------------------------------------------------------ certifying

    def checkpoint(self, stage: str) -> Checkpoint:
        """The certified checkpoint of a stage. Raises Uncertified, with the verdicts, where it did not pass."""
        certificate = self.certify(stage)
        if not self._goes_on(certificate) and not (self.settings.ungated and stage in self._artifacts):
            raise Uncertified(certificate)
        artifact, own = self._artifacts[stage], gates_of(self.gates, stage)
        try:  # whoever asks would load what was damaged since it was certified
            return Checkpoint(path=self.store.open(artifact), record=artifact.record, certificate=certificate)
        except (StoreError, OSError) as error:
            raise Uncertified(Certificate.not_run(stage, own, f"{stage} was not opened", cause=(stage, str(error)))) from error

    def certify(self, stage: str) -> Certificate:
        """Bring a stage to its verdicts: ancestors first, then its checkpoint, then its gates."""
        if stage not in self._certificates:
            self._certificates[stage] = self._certify(stage)
        return self._certificates[stage]

    def _certify(self, stage: str) -> Certificate:
        own = gates_of(self.gates, stage)
        for parent in self._standing_on(stage):
            certificate = self.certify(parent)
            if not certificate.content or not (self._goes_on(certificate) or self.settings.ungated):
                return Certificate.not_run(stage, own, f"blocked by {certificate.blocker()}", cause=certificate.cause)
        doing = "built"
        try:
            if self._replayed is None:
                self._apart().windows(stage, self.recipe(stage))
            artifact = self.find(stage) or self._build(stage)
            self._artifacts[stage] = artifact
            doing = "evaluated"
            if self._replayed is None and (stored := self._stored_certificate(stage, artifact)):
                return dataclasses.replace(stored, ungated=self._stands_ungated(stage))
            certificate = self._judge(stage, artifact, own)
            if self._replayed is None:
                doing = "certified"
                save_certificate(self.store, self.profile.name, certificate)
        except NotBuilt as reason:
            return Certificate.not_run(stage, own, str(reason))
        except (*TOLD, OSError) as error:
            return Certificate.not_run(stage, own, f"{stage} was not {doing}", cause=(stage, str(error)))
        return certificate

    def _standing_on(self, stage: str) -> tuple[str, ...]:
        """The parents that must be certified: not the corpora of a checkpoint made elsewhere, nor those that a replayed run did not have."""
        with contextlib.suppress(*TOLD):
            if (found := self.find(stage)) is not None and found.record.adopted:
                return self.profile.made_from(stage)
        known = self.profile.stages if self._replayed is None else self._replayed.stages
        return tuple(name for name in self.profile.parents(stage) if name in known or name not in self.profile.corpora(stage))

    def _goes_on(self, certificate: Certificate) -> bool:
        """Whether the next stage may be built: the certificate is clear, or awaits nothing but the baseline that this run blesses."""
        awaiting = all(not verdict.blocks or verdict.awaits_baseline for verdict in certificate.verdicts.values())
        return certificate.clear or (self.settings.bless and bool(certificate.content) and awaiting)

    def _judge(self, stage: str, artifact: Artifact, own: tuple[Gate, ...]) -> Certificate:
        needed = [stage, *(name for name in self._references(stage) if name != stage)]
        rows = {name: self.rows(name) for name in needed if self.find(name) is not None}
        kept, seen = baselines.seen(self.profile, stage)
        lookup = rows_lookup(rows, kept)
        metrics = {suite: suite_metrics(self.profile, suite) for suite in {gate.suite for gate in own}}
        verdicts = judge_stage(own, lookup, metrics)
        verdicts |= {gate.name: not_run(gate, f"{gate.suite} {why}") for gate in own if (why := self._lacking(gate.suite))}
        return Certificate(
            stage=stage,
            fingerprint=artifact.record.fingerprint,
            content=artifact.record.content,
            key=self._certificate_key(stage, artifact, seen),
            gates=self.gates_digest,
            baselines=seen,
            verdicts=verdicts,
            rows={name: str(path) for name, path in rows.items()},
            ungated=self._stands_ungated(stage),
        )

    def _lacking(self, suite: str) -> str:
        return lacking(self.profile.suites[suite], self.settings.originals, os.environ)

    def _stands_ungated(self, stage: str) -> bool:
        """Whether a gate stands against an ancestor, near or far: the verdicts on a stage are then no certificate."""
        parents = (self.certify(parent) for parent in self._standing_on(stage))
        return self.settings.ungated and any(parent.ungated or not parent.clear for parent in parents)

    def _references(self, stage: str) -> tuple[str, ...]:
        """The stages that a stage's gates are held against."""
        return tuple(sorted({gate.against for gate in gates_of(self.gates, stage) if gate.against in self.profile.stages}))

    def _certificate_key(self, stage: str, artifact: Artifact, seen: Mapping[str, str]) -> str:
        """What a certificate rests on: the checkpoint, the ones beside it, gates, baseline, suites, samples and the judging code."""
        names = (*self._references(stage), *self.profile.parents(stage))
        beside = {name: found.record.content for name in names if (found := self.find(name))}
        expanded = [json.loads(json.dumps(dataclasses.asdict(gate), default=str)) for gate in gates_of(self.gates, stage)]
        return digest(
            {
                "content": artifact.record.content,
                "beside": beside,
                "gates": self.gates_digest,
                "expanded": expanded,
                "baselines": dict(seen),
                "suites": self._suites_digest(),
                "samples": self.samples,
                "backend": self.settings.backend,
                "attention": self._attention(),
                "ungated": self.settings.ungated,
                "code": evidence.code_digest(),
            }
        )

    def _suites_digest(self) -> str:
        if not self._suites:
            cache = self.store.root / "data-digests.json" if self.store.root.is_dir() else None
            self._suites = evidence.suites_digest(self.profile, self.settings.hub, self.settings.originals, cache)
        return self._suites

    def _stored_certificate(self, stage: str, artifact: Artifact) -> Certificate | None:
        return find_certificate(
            self.store, self.profile.name, stage, self._certificate_key(stage, artifact, baselines.digests(self.profile, stage))
        )

    def stages_of_record(self, stages: tuple[str, ...]) -> dict[str, dict[str, Any]]:
        """What a run's record says of each stage that has a checkpoint, gates or none, selected or not: enough to replay it."""
        found: dict[str, dict[str, Any]] = {}
        for stage in self.lineage(stages):
            try:
                artifact = self.find(stage)
            except TOLD:
                continue
            if artifact is not None:
                certificate = self._certificates.get(stage) or self._stored_certificate(stage, artifact)
                rows = certificate.rows.get(stage) if certificate else None
                found[stage] = {"fingerprint": artifact.record.fingerprint, "content": artifact.record.content}
                found[stage] |= {"rows": rows, "answered_by": evidence.answered_by(Path(rows)) if rows else {}}
        return found

    def backend_version(self) -> str:
        """What answers of `hf` are filed under in this run; what another backend's are, stands with each stage (`answered_by`)."""
        if self._replayed is not None:
            return next((found["hf"] for found in self._replayed.versions.values() if "hf" in found), "")
        from harness.backends import hf

        return hf.version()

    def _asked(self) -> dict[str, Any]:
        """What a corpus is held against: all that the profile's suites ask."""
        return {"suites": {name: encode(spec) for name, spec in self.profile.suites.items()}, "window": self.profile.overlap_window}

    def _attention(self) -> str:
        """Evaluation reads shared beginnings once, which sdpa and eager can; what the profile trains with is another matter."""
        return "eager" if self.profile.attention == "eager" else "sdpa"

    # ---------------------------------------------------------------------------------------------------------- orders

    def rows(self, stage: str) -> Path:
        """The directory of a stage's rows, one Parquet file a suite. Extraction always runs again; answers are reused."""
        if stage in self._rows:
            return self._rows[stage]
        artifact = self._artifacts[stage]
        parents = [self._artifacts[parent] for parent in self.profile.made_from(stage) if parent in self._artifacts]
        suites = {
            name: spec
            for name, spec in self.profile.suites_of(stage).items()
            if (parents or not spec.reference) and not self._lacking(name)
        }
        backend, versions = self.settings.backend_of(stage), self._replayed.versions.get(stage, {}) if self._replayed else {}
        other = "" if backend == "hf" else f"-{digest(backend)[:8]}"
        output = self.store.root / "rows" / f"{artifact.record.content[:12]}-{self._suites_digest()[:8]}{other}-{self.samples}"
        order = {
            "schema": 1,
            "checkpoint": str(self.store.open(artifact)),
            "model_digest": artifact.record.content,
            "tokenizer_digest": artifact.record.tokenizer_digest,
            "reference": str(self.store.open(parents[0])) if parents else None,
            "reference_digest": parents[0].record.content if parents else None,
            "suites": {name: encode(spec) for name, spec in suites.items()},
            "hub": str(self.settings.hub) if self.settings.hub else None,
            "originals": [str(path) for path in self.settings.originals],
            "profile_dir": str(self.profile.directory),
            "asked": self._asked() if self.profile.makes(stage) == "corpus" else None,
            "samples": self.samples,
            "committed": str(quick.path_of(self.profile)),
            "store": str(self.store.root),
            "output": str(output),
            "dtype": self.profile.dtype,
            "attention": self._attention(),
            "backend": backend,
            "device": self.settings.device,
            "threads": self.settings.threads,
            "offline_answers": self._replayed is not None,
            "backend_version": versions.get(evidence.kind_of(backend), ""),
            "hf_version": versions.get("hf", ""),
        }
        title = f"{stage}: evaluation"
        with self.store.lease(f"rows-{output.name}", waiting=self._waiting(title)) as lease:
            process = children.start("harness.evaluation", output, order, self._launcher(alone=backend != "hf"))
            lease.shared_with(process.pid, output / "progress.jsonl")
            seconds = children.watch(title, process, output, self.progress)
        self.progress.say(f"{title} done in {seconds:.0f} s")
        self._rows[stage] = output
        return output

    def _build(self, stage: str) -> Artifact:
        """Order a stage from a child process and publish what it made; another process's build is waited for."""
        if self._replayed is not None:
            raise NotBuilt("the replayed record has no artifact of it in this store")
        made = self.fingerprint(stage)
        assert made is not None  # the parents are here
        workdir = self.store.workdir(made, stage)
        lease = Lease(self.store.building / "leases", f"build-{made[:12]}")

        def waiting(who: str) -> None:
            # A detached build may take weeks: come back later. One whose result stands has only its process's end to wait for.
            if (workdir / "detached.json").is_file() and not (workdir / "done.json").is_file():
                raise NotBuilt(children.state_of(workdir))
            self.progress.show(stage, {"phase": f"waiting for {who}"})

        lease.take(waiting)
        try:
            if (found := self.store.find(made)) is not None:
                return found
            return self._build_under(lease, stage, made, workdir)
        finally:
            lease.release()

    def _build_under(self, lease: Lease, stage: str, made: str, workdir: Path) -> Artifact:
        """Build with the lease in hand: finish what an earlier child left, else start one."""
        recipe, started = self.recipe(stage), children.submitted(workdir) or time.time()
        parents = [(parent, self._artifacts[parent]) for parent in self.profile.parents(stage)]
        if not (workdir / "done.json").is_file():
            if (workdir / "detached.json").is_file():  # its lease was free, so it died; said once, and the next run goes on from its state
                message = children.error_of(stage, workdir, None)
                (workdir / "detached.json").unlink()
                raise BuildError(message)
            if not self._may_build(stage):
                raise NotBuilt(f"not built: profile {self.profile.name} builds only what --gate-build names")
            corpora = {parent: self._artifacts[parent] for parent in self.profile.corpora(stage)}
            self._apart().check(stage, recipe, self.data(stage), corpora)
            evaluation = self._apart().windows(stage, recipe)
            order = {
                "schema": 1,
                "profile": self.profile.name,
                "stage": stage,
                "variant": self.variant(stage),
                "recipe": encode(recipe),
                "parents": {parent: str(self.store.open(artifact)) for parent, artifact in parents},
                "hub": str(self.settings.hub) if self.settings.hub else None,
                "profile_dir": str(self.profile.directory),
                "workdir": str(workdir),
                "threads": self.settings.threads,
                "device": self.settings.device,
                "save_every_seconds": SAVE_EVERY,
                "attention": self.profile.attention,
                "sharding": self.profile.sharding,
                "evaluation": str(evaluation) if evaluation else None,
                "ray": self.settings.ray,
            }
            process = children.start(
                "training.run", workdir, order, self._launcher(alone=self.profile.makes(stage) == "corpus"), detach=self.settings.detach
            )
            lease.shared_with(process.pid, workdir / "progress.jsonl")
            if self.settings.detach:
                lease.hand_over()
                raise NotBuilt(f"building: submitted as process {process.pid}; run the same command again to see how it stands")
            seconds = children.watch(stage, process, workdir, self.progress)
            self.progress.say(f"{stage}: built in {seconds:.0f} s")
        return self.store.publish(
            workdir,
            profile=self.profile.name,
            stage=stage,
            variant=self.variant(stage),
            fingerprint=made,
            recipe=encode(recipe),
            version=recipe.version,
            data=self.made_of(stage) or "",
            parents=parents,
            seed=getattr(recipe, "seed", None),
            started=started,
            lease=lease,
        )

    def _launcher(self, alone: bool = False) -> launch.Launcher:
        """The run's launcher, or the same for what is one process."""
        return dataclasses.replace(launch.Launcher.parse(self.settings.launcher), alone=alone)

    def _waiting(self, title: str) -> Callable[[str], None]:
        return lambda who: self.progress.show(title, {"phase": f"waiting for {who}"})
