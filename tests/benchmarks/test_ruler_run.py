"""RULER from end to end at length 512 on a tiny checkpoint, in a conversation, with NVIDIA's layout of words, and with real question files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import pytest

from benchmarks.suites.ruler import TASKS, build, originals
from benchmarks.suites.ruler.questions import from_hub
from harness import evaluation
from harness.backends.rendering import Renderer
from harness.evaluation import read_rows
from harness.suites import BUILT_IN, Measure, SuiteContext, SuiteError, SuiteSpec
from tests.benchmarks.ruler_kit import measured, samples_of
from tests.harness.checkpoints import checkpoint, logprobs, tokenizer
from training.recipe import WorldText, encode
from training.world import text as world

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
TASKS_512 = ("niah_single_1", "niah_multikey_1", "vt", "fwe", "qa_1", "qa_2")
TEXTS = tuple(d.text for iso in ("eng", "ind") for d in world.documents(WorldText(language=iso, documents=40, split="train", seed=1)))


def order(tmp_path: Path, path: Path, suites: dict[str, SuiteSpec], **changed) -> dict:
    told = {
        "schema": 1,
        "checkpoint": str(path),
        "model_digest": f"{path.name:x<64}",
        "tokenizer_digest": "b" * 64,
        "suites": {name: encode(spec) for name, spec in suites.items()},
        "profile_dir": str(tmp_path),
        "store": str(tmp_path / "store"),
        "output": str(tmp_path / "out"),
        "threads": 1,
    }
    return {**told, **changed}


def test_from_end_to_end_at_512(tmp_path):
    path = checkpoint(context=512, texts=TEXTS)
    options = {"lengths": (512,), "tasks": TASKS_512, "count": 1}
    suites = {
        "ruler": SuiteSpec(suite="ruler", languages=("eng",), options=options),
        "sea": SuiteSpec(suite="ruler-sea", languages=("ind",), options={**options, "mode": "margin", "count": 2}),
    }
    told = order(tmp_path, path, suites)
    summary = evaluation.run(told)
    rows = {name: read_rows(tmp_path / "out" / f"{name}.parquet") for name in suites}
    assert [row.stratum for row in rows["ruler"]] == [f"{task}@512" for task in TASKS_512]
    assert all(row.values["score"] <= row.values["part"] for row in rows["ruler"])
    assert {name: facts["facts"]["truncated"] for name, facts in summary.items()} == {"ruler": 0, "sea": 0}
    again = evaluation.run(told)
    assert [facts["computed"] for facts in again.values()] == [0, 0], "the same tokens, so the same answers"
    # An independent reference: transformers' own forward in float64 over one item.
    suite = built_in_sea()
    context = measured(Renderer(tokenizer(TEXTS), 512))
    sample = next(iter(suite.samples(context)))
    sums = []
    for request in sample.requests:
        rendered = Renderer(tokenizer(TEXTS), 512).request(request)
        tokens = [*rendered.context, *rendered.continuation]
        table = logprobs(path, tokens)
        sums.append(sum(float(table[at - 1, tokens[at]]) for at in range(len(rendered.context), len(tokens))))
    row = next(row for row in rows["sea"] if row.sample == sample.sample)
    assert row.values["margin"] == pytest.approx(sums[0] - max(sums[1:]), abs=1e-2)


def built_in_sea():
    assert BUILT_IN["ruler-sea"] == "benchmarks.suites.ruler:build_sea"
    from benchmarks.suites.ruler import build_sea

    return build_sea("sea", languages=("ind",), lengths=(512,), tasks=TASKS_512, mode="margin", count=2)


def test_a_conversation_holds_the_prefix_in_the_open_turn_and_fits_too():
    renderer = Renderer(tokenizer(TEXTS, chat_template=TEMPLATE), 1 << 20)
    suite = build("r", lengths=(2048,), count=1, chat=True)
    for sample in suite.samples(measured(renderer)):
        task, _, drawn = sample.data
        tokens = renderer.request(sample.requests[0]).context
        text = renderer.tokenizer.decode(tokens)
        assert text.startswith("<user>")
        assert text.endswith("<assistant>" + drawn.prefix.strip())
        assert 0.9 * 2048 <= len(tokens) + task.generate <= 2048


# ------------------------------------------------------------------------------------------------------------- NVIDIA's layout

CONSTANTS = '''
raise SystemExit("a checkout is parsed, never executed")
TASKS = {
    'niah': {'tokens_to_generate': 128,
             'template': """Some odd {type_needle_v} are here.\\n{context}\\nWhat are all the odd {type_needle_v} for {query}?""",
             'answer_prefix': """ The odd {type_needle_v} for {query} are"""},
    'variable_tracking': {'tokens_to_generate': 30, 'template': "Follow.\\n{context}\\nWhich are {query}?", 'answer_prefix': " {num_v} are {query}: "},
    'common_words_extraction': {'tokens_to_generate': 120, 'template': "Count.\\n{context}\\nWhich?{query}", 'answer_prefix': " The ten:"},
    'freq_words_extraction': {'tokens_to_generate': 50, 'template': "Codes.\\n{context}\\nWhich?", 'answer_prefix': " The three:"},
    'qa': {'tokens_to_generate': 32, 'template': "Documents.\\n{context}\\nQ: {query}", 'answer_prefix': " A:"},
}
'''
NIAH = """
needle = "One of the odd {type_needle_v} for {key} is: {value}."
if True:
    haystack = "Tea is hot. Ice is cold. Sand is dry. On we go."
