"""Watching a pre-training: monitors look at it now and then, and the best weights may be kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from safetensors.torch import load_model, save_model
from torch import nn

from encloze import progress
from encloze.errors import RecipeError
from encloze.settings import Settings
from encloze.storage.disk import explain_write_errors
from encloze.training.monitors.base import Material, Monitor, Probe
from encloze.training.state import Unfinished

FEWEST_TEXTS, _MOST_SHARE = 8, 0.05


def usual_monitors() -> tuple[Monitor, ...]:
    """What every pre-training looks at: cheap, and enough to see that it learns."""
    return tuple(Monitor.named(name) for name in ("held_out", "bottleneck", "embeddings"))


@dataclass(frozen=True)
class Watching(Settings):
    """What is looked at while a pre-training runs."""

    looks: int = 4
    """How often the monitors look after the beginning, at even distances; the last time at the end."""
    held_out: int = 256
    """So many texts are held out for the monitors, a twentieth of the corpus at most."""
    best: str | None = None
    """A monitor's figure, say retrieval.head_start: the weights that were best in it are the ones that are saved."""
    patience: int | None = None
    """The run ends when ``best`` has not got better in so many looks; by default it never does."""

    def __post_init__(self) -> None:
        if self.looks < 1 or self.held_out < 1 or (self.patience is not None and self.patience < 1):
            raise ValueError("looks, held_out and patience must be 1 or more")
        if self.patience is not None and self.best is None:
            raise ValueError("patience needs best: the figure that should get better")


class Watcher:
    """The monitors of a run, the record of what they saw, and the best weights."""

    def __init__(
        self, settings: Watching, monitors: tuple[Monitor, ...], material: Material, state: Unfinished
    ) -> None:
        self.settings, self.state = settings, state
        self.file, self.kept = state.folder / "monitors.jsonl", state.folder / "best.safetensors"
        self.better = self._direction(monitors)
        self.probes: dict[str, Probe] = {monitor.name: monitor.probe(material) for monitor in monitors}

    def _direction(self, monitors: tuple[Monitor, ...]) -> str:
        """Which way the figure that decides gets better; RecipeError where it is none of the monitors'."""
        wanted = self.settings.best
        if wanted is None:
            return ""
        name, _, figure = wanted.partition(".")
        ways = next((monitor.better for monitor in monitors if monitor.name == name), {})
        if figure not in ways and "*" not in ways:
            known = ", ".join(f"{m.name}.{figure}" for m in monitors for figure in m.better) or "none"
            message = f"no monitor's figure {wanted!r} gets better one way; these do: {known}"
            raise RecipeError("the recipe", [("watching.best", message)])
        return ways.get(figure, ways.get("*", ""))

    def due(self, done: int, steps: int) -> bool:
        """Whether the monitors look after so many steps."""
        places = {round(steps * look / self.settings.looks) for look in range(1, self.settings.looks + 1)}
        return bool(self.probes) and done in places

    def begin(self, module: Any, step: int) -> dict[str, float]:
        """Forget what was seen after the step that the run goes on from; look at the untrained model."""
        if not self.probes:
            return {}
        entries = [entry for entry in self.entries() if entry["step"] <= step]
        self.file.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
        if entries:
            return {}
        try:
            return self.look(module, 0)
        except RecipeError:  # nothing was learnt yet
            self.state.discard()
            raise

    def look(self, module: Any, step: int) -> dict[str, float]:
        """What all monitors see; kept, and the weights too where they are the best so far."""
        figures: dict[str, float] = {}
        with progress.task("Looking", len(self.probes), "monitors") as bar:
            for name, probe in self.probes.items():
                figures |= {f"{name}.{figure}": value for figure, value in probe(module).items()}
                bar.advance()
        wanted = self.settings.best
        if wanted is not None and wanted not in figures:
            known = ", ".join(figures)
            raise RecipeError("the recipe", [("watching.best", f"there is no {wanted!r}; there are {known}")])
        before = self._best(self.entries())
        with explain_write_errors(self.file):
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **figures}) + "\n")
            if wanted is not None and (before is None or self._better(figures[wanted], before.value)):
                partial = self.kept.with_name(f".{self.kept.name}")
                save_model(module, str(partial))
                partial.replace(self.kept)
        return figures

    def is_over(self) -> bool:
        """Whether the figure has not got better in ``patience`` looks."""
        entries, best = self.entries(), self._best(self.entries())
        if self.settings.patience is None or best is None:
            return False
        return len([entry for entry in entries if entry["step"] > best.step]) >= self.settings.patience

    def end(self, module: nn.Module) -> None:
        """Put the best weights in place; say whose they are."""
        best = self._best(self.entries())
        if best is not None:
            load_model(module, str(self.kept))
            progress.note(f"The weights after step {best.step} are kept: {self.settings.best} {best.value:.4f}")

    def finish(self, folder: Any) -> None:
        """Put the record into the finished folder."""
        if self.probes:
            shutil.copyfile(self.file, folder / self.file.name)

    def entries(self) -> list[dict[str, Any]]:
        """Every look so far, a line cut off by a kill left out."""
        if not self.file.exists():
            return []
        lines = self.file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def _best(self, entries: list[dict[str, Any]]) -> _Best | None:
        best = None
        for entry in entries:
            value = entry.get(self.settings.best or "")
            if value is not None and (best is None or self._better(value, best.value)):
                best = _Best(entry["step"], value)
        return best

    def _better(self, value: float, than: float) -> bool:
        return value > than if self.better == "higher" else value < than


class _Best(NamedTuple):
    step: int
    value: float


def held_out(groups: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Which examples are held out: bool. Whole sources, so that no neighbour of a held-out text is learnt from.

    ``groups`` (examples) tells the source of each. None where a twentieth of them is too few to say anything.
    """
    most = min(wanted, int(_MOST_SHARE * len(groups)))
    sizes = np.bincount(groups)
    chosen = np.zeros(len(sizes), bool)
    left = most
    for source in np.random.default_rng([seed, 7]).permutation(np.flatnonzero(sizes)).tolist():
        if 0 < sizes[source] <= left:
            chosen[source] = True
            left -= int(sizes[source])
        if not left:
            break
    found = chosen[groups]
    return found if found.sum() >= FEWEST_TEXTS else np.zeros(len(groups), bool)
