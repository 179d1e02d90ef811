"""What the processes of `Engine.map` have done before they are forked: importing it is all there is to it.

Chosen by what it costs each process: Arrow, numba and the registries that numba fills when it loads its first kernel are half a second of a core.
"""

from __future__ import annotations

import contextlib
import os

# One thread, or what is forked could wait for locks that another held: Arrow's jemalloc starts one unless told before it is loaded.
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")

import pyarrow.parquet  # noqa: F401

from training.curation import chain, near_clusters, near_signatures  # noqa: F401
from training.curation.engine import without_pandas

# An error here would end the server and with it every process of the run: one that is not warm is slow to start, no more.
with contextlib.suppress(Exception):
    without_pandas()
    near_signatures.warm()
