"""The pytest surface of Seatrials, loaded through the `pytest11` entry point; one feature a file.

    house.py       are the packages that Python finds ours?
    options.py     the `--gate-*` options, the markers, and the settings that they make
    naming.py      the stages that `-m` names, and what an expression that names none is told
    collection.py  one item a gate of the stages that `-m` names
    fixtures.py    one session fixture a stage
    progress.py    long work shown on pytest's terminal
    summary.py     header, gate table, exit code, run record

Where `-m` names no stage, nothing of this runs and nothing heavy is imported: other pytest runs stay as they are.
"""

from harness.plugin.house import intruder
from harness.plugin.options import pytest_addoption, pytest_cmdline_main, pytest_configure

if intruder() is None:  # else a gate run is refused, and every other run is left alone
    from harness.plugin.collection import pytest_collection_modifyitems, pytest_ignore_collect
    from harness.plugin.fixtures import *  # noqa: F403 - one fixture a stage, made from the release graph

__all__ = ["pytest_addoption", "pytest_cmdline_main", "pytest_collection_modifyitems", "pytest_configure", "pytest_ignore_collect"]
