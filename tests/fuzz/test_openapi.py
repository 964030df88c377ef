"""The OpenAPI documents of the services, compared with their responses by schemathesis in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import served
import toys
from encloze.data.corpus import Corpus
from encloze.data.records import Query
from encloze.evaluation.pooling import Pool
from encloze.serving.judgments import JudgmentFile
from encloze.serving.labeling import Labeling, create_labeling_app
from served import Client

PACKAGE = "schemathesis==4.32.5"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)
EXAMPLES = os.environ.get("ENCLOZE_TEST_EXAMPLES", "20")
"""Number of generated requests for each function of the services in each phase."""
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.* documents have neither a title nor a text")]


@pytest.fixture(scope="module")
def schemathesis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program schemathesis."""
    folder = tmp_path_factory.mktemp("schemathesis")
    venv.create(folder, with_pip=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", PACKAGE]
    if subprocess.run(install, check=False, capture_output=True).returncode:
        pytest.skip("no package index can be reached")
    return folder / "bin" / "schemathesis"


@contextmanager
def search_service(folder: Path) -> Iterator[Client]:
    index = served.build_index(folder / "toys", toys.write_model(folder / "model", views=("dense", "sparse")))
    with served.serving(served.service_of(index, reranks=True, judgments=folder / "judged")) as client:
        yield client


@contextmanager
def labeling_service(folder: Path) -> Iterator[Client]:
    corpus = Corpus.from_dicts([{"id": "d1", "text": "Rivers flow."}, {"id": "d2", "text": "A violin."}])
    pool = Pool.from_runs({"bm25": {"q": {"d1": 2.0, "d2": 1.0}}}, [Query("q", "rivers")], depth=10, seed=0)
    file = JudgmentFile(folder / "judged")
    with served.serving_application(create_labeling_app(Labeling(pool, corpus, file, ("no", "yes")))) as client:
        yield client
    file.close()


@pytest.mark.parametrize("service", [search_service, labeling_service])
def test_responses_are_those_of_the_openapi_document(service: object, schemathesis: Path, tmp_path: Path) -> None:
    with service(tmp_path) as client:  # type: ignore[operator]
        command = [schemathesis, "run", f"http://127.0.0.1:{client.port}/openapi.json", "--checks", CHECKS]
        settings = ["--max-examples", EXAMPLES, "--seed", "0", "--warnings", "off", "--suppress-health-check", "all"]
        done = subprocess.run([*command, *settings], cwd=tmp_path, capture_output=True, text=True, check=False)
    print(done.stdout, file=sys.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
