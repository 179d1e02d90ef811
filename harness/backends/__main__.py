"""`python -m harness.backends parity DIR --backends hf,vllm`: do two backends give the same answers for a checkpoint?

    python -m harness.backends parity DIR --backends hf,http://localhost:8000/v1 --suite perplexity,choice --samples 60

A backend is hf, vllm or the URL of an OpenAI-compatible server (its key, if any, in SEATRIALS_SERVER_KEY). Exit codes: 0 the answers agree
within the tolerance, 1 they do not, 2 a wrong command line, 4 they could not be had.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness.backends", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parity = commands.add_parser("parity", help="score a sample of requests on two backends and show the differences")
    parity.add_argument(
        "checkpoint", type=Path, metavar="DIR", help="the checkpoint; for a server, what it serves: the tokenizer is read here"
    )
    parity.add_argument("--backends", required=True, metavar="A,B", help="two of hf, vllm and URLs")
    parity.add_argument(
        "--suite", default="perplexity,choice,generate", metavar="NAMES", help="of perplexity, choice, generate (all three)"
    )
    parity.add_argument("--samples", type=int, default=60, metavar="N", help="samples a suite (60)")
    parity.add_argument("--tolerance", type=float, default=1e-3, help="largest difference of a request's log-probability (1e-3: float32)")
    parity.add_argument("--agreement", type=float, default=0.95, help="least share of greedy flags, choices and texts alike (0.95)")
    parity.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"), help="of hf and vllm (float32)")
    parity.add_argument("--device", default="cpu", help="of hf (cpu)")
    parity.add_argument("--concurrency", type=int, default=0, metavar="N", help="requests to a server under way at once (8)")
    options = parser.parse_args(arguments)
    backends = options.backends.split(",")
    if len(backends) != 2 or not all(backends):
        parser.error("--backends takes two, separated by a comma: hf,vllm")
    if options.samples < 1:
        parser.error("--samples must be 1 or more")
    return _parity(options, backends)


def _parity(options: argparse.Namespace, backends: Sequence[str]) -> int:
    from harness.backends.parity import compare, samples, table
    from harness.backends.rendering import BackendError
    from harness.suites import SuiteError
    from training.models.load import ModelError

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        chosen = samples(options.suite.split(","), options.samples)
        settings = {"dtype": options.dtype, "device": options.device, "concurrency": options.concurrency}
        found = compare(options.checkpoint, backends, chosen, say, **settings)
    except (BackendError, ModelError, SuiteError) as error:
        say(f"harness.backends: {error}")
        return 4
    print(table(found))
    apart = [one.kind for one in found if not one.within(options.tolerance, options.agreement)]
    if apart:
        print(
            f"{' and '.join(backends)} differ by more than {options.tolerance:g}, or agree in less than {options.agreement:g}: {', '.join(apart)}"
        )
        return 1
    print(f"{' and '.join(backends)} agree within {options.tolerance:g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
