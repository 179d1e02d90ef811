"""RegMix's proxy runs on the embedded world: the CPU seconds of each, beside the same runs on a heap that glibc gives back as it pleases.

pytest benchmarks/speed/test_proxies.py -s

`SEATRIALS_SPEED_PROXIES` of nano's 96 runs (12), spread over them, one at a time. CPU seconds grow with what else the machine's cores do: look at the ratio too.
"""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

import numpy as np
import pytest

from training.curation.regmix import files, nano, proxies
from training.curation.regmix.mixtures import sample

RUNS = int(os.environ.get("SEATRIALS_SPEED_PROXIES", "12"))


def test_what_a_proxy_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = sample(nano.PRIOR, 96, nano.SAMPLING)
    chosen = [everything.runs[place] for place in np.linspace(0, 95, RUNS).round().astype(int)]
    corpora, settings = nano.corpora(), proxies.ProxySettings()
    losses, seconds = {}, {}
    for name, heap in (("kept", proxies.HEAP), ("given back", {})):
        monkeypatch.setattr(proxies, "HEAP", heap)
        losses[name] = proxies.run_proxies(everything.of(chosen), corpora, settings, tmp_path / name, workers=1)
        rows = [json.loads((tmp_path / name / proxies.RUNS / f"{run}.json").read_text(encoding="utf-8")) for run in chosen]
        seconds[name] = [row["cpu_seconds"] for row in rows]
    print(f"\n{'run':<12}" + "".join(f"{name:>12}" for name in seconds) + "   CPU seconds, by what becomes of the heap")
    for place, run in enumerate(chosen):
        print(f"{run:<12}" + "".join(f"{each[place]:>12.2f}" for each in seconds.values()))
    for name, of in (("least", min), ("median", statistics.median), ("most", max)):
        print(f"{name:<12}" + "".join(f"{of(each):>12.2f}" for each in seconds.values()))
    recorded = files.read_losses(nano_losses())
    places = [recorded.runs.index(run) for run in chosen]
    found = losses["kept"].values_NT
    print(f"largest difference from the recorded losses: {np.abs(found - recorded.values_NT[places]).max():.1e} bits a byte")
    assert np.array_equal(found, losses["given back"].values_NT)


def nano_losses() -> Path:
    """The losses that nano's mixture was made of."""
    from training.recipes.nano import MIXTURE

    return MIXTURE.with_name("losses.csv")
