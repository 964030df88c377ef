"""CrossEncoder: a re-ranker, as a folder that sentence-transformers loads."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from encloze.encoders.sentence_transformers import import_library
from encloze.errors import CheckpointError
from encloze.exports._sentence_transformers import LibraryFolder
from encloze.exports.base import ScoreBounds
from encloze.models.bi_encoder import BiEncoder
from encloze.models.cross_encoder import RERANKER_FILE, CrossEncoder, settings_to_save
from encloze.storage.json_files import write_json


@dataclass(frozen=True)
class CrossEncoderFolder(LibraryFolder, name="cross_encoder"):
    """A folder that the class CrossEncoder of sentence-transformers loads, in versions 4 to 6.

    It has the activation and the length limit of the model. A calibration is written for encloze, which applies it; the
    library does not.
    """

    @property
    def versions(self) -> str:
        """Versions of sentence-transformers that load the folder."""
        return "4 to 6"

    @property
    def score_bounds(self) -> ScoreBounds:
        """The bounds that the export of a re-ranker must keep."""
        return ScoreBounds(1e-5, 0.9999)

    def expressible(self, model: BiEncoder) -> BiEncoder:
        """Refuse an encoder (see ``ExportFormat.expressible``)."""
        raise CheckpointError(
            f"{model.name} is an encoder, and the format {self.name} exports only re-rankers. Choose "
            "sentence_transformers for embeddings, sparse_encoder for term weights"
        )

    def limitations(self, model: BiEncoder | CrossEncoder) -> list[str]:
        """Return what an export lacks of a re-ranker (see ``ExportFormat.limitations``)."""
        is_calibrated = isinstance(model, CrossEncoder) and model.calibration is not None
        return [
            "the calibration: CrossEncoder returns scores, and only encloze maps them to probabilities"
        ] * is_calibrated

    def write_reranker(self, model: CrossEncoder, folder: Path) -> None:
        """Write a re-ranker into an existing folder (see ``ExportFormat.write_reranker``)."""
        import_library()
        model.save(folder)
        if model.calibration:
            values = settings_to_save(folder) | {"calibration": asdict(model.calibration)}
            write_json(folder / RERANKER_FILE, values)
