"""Any lm-eval task as a suite: `SuiteSpec(suite="lm_eval:xcopa_th", languages=("tha",))`.

Prompts, shots, filters and metrics are lm-eval's own: its task object makes the requests and judges the answers, one sample at a time.
Only the model between them is ours, behind the journal of answers. A group (`mmlu`) is its tasks, each a stratum: beside each metric over all
samples stands NAME_macro, the mean of the tasks' means. A task that executes code a model wrote is refused without its confirmation. Beside the task's metrics a multiple-choice task has `margin`, the
log-probability of gold over the best distractor, which is what gates. Metrics that are no sum over samples (BLEU, F1 over classes) are
left out and named in the facts.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.lm_eval_data import from_mirror
from harness.lm_eval_declared import LIKELIHOOD, Declared, declared, members
from harness.suites import Metric, Request, Row, Sample, SuiteContext, SuiteError, margin, sift, spread

# Fields that say which passage an item belongs to: items of one passage are one cluster. `link` is Belebele's, equal in all languages.
PASSAGE = ("link", "flores_passage", "context", "passage")
MACRO, WEIGHT = "_macro", "task_weight"
# Rows a language of the original's test set, by data set: a mirror may hold fewer.
ORIGINAL_ROWS = {"belebele": 900, "xcopa": 500, "xquad": 1190, "global-mmlu-lite": 400}
SEED = 1234  # lm-eval's own default for drawing shots


@dataclasses.dataclass(kw_only=True)
class LmEvalSuite:
    """The suite. `tasks` maps each language to an lm-eval task or group."""

    name: str
    languages: Sequence[str]
    tasks: Mapping[str, str]
    include_path: str | None
    shots: int | None
    chat: bool
    cluster: str
    limit: int
    quick: int
    chance: float | None
    confirm_run_unsafe_code: bool = False
    version: int = 1

    def __post_init__(self) -> None:
        """Check the languages; the YAML is read when metrics or samples are asked for."""
        if missing := [language for language in self.languages if language not in self.tasks]:
            raise SuiteError(f"suite {self.name}: no lm-eval task for {', '.join(missing)}; the option `tasks` maps each language to one")
        self._declared: Declared | None = None
        self.facts: dict[str, Any] = {}

    @property
    def metrics(self) -> Sequence[Metric]:
        """The metrics that every task of the suite declares alike. Raises SuiteError for an unknown task."""
        return self._declaration(None).metrics

    def _declaration(self, directory: str | None) -> Declared:
        if self._declared is None:
            path = self._include(directory)
            self._members = {language: members(self.name, self.tasks[language], path) for language in self.languages}
            self._grouped = any(names != (self.tasks[language],) for language, names in self._members.items())
            found = [declared(self.name, name, path, self.chance) for names in self._members.values() for name in names]
            if any(other.metrics != found[0].metrics for other in found):
                raise SuiteError(f"suite {self.name}: its tasks declare different metrics; make a suite of each kind")
            metrics = found[0].metrics + (_macros(found[0].metrics) if self._grouped else ())
            self._declared = dataclasses.replace(found[0], metrics=metrics)
        return self._declared

    def _include(self, directory: str | None) -> str | None:
        if self.include_path is None:
            return None
        return str(Path(directory or ".") / self.include_path)

    def samples(self, context: SuiteContext) -> Iterator[Sample]:
        """One sample a document of each task. Raises SuiteError where task or data is amiss."""
        declaration = self._declaration(context.profile_dir)
        self.facts = {"tasks": dict(self.tasks), "left_out": list(declaration.left_out), "versions": {}, "shots": {}}
        found: list[Sample] = []
        for language in self.languages:
            for place, name in enumerate(self._members[language]):
                found += list(self._of_task(language, name, place, context))
        self.facts["rows of the original"] = self._fewer(found)
        found, self.facts["invalid"] = sift(self.name, found, self.languages)
        if context.samples == "quick":
            found = spread(found, self.quick)
        self._sizes = Counter((sample.language, sample.stratum) for sample in found if not sample.invalid)
        yield from found

    def _fewer(self, found: Sequence[Sample]) -> dict[str, str]:
        """The languages whose data is not the original's whole test set, where its size is known and no `limit` was asked for."""
        said = {}
        for language in self.languages:
            own = [sample for sample in found if sample.language == language]
            names = {
                str(getattr(getattr(sample.data[0], "config", None), "dataset_path", None) or "").rpartition("/")[2].lower()
                for sample in own
            }
            whole = ORIGINAL_ROWS.get(names.pop()) if len(names) == 1 else None
            if whole and not self.limit and len(own) != whole:
                said[language] = f"{len(own)} of {whole}"
        return said

    def _of_task(self, language: str, name: str, place: int, context: SuiteContext) -> Iterator[Sample]:
        task = self._build(name, context)
        shots = self.shots if self.shots is not None else (task.get_config("num_fewshot") or 0)
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=SEED)
        self.facts["versions"][name], self.facts["shots"][name] = str(task.VERSION), shots
        limit = self.limit or None
        quiet = logging.getLogger("lm_eval")
        level = quiet.level
        quiet.setLevel(logging.ERROR)
        try:
            task.build_all_requests(
                limit=limit, apply_chat_template=self.chat, fewshot_as_multiturn=self.chat, chat_template=_talk if self.chat else None
            )
        finally:
            quiet.setLevel(level)
        by_document: dict[int, list[Any]] = {}
        for instance in task.instances:
            by_document.setdefault(instance.doc_id, []).append(instance)
        for number, instances in by_document.items():
            instances.sort(key=lambda instance: instance.idx)
            document = instances[0].doc
            why = _amiss(task, document)
            yield Sample(
                sample=f"{name}/{number}",
                cluster=f"{place}/{self._cluster(name, document, number)}" if self._grouped else self._cluster(name, document, number),
                language=language,
                stratum=name if self._grouped else "",
                requests=() if why else tuple(self._request(name, instance) for instance in instances),
                data=(task, document, instances),
                invalid=f"{name}, document {number}: {why}" if why else "",
            )

    def _build(self, name: str, context: SuiteContext) -> Any:
        from lm_eval.tasks import TaskManager

        told = declared(self.name, name, self._include(context.profile_dir), self.chance)
        if told.unsafe and not (self.confirm_run_unsafe_code and os.environ.get("HF_ALLOW_CODE_EVAL") == "1"):
            raise SuiteError(
                f"suite {self.name}: {name} executes code that a model wrote. Where that is safe (a container without network), confirm it as "
                "lm-eval asks: the option confirm_run_unsafe_code=True, and HF_ALLOW_CODE_EVAL=1 in the environment"
            )
        folder = told.path.parent
        try:
            with from_mirror(context.hub):
                tasks = TaskManager(include_path=str(folder), include_defaults=False).load([name])["tasks"]
        except SuiteError as error:
            raise SuiteError(f"suite {self.name}, task {name}: {error}") from error
        except Exception as error:
            where = f"the mirror {context.hub}" if context.hub else "the Hub"
            raise SuiteError(
                f"suite {self.name}: lm-eval cannot build {name} with data from {where}: {type(error).__name__}: {error}"
            ) from error
        return tasks[name]

    def _cluster(self, name: str, document: Mapping[str, Any], number: int) -> str:
        field = self.cluster or next((field for field in PASSAGE if document.get(field)), "")
        if not field:
            return str(number)
        if field not in document:
            raise SuiteError(f"suite {self.name}: {name} has no field {field!r} to cluster by; it has {', '.join(document)}")
        return hashlib.sha256(str(document[field]).encode("utf-8", "surrogatepass")).hexdigest()[:16]

    def _request(self, name: str, instance: Any) -> Request:
        settings: dict[str, Any] = {"encoding": "lm_eval"} | ({"chat": True} if self.chat else {})
        if instance.request_type == "loglikelihood":
            return Request(kind="loglikelihood", context=instance.args[0], continuation=instance.args[1], settings=settings)
        if instance.request_type == "loglikelihood_rolling":
            return Request(kind="rolling", context=instance.args[0], settings={"encoding": "lm_eval"})
        if instance.request_type == "generate_until":
            return Request(
                kind="generate", context=instance.args[0], settings=settings | generation(f"suite {self.name}, {name}", instance.args[1])
            )
        raise SuiteError(f"suite {self.name}: {name} asks for {instance.request_type}, which no backend here answers")

    def row(self, sample: Sample, answers: Sequence[Mapping[str, Any]]) -> Row:
        """Run the task's own filters and metrics on one document."""
        task, document, instances = sample.data
        for instance, answer in zip(instances, answers, strict=True):
            instance.resps = [response(instance.request_type, answer)] * (instance.repeats or 1)
            instance.filtered_resps = {}
        for ensemble in task._filters:
            ensemble.apply(instances)
        values: dict[str, float] = {}
        if task.OUTPUT_TYPE == "multiple_choice":
            values |= _margins(task, document, [answer["logprob"] for answer in answers])
        keys = list(instances[0].filtered_resps)
        for key in keys:
            results = task.process_results(copy.deepcopy(document), [instance.filtered_resps[key] for instance in instances])
            for metric, value in results.items():
                values |= _columns(f"{metric},{key}" if len(keys) > 1 else metric, metric, value)
        if self._grouped:
            weight = 1.0 / self._sizes[sample.language, sample.stratum]
            plain = [metric.numerator for metric in self.metrics if metric.numerator in values and not metric.denominator]
            values |= {WEIGHT: weight, **{f"{column}{MACRO}": values[column] * weight for column in plain}}
        wanted = {column for metric in self.metrics for column in metric.used}
        if absent := sorted(wanted - values.keys()):
            raise SuiteError(f"suite {self.name}, sample {sample.sample}: lm-eval gave no {', '.join(absent)}")
        return Row(
            sample=sample.sample,
            cluster=sample.cluster,
            language=sample.language,
            stratum=sample.stratum,
            values={column: value for column, value in values.items() if column in wanted},
            shown=_shown(task, document, instances, answers),
        )


