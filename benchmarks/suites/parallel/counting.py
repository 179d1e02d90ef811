"""sacrebleu's counts of a translation, for chrF++, BLEU and, where its model file is present, spBLEU; and the signatures of all three."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from benchmarks.suites.parallel.scores import BLEU_COLUMNS, CHRF_COLUMNS, statistics
from harness.suites import SuiteError
from training.pretraining.sources import file_digest

MODEL = "flores200sacrebleuspm"  # as sacrebleu calls the file when it has fetched it


def model_of(path: str) -> Path | None:
    """The file of the flores200 model: the one named, else sacrebleu's own where it has fetched it, else none. Nothing is downloaded."""
    if path:
        found = Path(path).expanduser()
        if not found.is_absolute():
            raise SuiteError(f"spm is {path!r}; give the absolute path of the flores200 SentencePiece model")
        return found
    home = Path(os.environ.get("SACREBLEU") or Path.home() / ".sacrebleu")
    own = home / "models" / MODEL
    return own if own.is_file() else None


class Counting:
    """Counts translations; the metrics are made when the first is counted."""

    def __init__(self, model: Path | None) -> None:
        """With the file of the SentencePiece model, or none."""
        self.model = model

    @functools.cached_property
    def _metrics(self) -> tuple[Any, Any]:
        from sacrebleu.metrics import BLEU, CHRF

        return CHRF(word_order=2), BLEU()

    @functools.cached_property
    def _pieces(self) -> Any:
        """BLEU over text that is pieces already, and the processor that makes them, as sacrebleu's flores200 tokenizer does."""
        from sacrebleu.metrics import BLEU

        assert self.model is not None
        return BLEU(tokenize="none"), pieces(self.model)

    def of(self, text: str, reference: str) -> dict[str, float]:
        """The columns of chrF++, BLEU and spBLEU."""
        chrf, bleu = self._metrics
        found = dict(zip(CHRF_COLUMNS, statistics(chrf, text, reference), strict=True))
        found |= dict(zip(BLEU_COLUMNS, statistics(bleu, text, reference), strict=True))
        if self.model is not None:
            metric, cut = self._pieces
            counted = statistics(metric, cut(text.rstrip()), cut(reference.rstrip()))
            found |= {f"sp{column}": value for column, value in zip(BLEU_COLUMNS, counted, strict=True)}
        return {column: float(value) for column, value in found.items()}


def pieces(model: Path) -> Any:
    """text -> its pieces with spaces between. Raises SuiteError where the file is none or cannot be read."""
    try:
        import sentencepiece
    except ImportError as error:
        raise SuiteError("spBLEU needs the package sentencepiece: pip install 'seatrials[spbleu]', or remove the model file") from error
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.Load(str(model))
    except (OSError, RuntimeError) as error:
        raise SuiteError(f"{model} is not a SentencePiece model ({error}); give the flores200 model by the option `spm`") from error
    return lambda text: " ".join(processor.EncodeAsPieces(text))


def signatures(model: Path | None) -> dict[str, str]:
    """sacrebleu's signatures. Raises SuiteError where the SentencePiece model is named and not there."""
    from sacrebleu.metrics import BLEU, CHRF

    found = {}
    for name, metric in (("chrf", CHRF(word_order=2)), ("bleu", BLEU())):
        metric.corpus_score(["a"], [["a"]])  # it knows the number of references only then
        found[name] = str(metric.get_signature())
    if model is None:
        found["spbleu"] = "absent: no flores200 SentencePiece model (option `spm`, or sacrebleu's own)"
    else:
        pieces(model)
        # sacrebleu publishes no digest of its model, so that a file is the flores200 model is its giver's word.
        found["spbleu"] = found["bleu"].replace("tok:13a", "tok:spm") + f"|unverified model, as flores200, sha256:{file_digest(model)}"
    return found
