"""Run a pipeline that is killed once in each stage and resumed, and save its evaluation.

    python benchmarks/chain.py chain_mini --dataset medquad --output chain

The recipes are in benchmarks/recipes. A stage is killed with SIGKILL some seconds after its start, so its unfinished
work must be resumed. The evaluation and the kills are saved in benchmarks/results. The kills are also saved in
kills.json in the output, so this script can itself be interrupted and run again.
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

FOLDER = Path(__file__).parent
POLL_SECONDS = 0.5


def running_stage(output: Path, stages: list[str]) -> str | None:
    """Return the stage that is running, if any."""
    file = output / "stages.json"
    record = read_json(file) if file.is_file() else {"done": {}, "started": {}}
    running = [name for name in stages if name in record["started"] and name not in record["done"]]
    return running[0] if running else None


def run_or_kill(
    command: list[str], output: Path, stages: list[str], killed: dict[str, float], kill_after: float
) -> bool:
    """Run the pipeline to its end and return True, or kill it in a stage that was not killed before, and return False.

    ``killed`` receives the seconds after which a stage was killed.
    """
    process = subprocess.Popen(command)
    stage, stage_start = None, time.monotonic()
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        current = running_stage(output, stages)
        if current != stage:
            stage, stage_start = current, time.monotonic()
        elif stage is not None and stage not in killed and time.monotonic() - stage_start > kill_after:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            killed[stage] = time.monotonic() - stage_start
            print(f"Killed in {stage}", flush=True)
            return False
    if process.returncode:
        raise SystemExit(f"the pipeline failed with exit status {process.returncode}")
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=sorted(file.stem for file in (FOLDER / "recipes").glob("*.yaml")))
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--kill_after", type=float, default=25, help="seconds that a stage runs before it is killed")
    arguments, flags = parser.parse_known_args()
    recipe = FOLDER / "recipes" / f"{arguments.recipe}.yaml"
    stages = list(yaml.safe_load(recipe.read_text(encoding="utf-8"))["stages"])
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "encloze", "run", str(recipe), "--dataset", str(arguments.dataset)]
    command += ["--output", str(output), *flags]
    kills_file = output / "kills.json"
    killed: dict[str, float] = read_json(kills_file) if kills_file.is_file() else {}
    while not run_or_kill(command, output, stages, killed, arguments.kill_after):
        write_json(kills_file, killed)
    name = f"{arguments.recipe}_{arguments.dataset.name}"
    write_json(FOLDER / "results" / f"{name}.json", {"killed after seconds": killed})
    evaluation = (output / "evaluation" / "report.md").read_text(encoding="utf-8")
    evaluation = evaluation.replace(str(arguments.dataset), arguments.dataset.name)
    (FOLDER / "results" / f"{name}.md").write_text(evaluation, encoding="utf-8")
    print(Report.load(output / "evaluation").to_markdown())


if __name__ == "__main__":
    main()
