"""lm-eval's tasks as suites: lm-eval's own numbers through our journal, from a local mirror, with its metrics known beforehand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness import evaluation, evaluation_command
from harness.answers import Journal
from harness.evaluation import read_rows
from harness.lm_eval_data import from_mirror, rows
from harness.lm_eval_declared import declared
from harness.suites import SuiteContext, SuiteError, SuiteSpec, load
from tests.harness.checkpoints import TEXTS, checkpoint
from training.recipe import encode

LIMIT = 10
CONTEXT = 2048
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"

TASKS = {
    "mine_continue": """
task: mine_continue
dataset_path: makers/harbour
dataset_name: eng
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n", "rice"], max_gen_toks: 12, do_sample: false}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
  - metric: bleu
    aggregation: bleu
    higher_is_better: true
metadata: {version: 3.0}
""",
    "mine_text": """
task: mine_text
dataset_path: makers/harbour
dataset_name: eng
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{question}}"
metadata: {version: 1.0}
""",
    "mine_sampled": """
task: mine_sampled
dataset_path: makers/harbour
dataset_name: eng
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {do_sample: true, temperature: 0.7}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
    "mine_corpus": """
task: mine_corpus
dataset_path: makers/harbour
dataset_name: eng
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: bleu, aggregation: bleu, higher_is_better: true}]
""",
    "mine_group": "group: mine_group\ntask: [mine_text, mine_continue]\n",
}


