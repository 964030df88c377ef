"""Examples in docstrings run: each in a folder with the inputs of the documentation."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import transformers

import encloze
import toys

PACKAGES = sorted(module.name for module in pkgutil.iter_modules(encloze.__path__) if module.name != "__main__")
SLOW = ("api", "commands")
"""Packages whose examples train models."""
NOT_RUN = {
    "encloze.api.evaluation.gate": "takes reports of two versions of a model",
    "encloze.api.evaluation.reindex": "takes a second model",
    "encloze.api.evaluation.threshold": "takes an index of the documents that the judgments refer to",
    "encloze.api.pipelines.run": "trains several models",
    "encloze.api.serving.label": "serves until it is stopped",
    "encloze.api.serving.serve": "serves until it is stopped",
    "encloze.api.training.pretrain": "trains for 1,000 steps",
    "encloze.backbones.base.Backbone": "shows the shape of a larger model",
    "encloze.backbones.hf.generation.TextGenerationModel": "shows the output of a trained model",
    "encloze.backbones.hf.limits.max_input_tokens": "shows the limit of a larger model",
    "encloze.commands.add.Add": "takes a file of new documents",
    "encloze.commands.delete.Delete": "takes documents with a field year",
    "encloze.commands.export.Export": "takes a data set with twenty judged queries",
    "encloze.commands.gate.Gate": "takes reports of two versions of a model",
    "encloze.commands.reindex.Reindex": "takes a second model",
    "encloze.commands.threshold.Threshold": "takes an index of the documents that the judgments refer to",
    "encloze.commands.update.Update": "takes a file of new documents",
    "encloze.commands.demo.Demo": "trains several models",
    "encloze.commands.pretrain.Pretrain": "may train for long",
    "encloze.commands.label.Label": "serves until it is stopped",
    "encloze.commands.serve.Serve": "serves until it is stopped",
    "encloze.commands.run.Run": "trains several models",
    "encloze.interop.mteb.MtebSearch": "downloads a data set",
    "encloze.models.interpolation.WeightInterpolation": "continues code that has two models",
    "encloze.models.vocabulary.add_frequent_words": "continues code that has a corpus",
}
"""Examples that are not run, with the reason."""


class AnyOutput(doctest.OutputChecker):
    """Accepts any output of an example that shows none."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


def examples_of(package: str) -> Iterator[doctest.DocTest]:
    """Yield the examples of a module or of all modules of a package."""
    module = importlib.import_module(f"encloze.{package}")
    names = [module.__name__]
    if hasattr(module, "__path__"):
        names += [found.name for found in pkgutil.walk_packages(module.__path__, f"{module.__name__}.")]
    for name in names:
        module = importlib.import_module(name)
        found = doctest.DocTestFinder(exclude_empty=True).find(module, name)
        yield from (example for example in found if example.examples and example.name not in NOT_RUN)


def context() -> dict[str, Any]:
    """Return the names that examples take as given: an encoder, a folder and a file to write."""
    Path("folder").mkdir()
    backbone = toys.backbone()
    names = {"backbone": backbone, "model": backbone.model, "folder": Path("folder"), "file": Path("file.trec")}
    return {**names, "encloze": encloze, "Path": Path, "transformers": transformers}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "package", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PACKAGES]
)
def test_examples_run(package: str, workspace: Callable[[str], Path]) -> None:
    failures: list[str] = []
    for example in examples_of(package):
        workspace(example.docstring or "")
        example.globs = {**context(), **example.globs}
        runner = doctest.DocTestRunner(AnyOutput(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        runner.run(example, out=failures.append)
    assert not failures, "".join(failures)
