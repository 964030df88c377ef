"""Inputs of somebody else on the command line: recipes that send keys, long lines, escapes, and files that fail."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from chat_server import chat_server
from encloze.cli.main import main
from encloze.data import lines
from encloze.errors import EnclozeError, StorageError
from encloze.storage.disk import explain_file_errors

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that runs a command line, checks that it ends with an error, and returns the message."""

    def run(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr().err
        assert "Traceback" not in captured
        return captured[captured.index("encloze: ") :]

    return run


# Keys


def test_a_recipe_that_sends_a_key_needs_consent(
    tmp_path: Path, dataset: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SECRET", "secret-7")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with chat_server() as server:
        generator = {"type": "endpoint", "url": server.url, "model": "m", "api_key_variable": "SECRET"}
        tree = {"verb": "generate", "corpus": str(dataset), "generator": generator, "output": str(tmp_path / "out")}
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(tree))
        message = refused("generate", file)
        assert (
            f"generator.api_key_variable: sends the API key in the environment variable 'SECRET' to '{server.url}'"
            in message
        )
        assert "add --allow-api-keys" in message and not server.requests and "secret-7" not in message
        assert main(["generate", str(file), "--print-recipe"]) == 0
        assert main(["generate", str(file), "--allow-api-keys", "--max_documents", "2"]) == 0 and server.requests
        assert "sends the API key" in refused("rerun", tmp_path / "out")
        assert main(["rerun", str(tmp_path / "out"), "--allow-api-keys"]) == 0
        stages = {"queries": {**tree, "output": None}}
        del stages["queries"]["output"]
        file.write_text(yaml.safe_dump({"dataset": str(dataset), "stages": stages, "output": str(tmp_path / "run")}))
        assert "stages.queries.generator.api_key_variable: sends" in refused("run", file)
        file.write_text(yaml.safe_dump({"folder": str(tmp_path / "out"), "allow_api_keys": True}))
        assert "allow_api_keys: a recipe cannot confirm itself" in refused("rerun", file)


def test_a_key_variable_on_the_command_line_needs_no_consent(tmp_path: Path, dataset: Path, refused: Refused) -> None:
    flags = (
        "--generator.url",
        "http://127.0.0.1:9/v1",
        "--generator.model",
        "m",
        "--generator.api_key_variable",
        "NONE",
    )
    message = refused("generate", "--corpus", dataset, "--generator", "endpoint", *flags, "--output", tmp_path / "out")
    assert "environment variable NONE with the API key for http://127.0.0.1:9/v1 is not set" in message


# Long lines


def test_a_gzipped_line_above_the_limit_is_refused_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with gzip.open(tmp_path / "data" / "corpus.jsonl.gz", "wb", compresslevel=1) as stream:
        stream.write(b'{"_id": "a", "text": "b"}\n{"_id": "b", "text": "')
        for _ in range(80):
            stream.write(b"x" * 2**20)
    program = (
        "import re, sys\nfrom pathlib import Path\nfrom encloze.cli.main import main\ncode = main(sys.argv[1:])\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\nsys.exit(code)"
    )  # ru_maxrss would include the memory of the process that was forked
    command = ["index", "--corpus", str(tmp_path / "data"), "--indexes", "bm25", "--output", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "corpus.jsonl.gz:2: the line is longer than 64 MiB" in done.stderr
    assert int(done.stdout.split()[-1]) < 600 * 1024  # KiB


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_long_lines_are_refused_in_every_file(
    name: str, dataset: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 2**20)
    with (dataset / name).open("a") as stream:
        stream.write("x" * (2**20 + 1))
    assert f"{Path(name).name}" in (message := refused("evaluate", "--dataset", dataset, "--systems", "bm25"))
    assert "the line is longer than 1 MiB" in message


# Text for the terminal


def test_titles_and_errors_are_printed_without_escapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    document = {"_id": "a\x1b[2J", "title": "\x1b]0;owned\x07 [v[/b]] :smile:", "text": "river \x9b31m"}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(document) + "\n")
    assert (
        main(
            ["index", "--corpus", str(tmp_path / "corpus.jsonl"), "--indexes", "bm25", "--output", str(tmp_path / "i")]
        )
        == 0
    )
    assert main(["search", "--index", str(tmp_path / "i"), "river"]) == 0
    shown = capsys.readouterr().out
    assert r"\x1b]0;owned\x07 [v[/b]] :smile:" in shown and r"\x9b31m" in shown
    message = refused("search", "--index", tmp_path / "\x1b[2J", "river")
    assert "\x1b" not in shown + message and r"\x1b[2J" in message


def test_markup_in_the_title_of_a_system_is_shown(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--systems", "bm25", "--systems.0.title", "v[/b]] :smile: \x1b[2J")
    assert main(["evaluate", "--dataset", str(dataset), *flags]) == 0
    assert r"v[/b]] :smile: \x1b[2J" in capsys.readouterr().out


# Arguments, paths and permissions


@pytest.mark.parametrize(
    "arguments", [("search", "--index", "i", "caf\udce9"), ("index", "--corpus", "caf\udce9"), ("\udce9",)]
)
def test_arguments_that_are_no_utf8_are_refused(arguments: tuple[str, ...], refused: Refused) -> None:
    assert r"\udce9'" in (message := refused(*arguments)) and "expected UTF-8 text" in message


def test_bytes_that_are_no_utf8_in_a_process(tmp_path: Path) -> None:
    command = [os.fsencode(sys.executable), b"-m", b"encloze", b"search", b"--index", os.fsencode(tmp_path), b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2 and b"expected UTF-8 text" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_the_letters_of_a_text_shows_their_numbers(encoding: str) -> None:
    command = [sys.executable, "-m", "encloze", "list", "שלום"]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}, check=False)
    assert done.returncode == 2 and rb"\u05e9" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize("output", ["x" * 300, f"a/{'y' * 256}/b", "file/inner", "file", ".", "/", "a\0b", ""])
def test_impossible_outputs_are_refused_by_name(output: str, tmp_path: Path, dataset: Path, refused: Refused) -> None:
    (tmp_path / "file").write_text("x")
    path = str(tmp_path / output) if output not in ("", "/") else output
    refused("index", "--corpus", dataset, "--indexes", "bm25", "--output", path)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is denied to root")
def test_denied_folders_are_named(tmp_path: Path, dataset: Path, refused: Refused) -> None:
    (tmp_path / "denied").mkdir(mode=0o500)
    output = tmp_path / "denied" / "out"
    assert "denied" in refused("index", "--corpus", dataset, "--indexes", "bm25", "--output", output)
    dataset.chmod(0)
    try:
        assert "denied" in refused("index", "--corpus", dataset, "--indexes", "bm25", "--output", tmp_path / "out")
    finally:
        dataset.chmod(0o700)


def test_an_error_of_the_operating_system_is_explained(tmp_path: Path) -> None:
    message = r"none cannot be read or written: No such file.*Check the path and its"
    with pytest.raises(StorageError, match=message), explain_file_errors():
        (tmp_path / "none").read_text()
    with pytest.raises(OSError, match="of a library") as caught, explain_file_errors():
        raise OSError("of a library")
    assert not isinstance(caught.value, EnclozeError)
