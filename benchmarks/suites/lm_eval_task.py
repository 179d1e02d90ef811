"""A suite of ours as a task of plain lm-eval: the suite makes the items, lm-eval's model answers them.

A YAML names the suite, its languages and options under `metadata`; rows come from the mirror that `metadata.hub` or SEATRIALS_HUB names.
lm-eval tells sums and no counts of tokens, so the tokenizer of the model under evaluation is loaded beside it (as lm-eval's own `ruler`
does), from `pretrained` or `tokenizer` of the model's arguments. Several languages have a score each, and the mean of them.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from harness.suites import Metric, Request, Sample, Suite, SuiteContext, SuiteError, SuiteSpec, load

Value = float | tuple[str, tuple[float, ...]]  # what is averaged; or, of a corpus metric or several languages, language and columns


class SuiteTask(ConfigurableTask):
    """`metadata`: `suite`, `languages`, `options`; and, from the command line, `hub`, `originals` (a checkout) and `counts`."""

    VERSION = 1

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """Read the items. Raises SuiteError where data, checkout or tokenizer is missing."""
        given = dict(config or {})
        told = self.named(given["metadata"])
        checkout = str(told.get("originals", ""))
        hub = told.get("hub") or os.environ.get("SEATRIALS_HUB")
        if not hub:
            raise SuiteError(
                f'{given["task"]} is read from a local mirror of the Hub: set SEATRIALS_HUB, or give --metadata \'{{"hub": "DIR"}}\''
            )
        options = dict(told.get("options", {}))
        for name in ("counts", "split"):
            if told.get(name):
                options[name] = told[name]
        if checkout:
            options["originals"] = "given"
        self._suite: Suite = load(SuiteSpec(suite=told["suite"], languages=tuple(told["languages"]), options=options), given["task"])
        context = SuiteContext(hub=str(hub), profile_dir=".", originals=(checkout,) if checkout else ())
        self._made = list(self._suite.samples(context))
        self._tokenizer_name = told.get("tokenizer") or told.get("pretrained")
        generates = any(request.kind == "generate" for request in self._made[0].requests)
        super().__init__(
            config={
                "task": given["task"],
                "custom_dataset": self._documents,
                "test_split": "test",
                "output_type": "generate_until" if generates else "loglikelihood",
                "doc_to_text": "",
                "doc_to_target": "",
                "num_fewshot": 0,
                "metadata": {**told, "version": self.VERSION},
            }
        )

    @staticmethod
    def named(told: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata with `suite`, `languages` and `options`."""
        return dict(told)

    def _documents(self, **_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list([{"number": number, "id": sample.sample} for number, sample in enumerate(self._made)])}

    def _sample(self, doc: Mapping[str, Any]) -> Sample:
        return self._made[doc["number"]]

    @functools.cached_property
    def _tokenizer(self) -> Any:
        if not self._tokenizer_name:
            raise SuiteError(
                f'{self.config.task} counts tokens: name the model\'s tokenizer by --metadata \'{{"tokenizer": "DIR_OR_HUB_ID"}}\''
            )
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._tokenizer_name)

    def _split(self, text: str) -> tuple[str, str, int]:
        """What is given, what is predicted, and the count of all tokens. A tokenizer's own beginning is given by lm-eval itself."""
        tokens = self._tokenizer(text).input_ids
        if tokens[0] in self._tokenizer.all_special_ids:
            return "", text, len(tokens)
        for size in range(1, len(tokens)):  # more than one only where a first character is cut into several
            first = self._tokenizer.decode(tokens[:size])
            if text.startswith(first) and first == first.rstrip() and self._tokenizer(first).input_ids == tokens[:size]:
                return first, text[len(first) :], len(tokens)
        return "", text, len(tokens)

    def _length(self, request: Request) -> int:
        """Tokens that a likelihood is a sum over: of a whole text all, of a continuation those that lm-eval's `hf` predicts."""
        if request.kind == "rolling":
            return self._split(request.context)[2]
        encode = self._tokenizer.encode
        return len(encode(request.context + request.continuation)) - len(encode(request.context.rstrip()))

    def fewshot_context(self, doc: Any, *_: Any, **__: Any) -> str:
        """Nothing: the shots are a part of the item."""
        return ""

    def construct_requests(self, doc: Any, ctx: str, **kwargs: Any) -> list[Instance]:
        """lm-eval's requests for those of the sample."""
        passed = {key: kwargs[key] for key in ("metadata",) if key in kwargs}
        found = []
        for index, request in enumerate(self._sample(doc).requests):
            kind, arguments = "loglikelihood", (request.context, request.continuation)
            if request.kind == "rolling":
                first, rest, _ = self._split(request.context)
                arguments = (first, rest)
            elif request.kind == "generate":
                kind, limit = "generate_until", request.settings["max_tokens"]
                arguments = (request.context, {"until": list(request.settings["stop"]), "max_gen_toks": limit, "do_sample": False})  # type: ignore[assignment]
            found.append(Instance(request_type=kind, doc=doc, arguments=arguments, idx=index, **passed))  # type: ignore[arg-type]
        return found

    def process_results(self, doc: Any, results: Sequence[Any]) -> dict[str, Value]:
        """The columns of each metric, for one item: under the metric's name, and of several languages under that and the language."""
        sample = self._sample(doc)
        found = [
            {"text": one} if request.kind == "generate" else {"logprob": one[0], "tokens": self._length(request)}
            for one, request in zip(results, sample.requests, strict=True)
        ]
        values = self._suite.row(sample, found).values
        several = len(self._suite.languages) > 1
        given: dict[str, Value] = {}
        for metric in self._suite.metrics:
            if metric.denominator and not values[metric.denominator]:
                continue  # not about this item
            columns = tuple(values[column] for column in metric.used)
            alone: Value = columns[0] if len(columns) == 1 else (sample.language, columns)
            given |= (
                {metric.name: (sample.language, columns), f"{metric.name}_{sample.language}": alone} if several else {metric.name: alone}
            )
        return given

    def aggregation(self) -> dict[str, Callable[[Sequence[Value]], float]]:
        """Of a language what the metric says, and their mean."""
        from lm_eval.api.metrics import mean  # it knows the standard error of this one

        simple = len(self._suite.languages) == 1
        return self._by_name(lambda metric: mean if simple and len(metric.used) == 1 else functools.partial(reduced, metric))

    def higher_is_better(self) -> dict[str, bool]:
        """By the direction of each metric."""
        return self._by_name(lambda metric: metric.direction == "higher")

    def _by_name(self, what: Callable[[Metric], Any]) -> dict[str, Any]:
        found = {metric.name: what(metric) for metric in self._suite.metrics}
        if len(self._suite.languages) > 1:
            found |= {f"{metric.name}_{language}": what(metric) for metric in self._suite.metrics for language in self._suite.languages}
        return found


def reduced(metric: Metric, values: Sequence[Value]) -> float:
    """The score of items: a language's by its metric, over languages the mean."""
    several = [value for value in values if isinstance(value, tuple)]
    if not several:
        return float(np.mean(np.array(values, dtype=np.float64)))
    scores = []
    for language in dict.fromkeys(language for language, _ in several):
        columns = np.array([given for one, given in several if one == language], dtype=np.float64)
        sums = columns.sum(0)
        if metric.reducer:
            module, _, function = metric.reducer.partition(":")
            scores.append(float(getattr(importlib.import_module(module), function)(sums)))
        else:
            scores.append(float(sums[0] / (sums[1] if metric.denominator else len(columns))))
    return float(np.mean(scores))