"""
SQUAD = {
    "data": [
        {
            "title": f"t{i}",
            "paragraphs": [
                {
                    "context": f"Paragraph {i}.{j} says that town{i}{j} is by the sea.",
                    "qas": [
                        {
                            "question": f"Where is {i}.{j}?",
                            "answers": [{"text": f"town{i}{j}"}, {"text": "the sea"}],
                            "is_impossible": False,
                        },
                        {"question": "Nowhere?", "answers": [], "is_impossible": True},
                    ],
                }
                for j in range(3)
            ],
        }
        for i in range(4)
    ]
}
HOTPOT = [
    {
        "question": f"Q{i}?",
        "answer": f"answer{i}",
        "context": [[f"T{i}{j}", [f"It says {i}{j}. ", f"answer{i}." if j == 0 else "No."]] for j in range(3)],
    }
    for i in range(6)
]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A directory laid out as NVIDIA's, in our words."""
    folder = tmp_path / "RULER" / originals.FOLDER
    (folder / "json").mkdir(parents=True)
    (folder / "constants.py").write_text(CONSTANTS)
    (folder / "niah.py").write_text(NIAH)
    (folder / "json" / "squad.json").write_text(json.dumps(SQUAD))
    (folder / "json" / "hotpotqa.json").write_text(json.dumps(HOTPOT))
    (folder / "json" / "PaulGrahamEssays.json").write_text(json.dumps({"text": "A boat goes out. It comes back late. " * 9}))
    return folder


def nvidia(tmp_path: Path, **options):
    suite = build("r", originals="RULER", lengths=(4096,), count=2, **options)
    renderer = Renderer(tokenizer(TEXTS), 1 << 20)
    measure = Measure(tokens=renderer.tokens, tokenizer="", window=1 << 20)
    return suite, SuiteContext(hub=None, profile_dir=str(tmp_path), measure=measure)


def test_a_checkouts_words_are_read_and_never_run(tmp_path, checkout):
    pytest.importorskip("wonderwords")
    tasks = tuple(task for task in TASKS if task != "cwe")
    suite, context = nvidia(tmp_path, tasks=tasks)
    assert {metric.name.partition("_")[0] for metric in suite.metrics} == {"ruler"}
    found = {sample.stratum.partition("@")[0]: sample for sample in suite.samples(context)}
    assert list(found) == list(tasks)
    one, many = found["niah_single_1"], found["niah_multiquery"]
    assert one.requests[0].context.startswith("A odd number is here.\nTea is hot. Ice is cold.")
    assert one.requests[0].context.endswith(f" The odd number for {one.data[2].slots['query']} is")
    assert f"One of the odd numbers for {one.data[2].slots['query']} is: {one.data[2].refs[0]}." in one.requests[0].context
    assert many.requests[0].context.startswith("Some odd numbers are here.\n")
    assert ", and " in many.data[2].slots["query"]
    chain = found["vt"]
    assert f"VAR {chain.data[2].refs[1]} = VAR {chain.data[2].refs[0]}" in chain.requests[0].context
    assert chain.requests[0].context.count("Which are") == 2, "a solved example stands before it"
    assert found["qa_1"].data[2].refs[1:] == ("the sea",)
    row = suite.row(found["qa_1"], [{"text": "by THE SEA"}])
    assert row.values["score"] == 1.0, "any of the answers"


def test_the_run_s_own_checkout_is_found_among_others(tmp_path, checkout):
    pytest.importorskip("wonderwords")
    named, context = nvidia(tmp_path, tasks=("niah_single_1",))
    given = build("r", originals="given", lengths=(4096,), count=2, tasks=("niah_single_1",))
    assert {metric.name for metric in given.metrics} == {metric.name for metric in named.metrics}
    (tmp_path / "another").mkdir()
    told = dataclasses.replace(context, profile_dir="/", originals=(str(tmp_path / "another"), str(tmp_path / "RULER")))
    assert [sample.requests for sample in given.samples(told)] == [sample.requests for sample in named.samples(context)]
    for originals_ in ((), (str(tmp_path / "another"),)):
        with pytest.raises(SuiteError, match="--gate-originals=DIR"):
            list(given.samples(dataclasses.replace(context, originals=originals_)))