def _macros(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """The mean of the tasks' means beside each mean over samples: every sample weighs 1 / (samples of its task)."""
    return tuple(
        dataclasses.replace(metric, name=f"{metric.name}{MACRO}", numerator=f"{metric.numerator}{MACRO}", denominator=WEIGHT, binary=False)
        for metric in metrics
        if not metric.denominator and not metric.reducer and metric.transform == "identity"
    )


def generation(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """lm-eval's generation arguments as a request's settings. Raises SuiteError for a sampled answer."""
    from lm_eval.models.utils import normalize_gen_kwargs

    known = dict(normalize_gen_kwargs(dict(given), 256))
    if known.get("do_sample") or known.get("temperature"):
        raise SuiteError(f"{where}: it samples its answers (do_sample, temperature); a gate needs the model's one greedy answer")
    return {"max_tokens": int(known["max_gen_toks"]), "stop": [text for text in known["until"] if text]}


def response(kind: str, answer: Mapping[str, Any]) -> Any:
    """An answer in the form that lm-eval's tasks expect of a model."""
    if kind == "loglikelihood":
        return (answer["logprob"], bool(answer["greedy"]))
    return answer["logprob"] if kind == "loglikelihood_rolling" else answer["text"]


def _talk(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """A conversation on its way to the tokenizer's chat template, which only the renderer knows."""
    return json.dumps({"messages": messages, "add_generation_prompt": add_generation_prompt}, ensure_ascii=False)


def _gold(task: Any, document: Mapping[str, Any], choices: Sequence[str]) -> list[int]:
    """The right choices of a document. Raises ValueError, TypeError or what the task raises where it names none."""
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    return [choices.index(one) if isinstance(one, str) else int(one) for one in (gold if isinstance(gold, list) else [gold])]


def _amiss(task: Any, document: Mapping[str, Any]) -> str:
    """Why a document of a multiple-choice task has no answer to be judged by; "" where it has."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return ""
    try:
        choices = task.doc_to_choice(document)
        gold = _gold(task, document, choices)
    except Exception as error:  # a task's own functions may raise anything on a row that is amiss
        return f"its answer cannot be read ({type(error).__name__}: {error})"
    return "" if gold and all(0 <= one < len(choices) for one in gold) else f"its answer is {gold}, of {len(choices)} choices"


def _margins(task: Any, document: Mapping[str, Any], sums: Sequence[float]) -> dict[str, float]:
    choices = task.doc_to_choice(document)
    sums = sums[: len(choices)]  # acc_mutual_info appends the choices without context
    gold = _gold(task, document, choices)
    rates = [total / max(1, len(choice.encode("utf-8"))) for total, choice in zip(sums, choices, strict=True)]
    return {"margin": margin(sums, gold), "margin_per_byte": margin(rates, gold)}


def _columns(column: str, metric: str, value: Any) -> dict[str, float]:
    if metric in LIKELIHOOD:
        total, count = value
        return {f"{column}.sum": -total / (math.log(2) if metric == "bits_per_byte" else 1.0), f"{column}.count": float(count)}
    if metric == "perplexity":
        return {column: -float(value)}
    if isinstance(value, list) and all(isinstance(one, (bool, int, float)) for one in value):
        return {f"{column}.sum": float(sum(value)), f"{column}.count": float(len(value))}
    return {column: float(value)} if isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0 else {}


def _shown(task: Any, document: Any, instances: Sequence[Any], answers: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    shown = {"prompt": str(instances[0].args[0])[-240:], "target": str(task.doc_to_target(document))[:240]}
    if "text" in answers[0]:
        return shown | {"answer": str(answers[0]["text"])[:240]}
    if len(instances) > 1 and not task.multiple_input:
        best = max(range(len(answers)), key=lambda index: answers[index]["logprob"])
        return shown | {"likeliest": str(instances[best].args[1])[:240]}
    return shown


def build(
    name: str,
    languages: Sequence[str],
    task: str,
    tasks: Mapping[str, str] | None = None,
    include_path: str | None = None,
    shots: int | None = None,
    chat: bool = False,
    cluster: str = "",
    limit: int = 0,
    quick: int = 60,
    chance: float | None = None,
    confirm_run_unsafe_code: bool = False,
) -> LmEvalSuite:
    """Factory behind `lm_eval:TASK`. `tasks` maps languages to tasks (or groups) where there is more than one language.

    `include_path` is relative to the profile; `shots` overrides the task's; `cluster` names the field that items share.
    """
    if tasks is None and len(languages) != 1:
        raise SuiteError(
            f"suite {name}: {len(languages)} languages and one lm-eval task; the option `tasks` maps each language to its task"
        )
    chosen = dict(tasks) if tasks else {languages[0]: task}
    return LmEvalSuite(
        name=name,
        languages=tuple(languages),
        tasks=chosen,
        include_path=include_path,
        shots=shots,
        chat=chat,
        cluster=cluster,
        limit=limit,
        quick=quick,
        chance=chance,
        confirm_run_unsafe_code=confirm_run_unsafe_code,
    )
