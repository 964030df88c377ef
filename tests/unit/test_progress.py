"""Progress reports reach a listener, or the logger of the library if there is none."""

from __future__ import annotations

import itertools
import logging
import subprocess
import sys

import pytest

from encloze import progress
from encloze.cli.display import progress_bars
from encloze.cli.display.progress_bars import format_duration, format_state


class Recorder(progress.Listener):
    """Listener that records what it receives."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def note(self, text: str) -> None:
        self.messages.append(f"note {text}")

    def warn(self, text: str) -> None:
        self.messages.append(f"warning {text}")


def test_without_a_listener_reports_go_to_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="encloze"):
        progress.note("Loaded 100 % of the documents")
        with pytest.warns(UserWarning, match="2 documents are empty"):
            progress.warn("2 documents are empty")
        assert list(progress.track(range(2), "Encoding", 2, "documents")) == [0, 1]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "Loaded 100 % of the documents"),
        ("WARNING", "2 documents are empty"),
        ("DEBUG", "Encoding: 2 documents"),
        ("DEBUG", "Encoding: ended after 2 documents"),
    ]
    assert {record.name for record in caplog.records} == {"encloze"}


def test_a_listener_receives_the_reports_in_place_of_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="encloze"), progress.use_listener(Recorder()) as recorder:
        progress.note("one")
        progress.warn("two")
    assert recorder.messages == ["note one", "warning two"] and not caplog.records


def test_a_script_prints_a_warning_once_and_notes_on_request() -> None:
    code = "from encloze import progress; {setup}progress.note('a note'); progress.warn('a warning')"
    setup = "import logging; logging.basicConfig(level=logging.INFO, format='%(name)s %(levelname)s %(message)s'); "
    silent, logged = (
        subprocess.run([sys.executable, "-c", code.format(setup=text)], capture_output=True, text=True, check=True)
        for text in ("", setup)
    )
    assert silent.stderr.count("a warning") == 1 and "UserWarning: a warning" in silent.stderr
    assert "a note" not in silent.stderr
    assert "encloze INFO a note" in logged.stderr and "encloze WARNING a warning" in logged.stderr


def test_the_state_of_a_task_has_amount_rate_remaining_time_and_metrics() -> None:
    task = progress.Task("Encoding", 100, "documents", completed=10)
    task.advance(20, loss=0.12345)
    assert format_state(task, 4.0) == "30 of 100 documents, 5.0/s, 0:14 left, loss 0.1235"
    task.advance(70)
    assert format_state(task, 3.0) == "100 of 100 documents, 30/s, in 0:03, loss 0.1235"
    slow = progress.Task("Training", 100, "steps")
    slow.advance(5)
    assert format_state(slow, 21.0) == "5 of 100 steps, 4.2 s each, 6:39 left"
    assert format_state(progress.Task("Reading", None, ""), 0.0) == "0"
    assert [format_duration(seconds) for seconds in (7, 125, 3723)] == ["0:07", "2:05", "1:02:03"]


def test_without_a_terminal_the_last_state_is_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = itertools.count(0, 11)  # 11 seconds pass between two looks at the clock
    monkeypatch.setattr(progress_bars.time, "monotonic", lambda: float(next(clock)))
    display, task = progress_bars._LineDisplay(), progress.Task("Training", 2, "steps")
    display.on_start(task)
    for _ in range(2):
        task.advance(1)
        display.on_update(task)
    display.on_finish(task)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" steps")[0] for line in lines] == ["Training: 1 of 2", "Training: 2 of 2"]