def test_common_words_of_a_checkout_are_30_and_3(tmp_path, checkout):
    pytest.importorskip("wonderwords")
    suite, context = nvidia(tmp_path, tasks=("cwe",))
    context = SuiteContext(
        hub=None, profile_dir=str(tmp_path), measure=Measure(tokens=lambda r: r.context.count(" "), tokenizer="", window=1 << 20)
    )
    for sample in suite.samples(context):
        drawn = sample.data[2]
        words = drawn.context(50).split(" ")
        assert {words.count(ref) for ref in drawn.refs} == {30}
        assert drawn.example.count(". ") == 10 * 10 + 3 * 30 + 10


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("constants.py", "", "has no TASKS"),
        ("constants.py", "TASKS = dict(a=1)", "no literal"),
        ("constants.py", "TASKS = {'niah': {}}", "lacks 'template' of niah"),
        ("constants.py", "TASKS = (", "cannot be read"),
        ("niah.py", "x = 1", "holds no needle"),
        ("json/squad.json", "[]", "squad.json is not in the layout of SQuAD"),
        ("json/hotpotqa.json", "[{}]", "layout of SQuAD or HotpotQA"),
        ("json/hotpotqa.json", "[]", "at least 4"),
        ("json/PaulGrahamEssays.json", "{", "download_paulgraham"),
    ],
)
def test_a_checkout_that_lacks_something_is_named(tmp_path, checkout, file, text, message):
    pytest.importorskip("wonderwords")
    (checkout / file).write_text(text)
    suite, context = nvidia(tmp_path, tasks=("niah_single_2", "qa_1", "qa_2"))
    with pytest.raises(SuiteError, match=message):
        list(suite.samples(context))


def test_the_word_lists_are_the_ones_of_the_original():
    pytest.importorskip("wonderwords")
    assert [len(originals.wonderwords(kind)) for kind in ("adjective", "noun")] == [912, 6782]


# -------------------------------------------------------------------------------------------------------------- SQuAD, HotpotQA


def mirror(tmp_path: Path) -> Path:
    rows = {
        "rajpurkar/squad_v2/squad_v2/validation.jsonl": [
            {"title": f"t{i // 3}", "context": f"Context {i} with gold{i}.", "question": f"Q{i}?", "answers": {"text": [f"gold{i}"] * 2 if i % 4 else []}}
            for i in range(12)
        ],
        "hotpotqa/hotpot_qa/distractor/validation.jsonl": [
            {"question": one["question"], "answer": one["answer"], "context": {"title": [t for t, _ in one["context"]], "sentences": [s for _, s in one["context"]]}}
            for one in HOTPOT
        ],
    }  # fmt: skip
    manifest = {}
    for name, listed in rows.items():
        path = tmp_path / "hub" / name
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(json.dumps(row) for row in listed))
        manifest[name] = {"rows": len(listed), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (tmp_path / "hub" / "MANIFEST.json").write_text(json.dumps(manifest))
    return tmp_path / "hub"


def test_questions_of_the_hub_are_read_answerable_ones_only(tmp_path):
    hub = mirror(tmp_path)
    squad, hotpot = from_hub(str(hub), "qa_1"), from_hub(str(hub), "qa_2")
    assert [len(squad.questions), len(squad.documents)] == [9, 12]
    assert all(question.answers[0] in question.documents[0] for question in squad.questions)
    assert all(len(question.related) == 3 for question in squad.questions)
    assert [len(hotpot.questions), len(hotpot.documents)] == [6, 18]
    suite = build("r", lengths=(1024,), tasks=("qa_1", "qa_2"), questions="hub", count=3)
    renderer = Renderer(tokenizer(TEXTS), 1 << 20)
    context = SuiteContext(hub=str(hub), profile_dir=".", measure=Measure(tokens=renderer.tokens, tokenizer="", window=1 << 20))
    found = list(suite.samples(context))
    assert len({sample.data[2].slots["query"] for sample in found}) == 6, "no question twice"
    for sample in found:
        assert sample.requests[0].context.count(sample.data[2].refs[0]) >= 1
    with pytest.raises(SuiteError, match="no mirror is named"):
        from_hub(None, "qa_1")
    with pytest.raises(SuiteError, match="the mirror has no"):
        from_hub(str(tmp_path), "qa_1")


def test_nan_of_the_model_is_never_a_score():
    suite = build("r", lengths=(2048,), tasks=("vt",), mode="margin", count=1)
    (sample,) = samples_of(suite)
    row = suite.row(sample, [{"logprob": math.nan}] * 4)
    assert math.isnan(row.values["margin"])
    assert math.isnan(row.values["score"])
