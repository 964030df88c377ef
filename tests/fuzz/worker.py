"""Process that runs fuzz cases: prints a line of JSON before and after each case, so that crashes are noticed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

CPU_SECONDS = 10
MEMORY = 2 * 2**30


class TooSlow(BaseException):
    """A case took more processor time than it may."""


def _stop(*_: Any) -> None:
    raise TooSlow


def _snapshot(folder: Path, excluded: str) -> dict[str, tuple[int, int]]:
    """Return size and time of each file below a folder, without those whose names begin like the output."""
    return {
        str(path): (path.lstat().st_size, path.lstat().st_mtime_ns if path.is_file() else 0)
        for path in folder.rglob("*")
        if not path.relative_to(folder).parts[0].lstrip(".").startswith(excluded)
    }


def run_case(arguments: list[str]) -> str:
    """Run a command line; return what is wrong with how it ended, or an empty string."""
    from encloze.cli.main import main

    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    signal.signal(signal.SIGVTALRM, _stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        code = main(arguments)
    except TooSlow:
        return f"takes more than {CPU_SECONDS} seconds"
    except BaseException:  # a traceback for the user
        lines = traceback.format_exc().strip().splitlines()
        frames = [line.strip() for line in lines if line.strip().startswith("File")]
        return f"{lines[-1][:300]} | {' < '.join(frames[:-7:-1])}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        shown = sys.stderr.getvalue() + sys.stdout.getvalue()
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    if code not in (0, 2):
        return f"exit code {code}"
    if control := sorted({letter for letter in shown if ord(letter) < 32 and letter not in "\n\t"}):
        return f"prints control characters {control}"
    return "" if code == 0 or "encloze: " in shown else "fails without a message"


def run_cases(first: int, last: int, *, with_torch: bool) -> None:
    """Run the cases with these numbers, in temporary folders."""
    from fuzz.cases import WITH_TORCH, WITHOUT_TORCH, make_case, make_templates, pretraining

    with tempfile.TemporaryDirectory() as root:
        templates, folder = Path(root, "templates"), Path(root, "case")
        os.environ["ENCLOZE_CACHE"] = str(templates / "cache")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            make_templates(templates, with_torch=with_torch)
            if with_torch:
                os.chdir(templates)
                _interrupt(pretraining(templates))
        shutil.copytree(templates / "cache", Path(root, "cache"))
        makers = WITHOUT_TORCH | (WITH_TORCH if with_torch else {})
        base = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (base + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        for number in range(first, last):
            folder.mkdir()
            os.chdir(folder)
            case = make_case(number, templates, folder, makers)
            os.environ["ENCLOZE_CACHE"] = str(case.cache or Path(root, "cache"))
            print(json.dumps({"number": number, "arguments": case.arguments}), flush=True)
            before = _snapshot(templates, "-"), _snapshot(folder, "cache" if case.cache else "output")
            fault = run_case(case.arguments)
            after = _snapshot(templates, "-"), _snapshot(folder, "cache" if case.cache else "output")
            if before != after and not fault and not case.cache:
                changed = {*before[0].items(), *before[1].items()} ^ {*after[0].items(), *after[1].items()}
                fault = f"changes files outside its output: {sorted(name for name, _ in changed)[:4]}"
            print(json.dumps({"number": number, "fault": fault}), flush=True)
            os.chdir(root)
            shutil.rmtree(folder)


def _interrupt(arguments: list[str]) -> None:
    """Run a training up to its first checkpoint."""
    from encloze.cli.main import main
    from encloze.training import loop

    def save(*values: Any) -> None:
        original(*values)
        raise KeyboardInterrupt

    original, loop.save_checkpoint = loop.save_checkpoint, save  # type: ignore[attr-defined]
    code = main(arguments)
    loop.save_checkpoint = original  # type: ignore[attr-defined]
    assert code == 130 and Path("output.checkpoint").is_dir(), code


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    run_cases(int(sys.argv[1]), int(sys.argv[2]), with_torch=sys.argv[3] == "torch")
