"""SailCompass's tasks for plain lm-eval: `lm_eval --include_path benchmarks/suites --tasks sailcompass_xcopa_tha`.

The suite makes the items, lm-eval's model scores them. lm-eval tells sums and no counts of tokens, so the tokenizer of the model under
evaluation is loaded beside it (as lm-eval's own `ruler` does), from `pretrained` or `tokenizer` of the model's arguments.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from benchmarks.suites.sailcompass import build
from harness.suites import Sample, SuiteContext, SuiteError


class SailCompass(ConfigurableTask):
    """One data set in one language; `metadata` names them, and may give `hub`, `originals`, `split` and `counts`."""

    VERSION = 1

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """Read the items. Raises SuiteError where data, checkout or tokenizer is missing."""
        given = dict(config or {})
        told = given["metadata"]
        language, checkout = told["language"], str(told.get("originals", ""))
        hub = told.get("hub") or os.environ.get("SEATRIALS_HUB")
        if not hub:
            raise SuiteError(
                f'{given["task"]} is read from a local mirror of the Hub: set SEATRIALS_HUB, or give --metadata \'{{"hub": "DIR"}}\''
            )
        self._suite = build(
            name=given["task"],
            languages=(language,),
            task=told["data"],
            originals="given" if checkout else "",
            split=str(told.get("split", "")),
            counts=told.get("counts"),
        )
        context = SuiteContext(hub=str(hub), profile_dir=".", originals=(checkout,) if checkout else ())
        self._made = list(self._suite.samples(context))
        self._tokenizer_name = told.get("tokenizer") or told.get("pretrained")
        super().__init__(
            config={
                "task": given["task"],
                "custom_dataset": self._documents,
                "test_split": "test",
                "output_type": "loglikelihood" if self._suite.likelihood else "generate_until",
                "doc_to_text": "",
                "doc_to_target": "",
                "num_fewshot": 0,
                "metadata": {**told, "version": self.VERSION},
            }
        )

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

    def fewshot_context(self, doc: Any, *_: Any, **__: Any) -> str:
        """Nothing: the shots are a part of the item."""
        return ""

    def construct_requests(self, doc: Any, ctx: str, **kwargs: Any) -> list[Instance]:
        """A whole text for each label, or one prompt."""
        passed = {key: kwargs[key] for key in ("metadata",) if key in kwargs}
        found = []
        for index, request in enumerate(self._sample(doc).requests):
            if self._suite.likelihood:
                first, rest, _ = self._split(request.context)
                kind, arguments = "loglikelihood", (first, rest)
            else:
                kind = "generate_until"
                limit = request.settings["max_tokens"]
                arguments = (request.context, {"until": list(request.settings["stop"]), "max_gen_toks": limit, "do_sample": False})  # type: ignore[assignment]
            found.append(Instance(request_type=kind, doc=doc, arguments=arguments, idx=index, **passed))  # type: ignore[arg-type]
        return found

    def process_results(self, doc: Any, results: Sequence[Any]) -> dict[str, float]:
        """The metrics of the suite, for one item."""
        sample = self._sample(doc)
        if self._suite.likelihood:
            sums = [
                {"logprob": one[0], "tokens": self._split(request.context)[2]}
                for one, request in zip(results, sample.requests, strict=True)
            ]
        else:
            sums = [{"text": results[0]}]
        values = self._suite.row(sample, sums).values
        return {metric.name: values[metric.numerator] for metric in self._suite.metrics}

    def aggregation(self) -> dict[str, Callable[..., float]]:
        """A mean over items."""
        from lm_eval.api.metrics import mean

        return {metric.name: mean for metric in self._suite.metrics}

    def higher_is_better(self) -> dict[str, bool]:
        """All of them."""
        return {metric.name: metric.direction == "higher" for metric in self._suite.metrics}
