"""The release graph, on one screen. A stage's name is its pytest marker; how it is made, its recipe says.

base -> expand -> stage1 -> stage2
curation -> stage1, stage2
"""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One node: its parents in the graph, a checkpoint before a corpus (a profile may re-point the checkpoint), and where the paper describes it."""

    name: str
    parents: tuple[str, ...]
    paper: str
    purpose: str
    makes: Literal["checkpoint", "corpus"] = "checkpoint"


GRAPH: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="curation",
            parents=(),
            paper="3",
            purpose="from a crawl to a deduplicated corpus, with the reason for every drop",
            makes="corpus",
        ),
        Stage(name="base", parents=(), paper="4.1", purpose="the pretrained model that everything starts from"),
        Stage(name="expand", parents=("base",), paper="4.1", purpose="LlamaPro block expansion: more layers, same function"),
        Stage(
            name="stage1", parents=("expand", "curation"), paper="4.3, 4.4.1", purpose="continual pre-training, balanced mixture, high rate"
        ),
        Stage(
            name="stage2",
            parents=("stage1", "curation"),
            paper="4.4.2",
            purpose="annealing on high-quality text, low-resource languages added",
        ),
    )
}


def ancestry(stage: str, graph: dict[str, Stage] | None = None) -> tuple[str, ...]:
    """The stage's ancestors and itself, parents before children."""
    graph = graph or GRAPH
    order: list[str] = []

    def visit(name: str) -> None:
        for parent in graph[name].parents:
            visit(parent)
        if name not in order:
            order.append(name)

    visit(stage)
    return tuple(order)
