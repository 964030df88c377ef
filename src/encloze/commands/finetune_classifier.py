"""Fine-tune an encoder to tell labels of texts, or tags of words, with a head on top of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from encloze.commands.base import Command, TrainedClassifier
from encloze.data.labelled import LabelledSet
from encloze.data.labels.base import Labels
from encloze.errors import RecipeError
from encloze.evaluation.labels import judge_labels
from encloze.models.classifier import Classifier
from encloze.models.reading import say_cut
from encloze.storage.hashes import hash_of
from encloze.text.words import encode_marked
from encloze.training.classifying import ClassifierModule, LabelledBatches
from encloze.training.loop import Training, train
from encloze.training.outcome import begin, finish
from encloze.training.plan import BatchPlan


@dataclass(frozen=True)
class FinetuneClassifier(Command, name="finetune_classifier"):
    """Train a classifier of texts, or a tagger of words: whichever the data set has labels of.

    The folder is one of transformers' models for sequence or token classification, with the labels' names.
    """

    dataset: Labels
    """A folder of labelled texts or tagged words: train, test and perhaps dev as .jsonl, .tsv or .conll."""
    model: str
    """What to start from: an encoder (pre-trained or not), or a classifier of the same labels; a folder, a hub's id,
    or minilm."""
    output: Path
    """The model folder to write."""
    split: str = "test"
    """The part to judge on when it is trained; dev is judged on, too, where there is one."""
    max_tokens: int | None = None
    """Texts are cut to so many tokens; by default what the model takes, 512 at most."""
    batch_size: int = 32
    """Texts (sentences, where words are labelled) of one step, over all processes and parts."""
    training: Training = field(
        default_factory=lambda: Training(learning_rate=1e-3, encoder_learning_rate=5e-5, epochs=3.0)
    )
    """How the weights are moved: the new head far faster than the encoder."""
    seed: int = 0
    """Where all randomness comes from."""
    resume: bool = False
    """Whether to go on with an unfinished run of the same settings."""
    overwrite: bool = False
    """Whether an existing output may be replaced."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {self.batch_size}")
        if self.split == "train":
            raise ValueError("split is train, which is learnt from: judge on another part")
        if self.max_tokens is not None and self.max_tokens < 3:
            raise ValueError(f"max_tokens must be 3 or more (two tokens are special), not {self.max_tokens}")

    def run(self) -> TrainedClassifier:
        state = begin(self)
        data = LabelledSet.open(self.dataset, self.split)
        torch.manual_seed(self.seed)  # a new head is drawn from it
        of_words = data.unit == "words"
        try:
            classifier = Classifier.load(self.model, data.names, of_words=of_words, max_tokens=self.max_tokens)
        except ValueError as error:
            raise RecipeError("the recipe", [("max_tokens", str(error))]) from error
        texts = {name: encode_marked(part, classifier.tokenizer) for name, part in data.parts.items()}
        for name, part in texts.items():
            say_cut(part, classifier.max_tokens, name, data.unseen)
        batches = LabelledBatches(classifier, texts["train"], data.codes("train"))
        plan = BatchPlan(batches.lengths, self.seed, batch_size=self.batch_size)
        identity = {"tokenizer": classifier.tokenizer.fingerprint, "examples": hash_of(data.parts["train"])}
        train(ClassifierModule(classifier), plan, batches, self.training, state, self.seed, identity)
        reports = []
        for name in [name for name in texts if name != "train"]:
            guessed = classifier.guess(texts[name], name, self.training.precision)
            reports.append(judge_labels(data, name, self.output.name, guessed, seed=self.seed))

        def write(folder: Path) -> None:
            classifier.save(folder)
            for report in reports:
                report.save(folder)

        how = f"fine-tuned to tell the labels of {data.unit} in {self.dataset.path}"
        purpose = "token-classification" if of_words else "text-classification"
        finish(self, state, write, how, {"dataset": self.dataset.path, "model": self.model}, purpose)
        return TrainedClassifier(self.output, tuple(reports))
