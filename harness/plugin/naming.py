"""What `-m` asks for: the stages that an expression names, and a clear word where it names none.

A run of somebody else's tests may have any markers, registered or not, so an unknown word is no error by itself: it is said where the run
would otherwise be silent and empty, or where it is plainly meant for us (`--gate-*` options, another word that is a stage).
"""

from __future__ import annotations

import difflib
import re
import sys
from typing import Any

import pytest

RUNS = ("nightly", "release")  # markers that stand for every stage of the profile
# Stages of the whole release graph; those that this version has not are told apart from a slip of the pen.
PLANNED = ("curation", "sft1", "sft2", "dpo_off", "dpo_on", "longctx", "prune", "glide")


def named_stages(config: pytest.Config) -> tuple[str, ...]:
    """The stages (and `nightly`, `release`) that the -m expression asks for: it holds for an item of that stage, and not for one of none.

    So `-m "not stage2"` is no gate run. Raises UsageError where a gate run is meant and a word of it is no stage.
    """
    from _pytest.mark.expression import Expression

    from training.stages import GRAPH

    expression = config.option.markexpr or ""
    asked = [word for word in _words(expression) if word in (*GRAPH, *RUNS)]
    named: tuple[str, ...] = ()
    if asked:
        try:
            compiled = Expression.compile(expression)
        except SyntaxError:
            return ()  # pytest says it better
        if not compiled.evaluate(lambda name, /, **_: False):
            named = tuple(stage for stage in asked if compiled.evaluate(lambda name, /, stage=stage, **_: name == stage))
    meant = named or _gate_options(config)
    if meant and (wrong := [word for word in _unknown(config) if _is_slip(word)]):
        raise pytest.UsageError(_told(config, wrong[0]))
    if not named and (options := _gate_options(config)):
        said = f"-m {expression} names none" if expression else "there is no -m"
        raise pytest.UsageError(f"{options[0]} needs a stage, as in `pytest -m stage1 {options[0]} ...`, and {said}: {_stages(config)}")
    return named


def only_stages(expression: str) -> bool:
    """Whether a -m expression is of stages alone, joined by `or`: then files that name no stage need not be imported."""
    from training.stages import GRAPH

    return all(word in (*GRAPH, *RUNS, "or") for word in re.findall(r"\w+", expression))


class EmptyRun:
    """Speaks where a run with a word unknown to pytest and to us selected nothing; registered where there is such a word."""

    def __init__(self, config: pytest.Config, words: tuple[str, ...]) -> None:
        self.config, self.words = config, words
        self.said = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """A stage's name, or nearly one: a usage error. Any other word: pytest's own exit code, and a line that explains it."""
        if int(exitstatus) != pytest.ExitCode.NO_TESTS_COLLECTED or hasattr(self.config, "workerinput"):
            return
        slips = [word for word in self.words if _is_slip(word)]
        self.said = _told(self.config, (slips or self.words)[0])
        if slips:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        if not self.config.pluginmanager.has_plugin("terminalreporter"):
            print(f"ERROR: {self.said}", file=sys.stderr)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The message, below pytest's own."""
        if self.said:
            terminalreporter.write_line(f"{'ERROR: ' if any(map(_is_slip, self.words)) else ''}{self.said}", red=True)


def explain_empty(config: pytest.Config) -> None:
    """Where -m holds a word that is neither a registered marker nor a stage, say so if nothing is selected."""
    if words := _unknown(config):
        config.pluginmanager.register(EmptyRun(config, words), "seatrials-empty")


def _words(expression: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"[A-Za-z_]\w*", expression)))


def _unknown(config: pytest.Config) -> tuple[str, ...]:
    """The words of -m that are no registered marker, stages of this version included."""
    known = {re.split(r"[:(]", line)[0].strip() for line in config.getini("markers")}
    return tuple(word for word in _words(config.option.markexpr or "") if word not in (*known, "and", "or", "not", "True", "False"))


def _near(word: str) -> str:
    from training.stages import GRAPH

    return next(iter(difflib.get_close_matches(word, (*GRAPH, *RUNS), 1, cutoff=0.7)), "")


def _is_slip(word: str) -> bool:
    return word in PLANNED or bool(_near(word))


def _told(config: pytest.Config, word: str) -> str:
    close = f"; did you mean {_near(word)}?" if word not in PLANNED and _near(word) else ""
    return f"-m {config.option.markexpr}: {word} is neither a registered marker nor a stage{close or ';'} {_stages(config)}"


def _stages(config: pytest.Config) -> str:
    from harness import profiles

    try:
        profile = profiles.load(config.option.gate_profile)
    except profiles.ProfileError as error:
        raise pytest.UsageError(str(error)) from None
    return f"profile {profile.name} has {', '.join(profile.stages)} (or {' and '.join(RUNS)}, for all of them)"


def _gate_options(config: pytest.Config) -> list[str]:
    """The `--gate-*` options of the command line; what stands in an ini file or the environment asks for no run."""
    option = config.option
    if hasattr(config, "workerinput") or any(getattr(option, name, False) for name in ("help", "version", "markers", "showfixtures")):
        return []
    return [str(word).partition("=")[0] for word in config.invocation_params.args if str(word).startswith("--gate-")]
