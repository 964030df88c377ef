"""Export a model to a format of other programs, with a certificate."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from encloze import progress, recipe
from encloze.commands._output_lock import locks_output
from encloze.commands.base import Command, ExportResult
from encloze.data.dataset import DatasetSplit
from encloze.data.formats.base import Format
from encloze.encoders.base import Scorer, load_encoder, load_reranker
from encloze.encoders.torch import TorchEncoder
from encloze.errors import CheckpointError
from encloze.exports._certificate import certify
from encloze.exports._report import EXPORT_REPORT, ExportReport
from encloze.exports._reranker_certificate import certify_reranker
from encloze.exports._samples import Sample, sample_of
from encloze.exports.base import ExportFormat
from encloze.exports.onnx import Onnx
from encloze.models.bi_encoder import BiEncoder
from encloze.models.cross_encoder import CrossEncoder, is_cross_encoder
from encloze.settings import Seed
from encloze.storage.atomic import atomic_folder, refuse_existing
from encloze.storage.disk import explain_write_errors
from encloze.storage.model_folders import locate
from encloze.storage.names import README
from encloze.storage.provenance import write_provenance


@dataclass(frozen=True)
class Export(Command, name="export"):
    """Export an encoder or a re-ranker, load the export in a new process, and refuse it if its results differ too much.

    Example:
        >>> Export(model="retriever", output="exported", dataset="my_data").run().report.failures
        ()
    """

    model: str
    """Encoder or re-ranker to export: a model folder, a Hugging Face hub id, or minilm."""
    output: Path
    """Folder to write."""
    format: ExportFormat = field(default_factory=Onnx)
    """Format of the export. onnx runs without PyTorch: encloze search, index and evaluate take its folder as model or
    as reranker. sentence_transformers, sparse_encoder and cross_encoder are folders that the classes
    SentenceTransformer, SparseEncoder and CrossEncoder of sentence-transformers load."""
    dataset: Format | None = None
    """Data set whose queries and documents are encoded by both, too, to compare the vectors and nDCG@10. For a
    re-ranker, the documents that BM25 ranks first are re-ranked by both. By default only a few texts that cover special
    cases are compared."""
    split: str = "dev"
    """Split of the data set."""
    force: bool = False
    """Whether an export that fails is written all the same. Its model card says so."""
    seed: Seed = 0
    """Random seed, a setting of every command. It has no effect here."""
    overwrite: bool = False
    """Whether an existing output folder may be replaced."""

    @locks_output
    def run(self) -> ExportResult:
        refuse_existing(self.output, overwrite=self.overwrite)
        model = _load(self.model)
        is_reranker = isinstance(model, CrossEncoder)
        sample = sample_of(DatasetSplit(self.dataset, self.split)) if self.dataset else None
        with atomic_folder(self.output, overwrite=self.overwrite) as folder, explain_write_errors(folder):
            progress.note(f"Exporting {self.model} ({self.format.summary()})")
            report = self._write(model, folder, sample)
            report = replace(report, limitations=tuple(self.format.limitations(model)))
            if report.failures and not self.force:
                raise CheckpointError(
                    f"the export differs from {self.model}, and was not written: {'; '.join(report.failures)}. "
                    "To write it nevertheless, set force"
                )
            report.save(folder)
            card = self.format.model_card(folder, self.output.name, self.model, is_reranker=is_reranker)
            (folder / README).write_text(f"{card}\n{_certificate(report)}", encoding="utf-8")
            inputs = {"model": self.model, **(self.dataset.inputs("dataset") if self.dataset else {})}
            write_provenance(folder, recipe.dump(self, {"verb": self.name}), inputs)
        return ExportResult(self.output, report, next_command="search" if is_reranker else "index")

    def _write(self, model: BiEncoder | CrossEncoder, folder: Path, sample: Sample | None) -> ExportReport:
        """Write the export, and return its certificate."""
        location = locate(self.model)
        if isinstance(model, CrossEncoder):
            self.format.write_reranker(model, folder)
            reranker = load_reranker(self.model, device="cpu")
            return certify_reranker(reranker, cast(Scorer, model), self.format, folder, location, sample)
        part = self.format.expressible(model)
        self.format.write(part, folder)
        encoder = load_encoder(self.model, device="cpu")
        return certify(encoder, TorchEncoder(part), self.format, folder, location, sample)


def _certificate(report: ExportReport) -> str:
    """Return the certificate in Markdown, for the model card."""
    tables = "\n\n".join(table.to_markdown() for table in report.tables())
    notes = "".join(f"- {note}\n" for note in report.notes)
    state = "**This export failed its checks and was written on request.**\n\n" if report.failures else ""
    return (
        f"## Certificate\n\n{state}The export was loaded in a new process, and compared with the model "
        f"(`{EXPORT_REPORT}`).\n\n{tables}\n\n{notes}"
    )


def _load(name: str) -> BiEncoder | CrossEncoder:
    """Load a model in float32. Raises CheckpointError if it can be no encoder and no re-ranker."""
    if is_cross_encoder(name):
        return CrossEncoder.from_pretrained(name, precision="float32", device="cpu")
    return BiEncoder.load(name, precision="float32", device="cpu")
