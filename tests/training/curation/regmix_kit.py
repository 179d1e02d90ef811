"""Runs whose truth is known: losses that fall with a power of the tokens of a language and, a little, of its relative's."""

from __future__ import annotations

import numpy as np

from training.curation.regmix.files import Losses
from training.curation.regmix.mixtures import Floats, Mixtures, sample

PRIOR = {"vie": 53.7, "ind": 36.7, "tha": 6.9, "mya": 0.7, "zsm": 1.2, "tgl": 0.5}
FLOOR = {"vie": 0.9, "ind": 0.8, "tha": 1.1, "mya": 1.2, "zsm": 0.7, "tgl": 1.0}


def truth(domains: tuple[str, ...], weights_ND: Floats) -> Floats:
    """Losses (N, D): floor + (share + .3 * the relative's + .01) ** -.4 / 4; Indonesian and Malay are relatives."""
    helped_ND = weights_ND.copy()
    indonesian, malay = domains.index("ind"), domains.index("zsm")
    helped_ND[:, indonesian] += 0.3 * weights_ND[:, malay]
    helped_ND[:, malay] += 0.3 * weights_ND[:, indonesian]
    floors_D = np.array([FLOOR[name] for name in domains])
    found: Floats = floors_D + (helped_ND + 0.01) ** -0.4 / 4
    return found


def runs(count: int, noise: float = 0.005, seed: int = 0) -> tuple[Mixtures, Losses]:
    """`count` mixtures around PRIOR and their losses."""
    mixtures = sample(PRIOR, count)
    values = truth(mixtures.domains, mixtures.weights_ND)
    values += noise * np.random.Generator(np.random.PCG64(seed)).standard_normal(values.shape)
    return mixtures, Losses(runs=mixtures.runs, targets=mixtures.domains, values_NT=values)