@pytest.fixture
def mirror(tmp_path) -> Path:
    """A mirror with one small data set of ours, and its manifest."""
    hub = tmp_path / "hub"
    path = hub / "makers/harbour/eng/test.jsonl"
    path.parent.mkdir(parents=True)
    lines = [
        {"question": f"Boat {i} leaves the harbour in the morning with rice and", "answer": "fish", "passage": f"{i // 2}"}
        for i in range(8)
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    (hub / "MANIFEST.json").write_text(json.dumps({"makers/harbour/eng/test.jsonl": {"rows": 8}}))
    return hub


@pytest.fixture
def own(tmp_path) -> Path:
    """A folder of lm-eval task files."""
    directory = tmp_path / "tasks"
    directory.mkdir()
    for name, text in TASKS.items():
        (directory / f"{name}.yaml").write_text(text)
    return directory


def run(tmp_path: Path, hub: Path, path: Path, **specs: SuiteSpec) -> tuple[dict, dict[str, list]]:
    told = {
        "schema": 1,
        "checkpoint": str(path),
        "model_digest": f"{path.name:x<64}",
        "tokenizer_digest": "b" * 64,
        "suites": {name: encode(spec) for name, spec in specs.items()},
        "hub": str(hub),
        "profile_dir": str(tmp_path),
        "store": str(tmp_path / "store"),
        "output": str(tmp_path / "out"),
    }
    summary = evaluation.run(told)
    return summary, {name: read_rows(tmp_path / "out" / f"{name}.parquet") for name in specs}


def lm_eval_says(hub: Path, path: Path, tasks: list[str], folder: Path | None = None, limit: int | None = LIMIT, model: Any = None) -> dict:
    """lm-eval's own evaluation: its `hf` model (or ours) over the same rows."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with from_mirror(str(hub)):
        manager = TaskManager(include_path=str(folder) if folder else None, include_defaults=False)
        chosen = model or HFLM(str(path), device="cpu", batch_size=4, dtype="float32")
        return simple_evaluate(model=chosen, tasks=tasks, limit=limit, task_manager=manager, bootstrap_iters=0)


def builtin(task: str) -> Path:
    return declared("x", task, None, None).path.parent


# ------------------------------------------------------------------------------------------------- the numbers are lm-eval's


@pytest.mark.parametrize(
    ("tasks", "chance"),
    [({"tha": "xcopa_th", "vie": "xcopa_vi"}, 0.5), ({"jav": "belebele_jav_Latn"}, None)],
    ids=["xcopa", "belebele"],
)
def test_likelihood_tasks_give_lm_evals_predictions_and_log_probabilities(tmp_path, hub, tasks, chance):
    path = checkpoint(context=CONTEXT)
    spec = SuiteSpec(
        suite=f"lm_eval:{next(iter(tasks.values()))}", languages=tuple(tasks), options={"tasks": tasks, "chance": chance, "limit": LIMIT}
    )
    summary, found = run(tmp_path, hub, path, suite=spec)
    assert len(found["suite"]) == LIMIT * len(tasks)
    journal = Journal(tmp_path / "store", f"{path.name:x<64}")
    ours = [answer["logprob"] for answer in journal._answers.values()]
    theirs: list[float] = []
    for language, task in tasks.items():
        said = lm_eval_says(hub, path, [task], builtin(task))
        by_document = {sample["doc_id"]: sample for sample in said["samples"][task]}
        assert len(by_document) == LIMIT
        for row in (row for row in found["suite"] if row.language == language):
            sample = by_document[int(row.sample.rpartition("/")[2])]
            sums = [response[0][0] for response in sample["resps"]]
            theirs += sums
            gold = sample["target"] if isinstance(sample["target"], int) else int(sample["target"])
            assert row.values["acc"] == sample["acc"]
            assert row.values.get("acc_norm", 0.0) == sample.get("acc_norm", 0.0)
            assert row.values["margin"] == pytest.approx(sums[gold] - max(s for i, s in enumerate(sums) if i != gold), abs=1e-3)
        accuracy = sum(row.values["acc"] for row in found["suite"] if row.language == language) / LIMIT
        assert accuracy == pytest.approx(said["results"][task]["acc,none"])
    assert len(theirs) >= 2 * LIMIT
    assert all(min(abs(one - other) for other in ours) < 1e-3 for one in theirs)
    assert summary["suite"]["facts"]["tasks"] == tasks
    assert load(spec, "suite").metrics[2].chance == (chance or 0.25)


def test_generation_and_rolling_tasks_give_lm_evals_answers(tmp_path, mirror, own):
    path = checkpoint(context=64)  # shorter than the longest text with what is to be generated
    specs = {
        name: SuiteSpec(suite=f"lm_eval:{name}", languages=("eng",), options={"include_path": "tasks"})
        for name in ("mine_continue", "mine_text")
    }
    summary, found = run(tmp_path, mirror, path, **specs)
    said = lm_eval_says(mirror, path, list(specs), own, limit=None)
    theirs = {sample["doc_id"]: sample["filtered_resps"][0] for sample in said["samples"]["mine_continue"]}
    assert {int(row.sample.rpartition("/")[2]): row.shown["answer"] for row in found["mine_continue"]} == theirs
    assert any(theirs.values())
    texts = found["mine_text"]
    for metric, transform in (("bits_per_byte", float), ("byte_perplexity", math.exp), ("word_perplexity", math.exp)):
        score = sum(row.values[f"{metric}.sum"] for row in texts) / sum(row.values[f"{metric}.count"] for row in texts)
        assert transform(score) == pytest.approx(said["results"]["mine_text"][f"{metric},none"], rel=1e-5)
    facts = summary["mine_continue"]["facts"]
    assert facts["left_out"] == ["bleu"]
    assert facts["versions"] == {"mine_continue": "3.0"}
    # Items of one passage are one cluster.
    assert len({row.cluster for row in found["mine_continue"]}) == 4


def test_our_model_inside_lm_eval_gives_the_same_results(tmp_path, mirror, own):
    from harness.backends.lm import JournaledLM
    from harness.backends.subject import Subject

    path = checkpoint(context=64)
    names = ["mine_continue", "mine_text"]
    with Journal(tmp_path / "store", "a" * 64) as journal:
        subject = Subject(path, journal, weights="a" * 64, tokenizer_digest="b" * 64)
        ours = lm_eval_says(mirror, path, names, own, limit=None, model=JournaledLM(subject))
        theirs = lm_eval_says(mirror, path, names, own, limit=None)
        assert ours["results"]["mine_text"]["bits_per_byte,none"] == pytest.approx(
            theirs["results"]["mine_text"]["bits_per_byte,none"], rel=1e-5
        )
        assert [s["resps"] for s in ours["samples"]["mine_continue"]] == [s["resps"] for s in theirs["samples"]["mine_continue"]]
        subject.loaded = None
        subject.offline = True  # a second pass needs no model
        again = lm_eval_says(mirror, path, names, own, limit=None, model=JournaledLM(subject))
        assert again["results"]["mine_text"]["bits_per_byte,none"] == ours["results"]["mine_text"]["bits_per_byte,none"]


def test_a_chat_template_is_part_of_the_question(tmp_path, mirror, own):
    spec = SuiteSpec(suite="lm_eval:mine_continue", languages=("eng",), options={"include_path": "tasks", "chat": True})
    one = checkpoint(context=256, chat_template=TEMPLATE)
    summary, found = run(tmp_path, mirror, one, chat=spec)
    assert summary["chat"]["computed"] == 8
    other = tmp_path / "other"
    shutil.copytree(one, other)
    (other / "chat_template.jinja").write_text(TEMPLATE.replace("<assistant>", "[assistant]"))
    # The same digests on purpose: the rendered tokens alone must tell the two templates apart.
    told = json.loads(json.dumps({"model_digest": f"{one.name:x<64}"}))
    again = evaluation.run(
        {
            "schema": 1,
            "checkpoint": str(other),
            **told,
            "tokenizer_digest": "b" * 64,
            "suites": {"chat": encode(spec)},
            "hub": str(mirror),
            "profile_dir": str(tmp_path),
            "store": str(tmp_path / "store"),
            "output": str(tmp_path / "out"),
        }
    )
    assert again["chat"]["computed"] == 8
    assert found["chat"][0].shown["prompt"].startswith('{"messages"')


# ---------------------------------------------------------------------------------------------------- what a task declares


def test_metrics_are_known_before_anything_is_loaded(own):
    made = load(SuiteSpec(suite="lm_eval:mine_text", languages=("eng",), options={"include_path": str(own)}), "text")
    assert [(m.name, m.direction, m.transform) for m in made.metrics] == [
        ("word_perplexity", "lower", "exp"),
        ("byte_perplexity", "lower", "exp"),
        ("bits_per_byte", "lower", "identity"),
    ]
    belebele = load(SuiteSpec(suite="lm_eval:belebele_jav_Latn", languages=("jav",)), "belebele")
    assert [(m.name, m.chance, m.binary) for m in belebele.metrics] == [
        ("margin", None, False),
        ("margin_per_byte", None, False),
        ("acc", 0.25, True),
        ("acc_norm", 0.25, True),
    ]


def test_filters_name_their_own_metrics():
    names = [metric.name for metric in declared("x", "gsm8k", None, None).metrics]
    assert names == ["exact_match,strict-match", "exact_match,flexible-extract"]


@pytest.mark.parametrize(
    ("suite", "options", "message"),
    [
        ("lm_eval:xcopa_tj", {}, "did you mean xcopa_t"),
        ("lm_eval:mine_group", {"include_path": "tasks"}, "declare different metrics"),
        ("lm_eval:mine_corpus", {"include_path": "tasks"}, "not sums"),
        ("lm_eval:mine_sampled", {"include_path": "tasks"}, "samples its answers"),
        ("lm_eval:mine_text", {"include_path": "elsewhere"}, "not a directory"),
        ("lm_eval:mine_text", {"include_path": "tasks", "tasks": {"tha": "mine_text"}}, "no lm-eval task for eng"),
        ("lm_eval:mine_text", {"include_path": "tasks", "cluster": "colour"}, "no field 'colour'"),
        ("lm_eval:humaneval", {}, "executes code.*confirm_run_unsafe_code=True"),
    ],
)
def test_a_bad_task_names_what_is_wrong(tmp_path, mirror, own, suite, options, message):
    context = SuiteContext(hub=str(mirror), profile_dir=str(tmp_path))
    with pytest.raises(SuiteError, match=message):
        list(load(SuiteSpec(suite=suite, languages=("eng",), options=options), "mine").samples(context))


def test_two_languages_need_two_tasks():
    with pytest.raises(SuiteError, match="maps each language"):
        load(SuiteSpec(suite="lm_eval:xcopa_th", languages=("tha", "vie")), "xcopa")


@pytest.mark.parametrize(("bad", "said"), [(1, "left out"), (2, "too many")])
def test_a_gold_out_of_range_is_counted_and_beyond_one_per_cent_takes_the_value(tmp_path, mirror, own, bad, said):
    """One of 120 costs itself alone; two take the language's value."""
    (own / "mine_choice.yaml").write_text(
        "task: mine_choice\ndataset_path: makers/harbour\ndataset_name: eng\noutput_type: multiple_choice\ntest_split: test\n"
        "doc_to_text: '{{question}}'\ndoc_to_choice: ['fish', 'rice']\ndoc_to_target: label\n"
        "metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
    )
    lines = [{"question": f"Boat {i} has", "label": 5 if i >= 120 - bad else i % 2} for i in range(120)]
    (mirror / "makers/harbour/eng/test.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    (mirror / "MANIFEST.json").write_text(json.dumps({"makers/harbour/eng/test.jsonl": {"rows": 120}}))
    spec = SuiteSpec(suite="lm_eval:mine_choice", languages=("eng",), options={"include_path": "tasks", "chance": 0.5})
    summary, found = run(tmp_path, mirror, checkpoint(context=64), mine=spec)
    told = summary["mine"]["facts"]["invalid"]["eng"]
    assert told[said] == bad
    assert "its answer is [5], of 2 choices" in told["the first"]
    margins = [row.values["margin"] for row in found["mine"]]
    assert (len(margins), sum(map(math.isnan, margins))) == ((119, 0) if bad == 1 else (120, 2))


# --------------------------------------------------------------------------------------------------------------- the mirror


def samples_of(tmp_path: Path, mirror: Path | None, **options: Any) -> list:
    spec = SuiteSpec(suite="lm_eval:mine_continue", languages=("eng",), options={"include_path": "tasks", **options})
    return list(load(spec, "mine").samples(SuiteContext(hub=str(mirror), profile_dir=str(tmp_path))))


def test_rows_are_counted_against_the_manifest(tmp_path, mirror, own):
    assert len(samples_of(tmp_path, mirror)) == 8
    path = mirror / "makers/harbour/eng/test.jsonl"
    whole = path.read_text()
    path.write_text("\n".join(whole.splitlines()[:-1]))
    with pytest.raises(SuiteError, match=r"holds 7 rows, MANIFEST.json says 8"):
        samples_of(tmp_path, mirror)
    path.write_text(whole)
    (mirror / "MANIFEST.json").write_text(json.dumps({"makers/harbour/eng/test.jsonl": {"rows": 8, "sha256": "0" * 64}}))
    with pytest.raises(SuiteError, match="SHA-256 differs"):
        samples_of(tmp_path, mirror)
    (mirror / "MANIFEST.json").write_text("{}")
    with pytest.raises(SuiteError, match="does not list"):
        samples_of(tmp_path, mirror)


def test_a_mirror_without_the_data_set_or_its_columns_is_named(tmp_path, mirror, own):
    (mirror / "makers/harbour/eng/test.jsonl").write_text("\n".join(json.dumps({"query": "a", "answer": "b"}) for _ in range(8)))
    with pytest.raises(SuiteError, match=r"mine_continue.*question"):
        samples_of(tmp_path, mirror)
    shutil.move(mirror / "makers/harbour/eng", mirror / "makers/harbour/vie")
    with pytest.raises(SuiteError, match="no configuration eng: it has vie"):
        samples_of(tmp_path, mirror)
    shutil.rmtree(mirror / "makers")
    with pytest.raises(SuiteError, match=r"no data set makers/harbour; fetch it"):
        samples_of(tmp_path, mirror)


def test_the_real_mirror_is_what_its_manifest_says(hub):
    listed = json.loads((hub / "MANIFEST.json").read_text())
    name = "facebook/belebele/jav_Latn/test.jsonl"
    assert len(rows(hub, hub / name)) == listed[name]["rows"] == 280  # of 900: the manifest is the truth here


def test_a_part_of_the_original_is_said(hub, tmp_path):
    """The mirror's Belebele holds 280 of 900 questions in Javanese: a fact of the run, in the person's table; XCOPA is whole."""
    context = SuiteContext(hub=str(hub), profile_dir=str(tmp_path), samples="quick")
    part = load(SuiteSpec(suite="lm_eval:belebele_jav_Latn", languages=("jav",)), "belebele")
    assert len(list(part.samples(context))) < 280
    assert part.facts["rows of the original"] == {"jav": "280 of 900"}
    said = evaluation_command.table([], {"belebele": {"rows": 60, "seconds": 1.0, "facts": part.facts}})
    assert "rows of the original: jav 280 of 900" in said
    whole = load(SuiteSpec(suite="lm_eval:xcopa_th", languages=("tha",)), "xcopa")
    assert list(whole.samples(context))
    assert whole.facts["rows of the original"] == {}


def test_the_library_is_left_as_it_was(mirror):
    import datasets

    before = datasets.load_dataset
    with from_mirror(str(mirror)):
        found = datasets.load_dataset("makers/harbour", "eng")
        part = datasets.load_dataset("makers/harbour", "eng", split="test[2:5]")
        assert [len(found["test"]), len(part), part[0]["question"][:6]] == [8, 3, "Boat 2"]
        with pytest.raises(SuiteError, match="no split train"):
            datasets.load_dataset("makers/harbour", "eng", split="train")
    assert datasets.load_dataset is before


def test_a_group_is_its_tasks_each_a_stratum_and_a_mirror_may_hold_the_hub_s_new_name(tmp_path):
    """Global-MMLU-Lite moved on the Hub: lm-eval asks for the old owner. Both means are those of lm-eval's own accuracies."""
    counts = {"Business": 2, "Humanities": 3, "Medical": 4, "Other": 2, "STEM": 5, "Social Sciences": 2}
    rows_ = [
        {
            "sample_id": f"{category}/{i}",
            "subject_category": category,
            "question": f"{i} {TEXTS[3][: 12 + i]}",
            **{f"option_{letter}": f"{letter}{i}" for letter in "abcd"},
            "answer": "ABCD"[i % 4],
        }
        for category, count in counts.items()
        for i in range(count)
    ]
    hub = tmp_path / "hub"
    folder = hub / "CohereLabs/Global-MMLU-Lite/id"
    folder.mkdir(parents=True)
    for split in ("dev", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows_), encoding="utf-8")
    listed = {f"CohereLabs/Global-MMLU-Lite/id/{split}.jsonl": {"rows": len(rows_)} for split in ("dev", "test")}
    (hub / "MANIFEST.json").write_text(json.dumps(listed))
    path = checkpoint(context=256)
    _, found = run(tmp_path, hub, path, mmlu=SuiteSpec(suite="lm_eval:global_mmlu_id", languages=("ind",)))
    own = found["mmlu"]
    assert {row.stratum for row in own} == {f"global_mmlu_id_{name.lower().replace(' ', '_')}" for name in counts}
    said = lm_eval_says(hub, path, sorted({row.stratum for row in own}), builtin("global_mmlu_id_business"), limit=None)["results"]
    for stratum in {row.stratum for row in own}:
        hits = [row.values["acc"] for row in own if row.stratum == stratum]
        assert sum(hits) / len(hits) == pytest.approx(said[stratum]["acc,none"])
    macro = sum(row.values["acc_macro"] for row in own) / sum(row.values["task_weight"] for row in own)
    assert macro == pytest.approx(sum(said[stratum]["acc,none"] for stratum in said) / len(said))
