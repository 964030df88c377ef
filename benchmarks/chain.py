"""A whole pipeline on real data, killed once in each stage and run again until it is done: the table it comes to.

    python benchmarks/chain.py chain_mini --dataset medquad --output chain

Recipes stand in benchmarks/recipes. A stage is killed with SIGKILL some seconds after it has begun, so what its folder
holds unfinished must be gone on with. The report and the number of kills go to benchmarks/results; kills are counted in
kills.json in the output, so this may itself be stopped and run again.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from encloze.evaluation.report import Report
from encloze.storage.json_files import read_json, write_json

HERE = Path(__file__).parent
LOOK = 0.5  # seconds between looks at what is under way


def begun(output: Path, stages: list[str]) -> str | None:
    """The stage that is under way."""
    file = output / "stages.json"
    known = read_json(file) if file.is_file() else {"done": {}, "begun": {}}
    running = [name for name in stages if name in known["begun"] and name not in known["done"]]
    return running[0] if running else None


def run(command: list[str], output: Path, stages: list[str], killed: dict[str, float], after: float) -> bool:
    """Run until it is done (true), or until a stage that was not killed yet has run for so many seconds."""
    process = subprocess.Popen(command)
    stage, since = None, time.monotonic()
    while process.poll() is None:
        time.sleep(LOOK)
        now = begun(output, stages)
        if now != stage:
            stage, since = now, time.monotonic()
        elif stage is not None and stage not in killed and time.monotonic() - since > after:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            killed[stage] = time.monotonic() - since
            print(f"Killed in {stage}", flush=True)
            return False
    if process.returncode:
        raise SystemExit(f"the pipeline ended with {process.returncode}")
    return True


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recipe", choices=sorted(file.stem for file in (HERE / "recipes").glob("*.yaml")))
    arguments.add_argument("--dataset", required=True)
    arguments.add_argument("--output", type=Path, required=True)
    arguments.add_argument("--kill_after", type=float, default=25, help="seconds that a stage runs before it is killed")
    given, more = arguments.parse_known_args()
    recipe = HERE / "recipes" / f"{given.recipe}.yaml"
    stages = list(yaml.safe_load(recipe.read_text(encoding="utf-8"))["stages"])
    encloze = [sys.executable, "-m", "encloze", "run", str(recipe), "--dataset", given.dataset]
    given.output.mkdir(parents=True, exist_ok=True)
    kills = given.output / "kills.json"
    killed: dict[str, float] = read_json(kills) if kills.is_file() else {}
    while not run([*encloze, "--output", str(given.output), *more], given.output, stages, killed, given.kill_after):
        write_json(kills, killed)
    report = Report.load(given.output / "judged")
    name = f"{given.recipe}_{Path(given.dataset).name}"
    write_json(HERE / "results" / f"{name}.json", {"killed after seconds": killed})
    told = (given.output / "judged" / "report.md").read_text(encoding="utf-8")
    place = Path(given.dataset)
    (HERE / "results" / f"{name}.md").write_text(told.replace(str(place), place.name), encoding="utf-8")
    print(report.markdown())


if __name__ == "__main__":
    main()
