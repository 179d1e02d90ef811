"""`python -m training.curation`: run a recipe, run one layer, report, or find a mixture.

run RECIPE.toml --input 'crawl/*.warc.gz' --output corpus/     the whole chain; run again, it goes on where it was
LAYER --input a.jsonl --output out/ [--set near.verify=false]  one layer alone (`extract` reads files and does nothing more)
run RECIPE.toml --input hub:DATASET/CONFIG/SPLIT --hub DIR ... a data set of a local mirror of the Hub; its origin is in the recipe
report corpus/                                                 what was dropped and why
proxies --input corpus/shards --directory DIR                  RegMix's runs on the corpus: tiny models, each on a mixture of its languages
mixture --mixtures runs.csv --losses losses.csv --output ...   RegMix from any runs
messages --input chat.jsonl --output out/                      conversations: the malformed and the duplicates are put aside
ngrams --input eval.jsonl --output windows.npz                 what the layer decontaminate looks for: windows of evaluation texts
select --input scored.parquet --quotas quotas.csv --output out/   the second stage of instruction tuning: the best that are not alike
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from training.curation.documents import FORMS, CurationError
from training.curation.layer import LAYERS

# Commands with options of their own: each a module with a `main`, imported when it is asked for.
COMMANDS = {
    "proxies": ("training.curation.regmix.proxies_command", "RegMix's runs on a corpus"),
    "mixture": ("training.curation.regmix.command", "RegMix from any runs"),
    "messages": ("training.curation.messages", "conversations"),
    "ngrams": ("training.curation.decontaminate_command", "windows of evaluation texts"),
    "select": ("training.curation.selection_command", "the best that are not alike"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 2 a clear error, 130 interrupted (run again to go on)."""
    told = list(sys.argv[1:] if arguments is None else arguments)
    if told and told[0] in COMMANDS:
        try:
            found: int = importlib.import_module(COMMANDS[told[0]][0]).main(told[1:])
        except KeyboardInterrupt:
            print("interrupted; nothing was written: start it again", file=sys.stderr)
            return 130
        return found
    given = _parser().parse_args(told)
    try:
        return _report(given) if given.do == "report" else _run(given)
    except CurationError as error:
        print(f"curation: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a directory that is not ours
        print(f"curation: {error}; mend that, and run again to go on", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.curation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="do", required=True, metavar=f"run|report|{'|'.join(COMMANDS)}|LAYER")
    for name in ("run", "extract", *LAYERS):
        command = commands.add_parser(
            name, help="the layers of a recipe" if name == "run" else f"the layer {name} alone", epilog=_settings(name)
        )
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        if name == "run":
            command.add_argument("recipe", type=Path, help="TOML: `layers`, and a table of settings for each")
        command.add_argument(
            "--input",
            nargs="+",
            required=True,
            help="files, directories or patterns: WARC, WET, PDF, SRT, VTT, JSONL, Parquet; or hub:DATASET/CONFIG/SPLIT",
        )
        command.add_argument("--hub", type=Path, help="a local mirror of the Hub's data sets (default: SEATRIALS_HUB)")
        command.add_argument("--output", type=Path, required=True, help="a directory: shards/, dropped/, report.json")
        command.add_argument(
            "--set", nargs="+", action="extend", default=[], metavar="LAYER.SETTING=VALUE", help="lay settings over the recipe's"
        )
        command.add_argument(
            "--format",
            choices=FORMS,
            default="parquet",
            help="of OUTPUT/shards; another one alone runs no layer again where the work is kept",
        )
        command.add_argument("--workers", type=int, default=0, help="processes (default: one a core)")
        command.add_argument("--runner", choices=("native", "ray"), default="native", help="ray: the same work on a cluster")
        command.add_argument("--ray-address", default="", help="of the cluster; without it a local one is started")
        command.add_argument(
            "--keep-work", action="store_true", help="keep the steps' files: a changed recipe runs its changed layers only"
        )
    report = commands.add_parser("report", help="print what was dropped and why; write report.html")
    report.add_argument("corpus", type=Path)
    for name, (_, told) in COMMANDS.items():
        commands.add_parser(name, help=told, add_help=False)
    return parser


def _settings(name: str) -> str:
    """The settings of a layer with their defaults, for its --help."""
    if name not in LAYERS or not {"-h", "--help"} & set(sys.argv):
        return ""
    from training.curation.settings import layer_class

    fields = dataclasses.fields(layer_class(name))
    return "settings:\n" + "\n".join(f"  {name}.{field.name}={field.default!r}" for field in fields) if fields else ""


def _run(given: argparse.Namespace) -> int:
    from training.curation import chain, report, settings
    from training.curation.engine import Engine, without_pandas

    without_pandas()
    if given.workers < 0:
        raise CurationError(f"--workers {given.workers}: 1 or more, or 0 for one a core")
    if given.do == "run":
        recipe = settings.read(given.recipe, given.set)
    else:
        recipe = settings.of({"layers": [] if given.do == "extract" else [given.do]}, given.set, where="--set")
    engine = Engine(runner=given.runner, address=given.ray_address, **({"workers": given.workers} if given.workers else {}))
    hub = given.hub or (Path(told) if (told := os.environ.get("SEATRIALS_HUB")) else None)
    made = chain.run(recipe, given.input, given.output, engine, _tell, keep_work=given.keep_work, form=given.format, hub=hub)
    print(report.text(made))
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _report(given: argparse.Namespace) -> int:
    from training.curation import report

    found = report.load(given.corpus)
    print(report.text(found, given.corpus))
    path = given.corpus / "report.html"
    path.write_text(report.page(given.corpus, found), encoding="utf-8")
    print(f"\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
