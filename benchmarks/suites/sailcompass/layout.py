"""The layout of a SailCompass prompt: an instruction, worked examples and the item, in the language of the item."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from benchmarks.suites.sailcompass.originals import assemble


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wording:
    """One data set in one language. `shots` are (fields of a row, answer); `labels` maps a label to its answer, {} for generation."""

    system: str
    item: str
    lead: str
    shots: tuple[tuple[Mapping[str, str], str], ...]
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def pieces(self) -> dict[str, tuple[str, ...]]:
        """The prompt's pieces by label ("" for generation), as `originals.original` gives them."""
        begin = [self.system + "\n"]
        for fields, answer in self.shots:
            begin += [assemble((self.item,), fields), f"{self.lead} {answer}\n"]
        ends = {label: f"{self.lead} {answer}" for label, answer in self.labels.items()} or {"": self.lead}
        return {label: (*begin, self.item, end) for label, end in ends.items()}
