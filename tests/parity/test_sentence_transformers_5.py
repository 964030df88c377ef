"""Model folders of encloze in sentence-transformers 5.1, with transformers 4, in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import toys
from encloze.models.bi_encoder import BiEncoder
from encloze.models.encoder_config import EncoderConfig
from encloze.models.heads.dense import Dense
from encloze.models.heads.sparse import Sparse

PACKAGES = [
    "sentence-transformers==5.1.2",
    "transformers==4.57.6",
    "huggingface_hub==0.36.2",
    "tokenizers==0.22.2",
    "datasets==4.1.1",
    "dill==0.4.0",
    "multiprocess==0.70.16",
]
"""They replace the packages of the tests; all others are shared."""
TEXTS = ["a", "where do rivers end", "the river flows into the sea " * 3, "naïve café 3.14", "שלום"]
HEADS = {
    "cls": Dense("cls", False),
    "mean": Dense("mean", True),
    "max": Dense("max", False),
    "projected": Dense("mean", True, 8),
    "projected with tanh": Dense("cls", False, 8, True, "tanh"),
    "sparse": Sparse(),
    "sparse sum": Sparse(pooling="sum"),
}
PROGRAM = """
import json, sys
import numpy as np
import sentence_transformers
assert sentence_transformers.__version__.startswith("5.1."), sentence_transformers.__version__
for folder, is_sparse in json.load(open(sys.argv[1])):
    kind = sentence_transformers.SparseEncoder if is_sparse else sentence_transformers.SentenceTransformer
    model = kind(folder, device="cpu")
    texts = json.load(open(sys.argv[2]))
    both = model.encode_query(texts), model.encode_document(texts)
    queries, documents = (one.to_dense().numpy() if is_sparse else one for one in both)
    np.savez(folder + "/theirs.npz", queries=queries, documents=documents)
"""


@pytest.mark.slow
def test_every_kind_of_model_gives_the_same_vectors(tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "packages")]
    if subprocess.run([*install, *PACKAGES], check=False, capture_output=True).returncode:
        pytest.skip("no package index can be reached")
    tokenizer, folders, expected = toys.tokenizer(), list[tuple[str, bool]](), dict[str, tuple[np.ndarray, ...]]()
    for family in ("bert", "roberta", "mpnet", "deberta_v2", "modernbert"):
        for name, head in HEADS.items():
            config = EncoderConfig((head,), "query: ", "text: ", 60, 60)
            model = BiEncoder(toys.encoder(family, tokenizer.vocab_size), tokenizer, config)
            model.precision = "float32"
            folder = tmp_path / f"{family} {name}"
            folder.mkdir()
            model.save(folder)
            folders.append((str(folder), isinstance(head, Sparse)))
            vectors = model.encode_queries(TEXTS), model.encode_documents(TEXTS)
            expected[str(folder)] = tuple(one.sparse.toarray() if one.dense is None else one.dense for one in vectors)
    (tmp_path / "folders.json").write_text(json.dumps(folders), encoding="utf-8")
    (tmp_path / "texts.json").write_text(json.dumps(TEXTS), encoding="utf-8")
    files = [str(tmp_path / name) for name in ("folders.json", "texts.json")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "packages"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *files], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, vectors in expected.items():
        theirs = np.load(f"{name}/theirs.npz")
        for found, ours in zip((theirs["queries"], theirs["documents"]), vectors, strict=True):
            np.testing.assert_allclose(found, ours, atol=1e-5, err_msg=name)
