"""What `--gate-dry-run` prints: what each stage would take, how it would be started, and what would judge it. Nothing is built or loaded.

python -m harness.dryrun sailor2-8b stage2 --gpus 256 --utilisation 0.45 --document 800
python -m harness.dryrun sailor2-8b curation --crawl 20

The numbers are `training/cost.py`'s, those of a corpus `training/curation/cost.py`'s. GPUs, utilisation, document length and the text of the crawl are
assumptions, printed with them; the commands above change them, the pytest option takes the defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import profiles
from harness.builtin import sailor2
from harness.gates import GatesError, gates_of, load_gates
from harness.launch import Launcher, LaunchError
from harness.profiles import Profile, ProfileError
from training.cost import H100, Cost, CostError, Hardware, Memory, cost
from training.curation.cost import CorpusCost, CorpusCostError, corpus_cost
from training.pretraining.sources import SourceError, crawl_files, file_path, sources_of
from training.recipe import (
    ContinuePretraining,
    CrawlFiles,
    CurateCorpus,
    ExpandBlocks,
    FromScratch,
    ImportCheckpoint,
    Recipe,
    TextFiles,
    decode,
)
from training.stages import GRAPH

WIDTH = 138
LABEL = 12  # columns of the labels under a stage
TIE = "\N{NO-BREAK SPACE}"  # a number and its unit stay on one line; printed as a space
NODE = 8  # GPUs of a node, for the command that is shown
GPUS_NAMED = 64  # assumed where stages cost days
HEADINGS = ("stage", "parent", "parameters", "tokens", "steps", "FLOPs", "GPU-hours", "wall time", "GPU memory", "checkpoint", "to build")


def render(
    profile: Profile,
    stages: Iterable[str],
    launcher: str = "local",
    *,
    gpus: int | None = None,
    hardware: Hardware = H100,
    document: float | None = None,
    crawl: float | None = None,
    store: Path | str = ".seatrials",
    told: Sequence[str] | None = None,
) -> str:
    """The dry run of `stages` and their ancestors as text, at most 140 columns wide.

    `gpus` defaults to 64 for profiles that build only what is named, else 1. `document` is the mean length of a document in tokens (None:
    rows of one document, the upper bound of attention), `crawl` the bytes of text of a crawl (None: what the profile assumes). A cost that cannot
    be told is said in its place. `told`: the options that the command to ask with is to repeat (None: the profile's name). Raises LaunchError, GatesError.
    """
    Launcher.parse(launcher)
    gpus = gpus or (GPUS_NAMED if profile.build == "named" else 1)
    order = tuple(dict.fromkeys(name for stage in stages for name in profile.ancestry(stage)))
    costs: dict[str, Cost | CorpusCost | str] = {}
    for stage in order:
        made = profile.makes(stage) == "corpus"
        costs[stage] = _corpus(profile, stage, crawl) if made else _cost(profile, stage, costs, gpus, hardware, document)
    gates = load_gates(profile.gates, profile)
    blocks = [_header(profile, order, gpus, hardware, document), _table(profile, order, costs, gpus)]
    for stage in order:
        lines = [f"{stage}: {GRAPH[stage].purpose} (paper {GRAPH[stage].paper})"]
        for label, text in _details(profile, stage, costs[stage], gpus, hardware):
            lines += _labelled(label, text)
        lines += [_command(label, text) for label, text in _commands(profile, stage, launcher, store, gpus, told)]
        lines += _labelled("judged by", _suites(profile, stage))
        lines += _labelled("gates", _gates([gate.name.partition(".")[2] for gate in gates_of(gates, stage)]))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks).replace(TIE, " ")


def _corpus(profile: Profile, stage: str, crawl: float | None) -> CorpusCost | str:
    """What the corpus of a stage costs on `crawl` bytes of text, or on what the profile assumes; or the reason why it cannot be told."""
    entry = profile.stages[stage]
    if crawl is None:
        return (
            entry.corpus
            or "a corpus is made on CPUs, by documents a second (README, Curation); `--crawl TB` says how much text the crawl has"
        )
    assert isinstance(entry.recipe, CurateCorpus)
    try:
        return corpus_cost(entry.recipe.chain, crawl, entry.corpus.leaves if entry.corpus else None)
    except CorpusCostError as error:
        return str(error)


def _cost(
    profile: Profile, stage: str, costs: dict[str, Cost | CorpusCost | str], gpus: int, hardware: Hardware, document: float | None
) -> Cost | str:
    """The stage's cost, or the reason why it cannot be told."""
    parents = profile.made_from(stage)
    parent = costs[parents[0]] if parents else None
    assert not isinstance(parent, CorpusCost)
    if isinstance(parent, str):
        return f"unknown, as that of {parents[0]}"
    try:
        recipe = profile.stages[stage].recipe
        return cost(recipe, parent, gpus=gpus, hardware=hardware, document=document, directory=profile.directory)
    except CostError as error:
        return str(error)


# ------------------------------------------------------------------------------------------------------------------ parts


def _header(profile: Profile, order: Sequence[str], gpus: int, hardware: Hardware, document: float | None) -> str:
    documents = "rows of one document (the most that attention can cost)" if document is None else f"documents of {document:,.0f} tokens"
    lines = [f"dry run of {profile.name}, {' -> '.join(order)}: nothing is built, loaded or judged"]
    if any(profile.makes(stage) != "corpus" for stage in order):
        lines += _labelled(
            "assumed",
            f"{_count(gpus, hardware.name)} of {_bytes(hardware.memory)}, {hardware.utilisation:.0%} of {hardware.flops / 1e12:,.0f} TFLOP/s "
            f"(bfloat16); {documents}; each layer's activations computed twice; "
            f"change them with `python -m harness.dryrun {profile.name} {order[-1]} --help`",
        )
    if text := _text(profile, order):
        lines += _labelled("text", text)
    return "\n".join(lines)


def _text(profile: Profile, order: Sequence[str]) -> str:
    """Which of the user's own files are there, for building the stages and for judging them."""
    spoken = [decode(list(spec.options.values())) for spec in profile.suites.values()]
    options = [value for values in spoken for option in values if isinstance(option, dict) for value in option.values()]
    built = [profile.stages[stage].recipe for stage in order]
    named = [directory for recipe in built if isinstance(recipe, CurateCorpus) for directory in _directories(recipe)]
    files = {f"{directory}/": (profile.directory / directory).is_dir() for directory in named}
    files |= {source.path: _there(source, profile.directory) for source in sources_of([*built, *options]) if isinstance(source, TextFiles)}
    if not files:
        return ""
    missing = [path for path, there in files.items() if not there]
    directory = f"{profile.directory} ({sailor2.CORPUS} names it)" if profile.name.startswith("sailor2-") else str(profile.directory)
    said = f"{len(files)} files{' and directories' if named else ''} under {directory}"
    if not missing:
        return f"{said}, all there"
    shown = ", ".join(missing[:6]) + (", ..." if len(missing) > 6 else "")
    return f"{said}, {len(missing)} of them MISSING: {shown}; without its text a stage is a build error that names the file"


def _directories(recipe: CurateCorpus) -> list[str]:
    """The directories that a corpus is made from: of the crawl, and those that its layers' settings name (a file has a suffix)."""
    paths = list(recipe.crawl.paths) if isinstance(recipe.crawl, CrawlFiles) else []
    for layer in recipe.chain.layers:
        named = [getattr(layer, setting) for setting in layer.files]
        paths += [path for value in named for path in (value if isinstance(value, tuple) else (value,))]
    return [path for path in paths if path and not Path(path).suffix and "*" not in path]


def _there(source: TextFiles, directory: Path) -> bool:
    try:
        return file_path(source, directory).is_file()
    except SourceError:
        return False


def _table(profile: Profile, order: Sequence[str], costs: dict[str, Cost | CorpusCost | str], gpus: int) -> str:
    rows: list[tuple[str, ...]] = [HEADINGS]
    for stage in order:
        of, parent = costs[stage], ", ".join(profile.parents(stage)) or "-"
        if isinstance(of, str):
            rows.append((stage, parent, *("?",) * (len(HEADINGS) - 2)))
            continue
        if isinstance(of, CorpusCost):
            rows.append((stage, parent, *("-",) * 7, _bytes(of.corpus_bytes), _bytes(of.work_bytes)))
            continue
        size, made = f"{of.shape.parameters:,}", _bytes(of.checkpoint_bytes)
        if not of.steps:
            rows.append((stage, parent, size, *("-",) * 6, made, made))
            continue
        assert of.sharded is not None
        rows.append(
            (
                stage,
                parent,
                size,
                _tokens(of.tokens),
                f"{of.steps:,}",
                f"{of.flops:.2e}".replace("e+", "e"),
                _round(of.gpu_hours),
                _duration(of.hours(gpus)),
                _bytes(of.sharded.total),
                made,
                _bytes(of.checkpoint_bytes + of.resume_bytes + of.token_bytes),
            )
        )
    told = [of for of in costs.values() if isinstance(of, Cost)]
    corpora = [of for of in costs.values() if isinstance(of, CorpusCost)]
    if len(told) > 1 and len(told) + len(corpora) == len(costs):
        hours, kept = sum(of.gpu_hours for of in told), sum(of.checkpoint_bytes for of in told) + sum(of.corpus_bytes for of in corpora)
        peak = kept + max([*(of.resume_bytes + of.token_bytes for of in told), *(of.work_bytes - of.corpus_bytes for of in corpora)])
        flops = f"{sum(of.flops for of in told):.2e}".replace("e+", "e")
        total = ("in all", "", "", _tokens(sum(of.tokens for of in told)), f"{sum(of.steps for of in told):,}", flops, _round(hours))
        rows.append((*total, _duration(hours / gpus), "", _bytes(kept), _bytes(peak)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    left = 2  # columns that read from the left
    lines = [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width) for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _details(profile: Profile, stage: str, of: Cost | CorpusCost | str, gpus: int, hardware: Hardware) -> list[tuple[str, str]]:
    recipe = profile.stages[stage].recipe
    said = [("recipe", _recipe(recipe))]
    if profile.build == "auto" and (minutes := profile.stages[stage].minutes):
        said.append(("expected", f"{minutes:g} minutes on the machine that the profile is made for"))
    if isinstance(of, str):
        return [*said, ("cost", of)]
    if isinstance(of, CorpusCost):
        assert isinstance(recipe, CurateCorpus)
        return [*said, *_curated(profile, recipe, of)]
    if isinstance(recipe, (FromScratch, ContinuePretraining)):
        said.append(("mixture", _mixture(recipe)))
    if of.sharded is not None and of.whole is not None and isinstance(recipe, (FromScratch, ContinuePretraining)):
        each = (
            f"{_count(recipe.batch // gpus, 'row')} a step each"
            if recipe.batch % gpus == 0
            else f"NOT a divisor of the batch of {recipe.batch:,}"
        )
        if gpus > 1:
            how = f"split over {_count(gpus, 'GPU')} (FSDP), {each}, {of.rows} a pass"
            said.append(("memory", f"{how}: {_memory(of.sharded, hardware)}"))
        other = "" if gpus == 1 else " (sharding `whole`)"
        said.append(("memory" if gpus == 1 else "", f"the whole model on every GPU{other}: {_memory(of.whole, hardware)}"))
        loaded = f"the whole model in float32 while it is loaded, {_bytes(4 * of.shape.parameters)}"
        said.append(("", f"host memory of every process: {loaded}; token ids are mapped from files"))
    stored = {2: "bfloat16", 4: "float32"}[of.element]
    disk = f"checkpoint {_bytes(of.checkpoint_bytes)} in {stored}"
    if of.resume_bytes:
        disk += f"; resume states up to {_bytes(of.resume_bytes)} and token ids up to {_bytes(of.token_bytes)} while building"
    if of.text_bytes:
        disk += f"; its text about {_bytes(of.text_bytes)}, at 4 bytes a token"
    return [*said, ("disk", disk)]


def _curated(profile: Profile, recipe: CurateCorpus, of: CorpusCost) -> list[tuple[str, str]]:
    """What a corpus costs, on which text, and what of it nobody has measured."""
    leaves = "".join(f", {name} leaves {share:.0%} of what reaches it" for name, share in of.leaves.items())
    text = f"{_bytes(of.text_bytes)} of extracted text assumed{f' ({of.why})' if of.why else ''}{leaves}"
    said = [("crawl", f"{text}; another amount: `python -m harness.dryrun {profile.name} curation --crawl TB`")]
    try:
        found = crawl_files(recipe.crawl, profile.directory)
        said.append(("", f"on disk {_count(len(found), 'file')} of {_bytes(sum(path.stat().st_size for path in found))}, packed or not"))
    except SourceError:
        pass  # said above to be missing
    parts = ", ".join(f"{one.name} {_round(one.core_hours)}".replace(" ", TIE) for one in of.layers if one.core_hours is not None)
    hours = f"{_round(of.core_hours)} core-hours at the rates that README states ({parts})"
    missing = [*of.unmeasured, "extraction from WARC, WET and PDF"]
    hours += f"; on top come {' and '.join([', '.join(missing[:-1]), missing[-1]] if missing[1:] else missing)}, which no rate is for"
    said.append(("CPU", hours))
    if of.exact_passes:
        swept = (
            f"exact sweeps its text {_count(of.exact_passes, 'time')} at the least with its memory_mb, where its rate was measured with 2"
        )
        said.append(("", f"{swept}: more hours than that; none of this has been run at this size"))
    return [*said, ("disk", f"corpus {_bytes(of.corpus_bytes)}; up to {_bytes(of.work_bytes)} while it is made; both before compression")]


def _recipe(recipe: Recipe) -> str:
    if isinstance(recipe, ImportCheckpoint):
        where = f"{recipe.gguf}, in place of {recipe.model}" if recipe.gguf else f"{recipe.model} at {recipe.revision}"
        return f"import {where}, {recipe.precision}"
    if isinstance(recipe, ExpandBlocks):
        kept = f"; vocabulary of {recipe.vocabulary:,} rows" if recipe.vocabulary else ""
        return f"{recipe.new_blocks} new blocks{'; head untied' if recipe.untie else ''}{kept}; zeroed: {', '.join(recipe.zeroed)}"
    if isinstance(recipe, CurateCorpus):
        return f"{type(recipe.crawl).__name__} through {', '.join(layer.name for layer in recipe.chain.layers)}"
    how = recipe.optimisation
    tokens = sum(portion.tokens for portion in recipe.portions)
    warmup = round(how.warmup_fraction * -(-tokens // (recipe.sequence * recipe.batch)))
    decay = "constant" if how.decay == "constant" else f"{how.decay} to {how.learning_rate * how.final_fraction:g}"
    parts = [
        f"{_count(recipe.batch, 'row')} of {recipe.sequence:,} tokens a step",
        f"rate {how.learning_rate:g} {decay}" + (f" after {_count(warmup, 'step')} of warm-up" if warmup else ""),
        f"AdamW {how.betas[0]:g}/{how.betas[1]:g}, epsilon {how.epsilon:g}, decay {how.weight_decay:g}, clip {how.clip:g}",
        recipe.precision,
    ]
    return "; ".join(
        [*parts, "new blocks only" if isinstance(recipe, ContinuePretraining) and recipe.train == "new_blocks" else "all weights"]
    )


def _mixture(recipe: FromScratch | ContinuePretraining) -> str:
    """Tokens a language; portions with a name before a point (`replay.vie`) are gathered under it."""
    groups: dict[str, int] = {}
    for portion in recipe.portions:
        first, point, rest = portion.name.partition(".")
        name = first if point and rest == portion.language else portion.language
        groups[name] = groups.get(name, 0) + portion.tokens
    whole = sum(groups.values())
    return ", ".join(f"{name} {_tokens(tokens)} ({_share(tokens / whole)})".replace(" ", TIE) for name, tokens in groups.items())


def _share(share: float) -> str:
    """A share in per cent: two digits, small ones too."""
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def _commands(
    profile: Profile, stage: str, launcher: str, store: Path | str, gpus: int, told: Sequence[str] | None
) -> list[tuple[str, str]]:
    """How it is asked for, and the command of every launcher; `torchrun` is one machine, `slurm` as many as the GPUs need."""
    order = Path(store) / ".building" / f"FP12-{stage}" / "order.json"
    named_by = ["--gate-profile", profile.name] if profile.name != "nano" else []
    start = shlex.join(["pytest", "-m", stage, *(named_by if told is None else told)])
    start += f" --gate-build {stage} --gate-detach" if profile.build == "named" else ""
    start += f" --gate-launcher {shlex.quote(launcher)}" if launcher != "local" else ""
    said = [("ask", start)]
    slurm = f"slurm:{gpus // NODE}x{NODE}" if gpus % NODE == 0 else f"slurm:1x{gpus}" if gpus < NODE else "slurm"
    if alone := profile.makes(stage) == "corpus":  # one process, which starts its own
        slurm = "slurm"
    own_kind = launcher.partition(":")[0]
    shown = [launcher if kind.partition(":")[0] == own_kind else kind for kind in ("local", "torchrun", slurm)]
    for kind in dict.fromkeys((*shown, launcher)):
        words = dataclasses.replace(Launcher.parse(kind), alone=alone).command("training.run", order)
        words = ["python" if word == sys.executable else word for word in words]
        said.append((f"{'*' if kind == launcher else ' '} {kind.partition(':')[0]}", shlex.join(words)))
    return said


def _suites(profile: Profile, stage: str) -> str:
    """The suites that run on the stage, by the pipeline's own rule."""
    run = [f"{name} in {_count(len(spec.languages), 'language')}" for name, spec in profile.suites_of(stage).items()]
    return ", ".join(run) or "nothing"


def _gates(names: Sequence[str]) -> str:
    """`learns.macro`, `learns.vie`, `learns.ind` as `learns (macro vie ind)`."""
    groups: dict[str, list[str]] = {}
    for name in names:
        label, _, scope = name.rpartition(".")
        groups.setdefault(label, []).append(scope)
    return f"{len(names)}: " + ", ".join(f"{label} ({' '.join(scopes)})" for label, scopes in groups.items()) if names else "none"


# ------------------------------------------------------------------------------------------------------------------ words


def _labelled(label: str, text: str) -> list[str]:
    indent = " " * (2 + LABEL)
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"  {label:<{LABEL}}", subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _command(label: str, text: str) -> str:
    """A command stands on one line, however long, so that it can be copied."""
    return f"  {label:<{LABEL}}{text}"


def _memory(of: Memory, hardware: Hardware) -> str:
    parts = {name: size for name, size in dataclasses.asdict(of).items() if size}
    named = " + ".join(f"{name} {_bytes(size)}" for name, size in parts.items())
    fits = "fits" if of.total <= hardware.memory else "DOES NOT FIT"
    return f"{named} = {_bytes(of.total)}, {fits} in {_bytes(hardware.memory)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _round(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else (f"{hours:.2g}" if hours >= 0.01 else "< 0.01")


def _tokens(tokens: float) -> str:
    return f"{tokens / 1e9:,.2f}{TIE}B" if tokens >= 5e6 else f"{tokens:,.0f}"


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.3g}{TIE}{name}" if size < 100 * unit else f"{size / unit:,.0f}{TIE}{name}"
    return f"{size / 1e3:,.0f}{TIE}kB"


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:,.1f} days"
    return f"{hours:.1f} h" if hours >= 1 else (f"{60 * hours:.0f} min" if hours * 60 >= 1 else "< 1 min")


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m harness.dryrun PROFILE STAGE...`; 0 well, 2 not."""
    parser = argparse.ArgumentParser(prog="python -m harness.dryrun", description="what stages would take, under stated assumptions")
    parser.add_argument("profile", metavar="PROFILE", help="nano, smol, sailor2-1b|8b|20b, or a profile file")
    parser.add_argument("stages", metavar="STAGE", nargs="*", help="with their ancestors (default: all)")
    parser.add_argument("--launcher", default="local", help="local, torchrun, slurm or command:...")
    parser.add_argument("--gpus", type=int, help="number of GPUs (default: 64 where stages cost days, else 1)")
    parser.add_argument("--utilisation", type=float, default=H100.utilisation, help="share of the GPU's FLOP/s that training reaches")
    parser.add_argument("--tflops", type=float, default=H100.flops / 1e12, help="dense bfloat16 TFLOP/s of a GPU")
    parser.add_argument("--memory", type=float, default=H100.memory / 1e9, help="GB of a GPU")
    parser.add_argument("--document", type=float, help="mean document length in tokens (default: rows of one document)")
    parser.add_argument(
        "--crawl", type=float, metavar="TB", help="terabytes of text of the crawl, extracted (default: what the profile assumes)"
    )
    parser.add_argument("--store", default=".seatrials", help="artifact store, for the commands")
    told = parser.parse_args(arguments)
    try:
        profile = profiles.load(told.profile)
        if unknown := [stage for stage in told.stages if stage not in profile.stages]:
            raise ProfileError(f"profile {profile.name} has no stage {unknown[0]}; it has {', '.join(profile.stages)}")
        if told.gpus is not None and told.gpus < 1:
            raise CostError(f"--gpus {told.gpus}: give at least one")
        standard = (told.tflops * 1e12, told.memory * 1e9) == (H100.flops, H100.memory)
        hardware = Hardware(
            name=H100.name if standard else "GPU", flops=told.tflops * 1e12, memory=told.memory * 1e9, utilisation=told.utilisation
        )
        stages = told.stages or list(profile.stages)
        crawl = None if told.crawl is None else 1e12 * told.crawl
        assumed = {"gpus": told.gpus, "hardware": hardware, "document": told.document, "crawl": crawl}
        print(
            render(
                profile,
                stages,
                told.launcher,
                store=told.store,
                told=["--gate-profile", told.profile] if told.profile != "nano" else [],
                **assumed,
            )
        )
    except (ProfileError, GatesError, LaunchError, CostError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
