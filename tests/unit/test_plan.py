"""The command plan: predictions from made-up measurements, and a plan with a tiny model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import encloze
import toys
from encloze import recipe
from encloze.cli.main import main
from encloze.commands._plan_indexes import enlarge
from encloze.commands.plan import Plan
from encloze.data.records import Representation
from encloze.errors import DataError, RecipeError
from encloze.retrieval.collection_costs import CollectionCosts, CollectionModel, EncodingSpeed, Limits, replicas
from encloze.retrieval.collection_plan import CollectionPlan
from encloze.retrieval.cost_models import Estimate, Fit, IndexModel, Sample, heaps_law
from encloze.search.indexes.base import Index
from encloze.search.indexes.bm25 import Bm25
from encloze.search.indexes.flat import Flat
from encloze.search.indexes.hnsw import Hnsw
from encloze.search.indexes.inverted import Inverted
from encloze.search.indexes.ivf import Ivf

DIM = 384
SPEED = EncodingSpeed("minilm", "float32 on cpu", 500, 50.0, 6000.0, 1e9, None, 10.0)
ROOMY = Limits(64e9, 100.0)


def made_up(index: Index, each: int, milliseconds: float, *, latency_of: Any = None) -> IndexModel:
    """An index of ``each`` bytes per document, whose latency is a multiple of the work of a search."""
    samples = []
    for documents in (5000, 10_000):
        growth = index.growth(documents, DIM)
        size = each * documents + growth.fixed_bytes
        build_bytes = size + growth.build_bytes if growth.build_bytes else 1e6
        latency = milliseconds * growth.search / index.growth(10_000, DIM).search
        samples.append(Sample(documents, documents / 1e4, size + 1536 * documents, size, 0, build_bytes, latency))
    return IndexModel(index, samples, DIM)


FLAT = made_up(Flat(), 1536, 1.0)
HNSW = made_up(Hnsw(), 528, 0.5)
INT8 = made_up(Ivf(), 392, 0.5)
RABITQ = made_up(Ivf(storage="rabitq"), 64, 0.4)


def model_of(*indexes: IndexModel, speed: EncodingSpeed | None = SPEED, types: Sequence[str] = ("dense",)) -> Any:
    texts = Fit({500: 500_000.0, 1000: 1_000_000.0}, lambda n: (n, 1))
    return CollectionModel("my texts", speed, texts, texts, indexes, types)


def plan_of(*costs: CollectionCosts, **settings: Any) -> CollectionPlan:
    values = {"machines": (1, 4), "queries_per_second": 20.0, "cost_per_hour": 1.5, **settings}
    return CollectionPlan("my texts", 1000, SPEED, {}, ROOMY, costs=costs, **values)


# Fits


def test_a_fit_reproduces_a_line_and_says_how_far_it_is_extrapolated() -> None:
    fit = Fit({1000: 50_300.0, 3000: 150_300.0}, lambda n: (n, 1))
    assert fit.at(2000) == Estimate(pytest.approx(100_300), 1.0)
    assert fit.at(9000) == Estimate(pytest.approx(450_300), 3.0) and not fit.at(9000).is_measured
    assert fit.at(100) == Estimate(pytest.approx(5300), 0.1)
    assert fit.at(1000).is_measured and fit.at(3000).is_measured


def test_a_single_measurement_is_proportional_to_the_first_feature() -> None:
    assert Fit({1000: 500.0}, lambda n: (n, 1)).at(4000).value == pytest.approx(2000)
    assert Fit({1000: 0.0}, lambda n: (n, 1)).at(4000).value == 0


def test_known_bytes_are_not_fitted() -> None:
    fit = Fit({100: 1100.0, 200: 1200.0}, lambda n: (n,), lambda n: 1000.0)
    assert fit.at(10_000).value == pytest.approx(11_000)


def test_weights_are_never_negative() -> None:
    fit = Fit({1000: 3.0, 2000: 2.0}, lambda n: (n, 1))  # noise: the larger index was faster
    assert 2 <= fit.at(10**9).value <= 3


def test_the_vocabulary_follows_heaps_law_of_the_largest_sizes() -> None:
    terms = heaps_law({100: 900, 1000: 10_000, 4000: 20_000})
    assert terms(4000) == 20_000 and terms(16_000) == pytest.approx(40_000)
    assert heaps_law({10: 5, 20: 20})(40) == 40  # at most proportional to the documents


def test_bm25_has_bytes_per_document_and_bytes_per_term() -> None:
    terms = heaps_law({1000: 10_000, 4000: 20_000})
    samples = [Sample(n, n / 1e3, 900 * n + 50 * terms(n), 1, 0, 1, 0.2) for n in (1000, 2000, 4000)]
    size = IndexModel(Bm25(), samples, 0, terms).at(1_000_000).disk_bytes
    assert size.value == pytest.approx(900e6 + 50 * 20_000 * math.sqrt(250)) and size.factor == 250


# Growth of indexes


def test_growth_is_that_of_the_settings() -> None:
    small, large = (Flat().growth(n, DIM) for n in (10_000, 40_000))
    assert large.search == 4 * small.search and large.fixed_bytes == large.build_bytes == 0
    assert Hnsw(ef_search=50).growth(10**6, DIM).search < Hnsw().growth(10**6, DIM).search / 10
    ivf = Ivf().growth(10**6, DIM)
    assert ivf.fixed_bytes == 4000 * 4 * DIM and ivf.search == 4000 + 10**6 / 8
    assert Ivf(probes=40).growth(10**6, DIM).search == 4000 + 10**6 / 100
    assert Ivf(dim=64).growth(10**6, DIM).fixed_bytes == 4000 * 4 * 64
    pq = Ivf(storage="pq").growth(10**6, DIM)
    assert pq.build > 2 * ivf.build and pq.fixed_bytes == ivf.fixed_bytes + 256 * 4 * DIM
    assert Hnsw(storage="pq").growth(10**6, DIM).fixed_bytes == 256 * 4 * DIM
    assert Inverted().growth(7, 30_000) == Flat().growth(7, DIM)
    assert Ivf().min_documents == 5000 and Flat().min_documents == 1


@pytest.mark.parametrize("storage", ["int8", "rabitq"])
def test_the_size_of_an_ivf_is_predicted_beyond_the_sizes_with_few_lists(storage: Any, tmp_path: Path) -> None:
    """The lists grow with the documents up to 24,000, and with their square root from there on."""
    rows = np.random.default_rng(0).standard_normal((30_000, 16)).astype(np.float32)
    index, samples = Ivf(storage=storage), []
    for size in (5000, 7000, 30_000):
        (tmp_path / str(size)).mkdir()
        index.build(Representation(rows[:size]), tmp_path / str(size))
        samples.append(Sample(size, 1.0, 1.0, index.memory(tmp_path / str(size)), 0.0, 1.0, 1.0))
    predicted = IndexModel(index, samples[:2], 16).at(30_000)
    assert predicted.memory_bytes.value == pytest.approx(samples[2].memory_bytes, rel=0.02)


# Predictions


def test_costs_of_a_collection() -> None:
    costs = model_of(FLAT, HNSW).at(1_000_000, ROOMY)
    assert costs.encoding_seconds == Estimate(20_000, 2000)
    assert costs.documents_bytes.value == pytest.approx(1e9)
    flat, hnsw = costs.indexes
    assert flat.memory_bytes.value == pytest.approx(1.536e9) and flat.disk_bytes.value == pytest.approx(3.072e9)
    assert flat.milliseconds.value == pytest.approx(100) and flat.milliseconds.factor == 100
    assert hnsw.milliseconds.value < 10 and flat.build_seconds.value == pytest.approx(100)
    assert hnsw.build_bytes.value > hnsw.memory_bytes.value


def test_time_and_cost_of_encoding_are_shared_by_machines() -> None:
    costs = model_of(FLAT).at(1_800_000, ROOMY)
    encoding, texts, indexes = plan_of(costs).tables()
    assert encoding.values("hours") == [10.0, 2.5] and encoding.values("cost") == [15.0, 15.0]
    assert encoding.values("basis") == ["extrapolated 3.6e+03x"] * 2
    assert texts.values("texts, GB") == [pytest.approx(1.8)]
    assert indexes.values("ms, p50") == [pytest.approx(190)]
    assert "cost" not in plan_of(costs, cost_per_hour=None).tables()[0].names


def test_more_queries_per_second_need_more_machines() -> None:
    assert [replicas(100.0, load) for load in (0.1, 7, 7.1, 70)] == [1, 1, 2, 10]
    costs = model_of(FLAT).at(1_000_000, ROOMY)
    assert plan_of(costs).replicas(costs.indexes[0]) == 4  # 20 queries of 110 ms, machines busy for 70 %


def test_a_billion_documents_are_predicted_without_overflow() -> None:
    costs = model_of(FLAT, HNSW, INT8, RABITQ).at(10**9, ROOMY)
    for index in costs.indexes:
        assert math.isfinite(index.build_seconds.value) and index.memory_bytes.value > 6e10
    assert costs.recommended == () and costs.command is None
    assert "ivf rabitq, the smallest index, needs 76.7 GB" in costs.reason
    assert "a distributed engine is needed, and its costs can only be extrapolated" in costs.reason
    assert "exceeds the memory" in plan_of(costs).tables()[2].values("choice")


def test_measured_and_extrapolated_numbers_are_marked() -> None:
    costs = [model_of(FLAT).at(n, ROOMY) for n in (400, 8000, 20_000)]
    encoding, texts, indexes = plan_of(*costs, machines=(1,)).tables()
    assert encoding.values("basis") == ["measured", "extrapolated 16x", "extrapolated 40x"]
    assert texts.values("basis") == ["extrapolated 0.8x", "extrapolated 8x", "extrapolated 20x"]
    assert indexes.values("basis") == ["extrapolated 0.08x", "measured", "extrapolated 2x"]


# Recommendation


@pytest.mark.parametrize(
    ("documents", "limits", "chosen", "reason"),
    [
        (100_000, ROOMY, "flat float32", "flat float32 takes 10 ms a search and 0.154 GB of memory"),
        (2_000_000, ROOMY, "hnsw int8", "flat float32 takes 200 ms, more than 90 ms"),
        (2_000_000, Limits(3.3e9, 1000), "hnsw int8", "flat float32 needs 3.07 GB of memory, more than 2.3 GB"),
        (10_000_000, Limits(6.3e9, 1000), "ivf int8", "hnsw int8 needs 10.5 GB of memory, more than 5.3 GB"),
        (2_000_000, Limits(1.99e9, 1000), "ivf rabitq", "ivf int8 needs 1.37 GB"),
        (2_000_000, Limits(64e9, 10.1), "hnsw int8", "no index that fits into memory searches within 0.1 ms"),
    ],
)
def test_the_recommendation_depends_on_size_memory_and_latency(
    documents: int, limits: Limits, chosen: str, reason: str
) -> None:
    costs = model_of(FLAT, HNSW, INT8, RABITQ).at(documents, limits)
    assert costs.recommended == (chosen,) and reason in costs.reason


def test_the_command_has_the_settings_of_the_recommended_index() -> None:
    costs = model_of(RABITQ).at(1_000_000, ROOMY)
    setting = """'[{"type": "ivf", "storage": "rabitq"}]'"""
    assert costs.command == f"encloze index --model minilm --corpus 'my texts' --indexes {setting} --output index"
    assert model_of(HNSW).at(10**6, ROOMY).command.endswith("--indexes hnsw --output index")


def test_each_kind_of_vector_gets_an_index_and_shares_the_limits() -> None:
    sparse = made_up(Inverted(), 1000, 0.1)
    model = model_of(FLAT, HNSW, sparse, types=("dense", "sparse"))
    costs = model.at(500_000, ROOMY)
    assert costs.recommended == ("flat float32", "inverted float32") and "flat,inverted" in costs.command
    assert model.at(500_000, Limits(1.5e9, 100)).recommended == ()  # hnsw alone fits, both do not


def test_collections_that_an_approximate_index_searches_exactly_are_left_out() -> None:
    assert [one.index for one in model_of(FLAT, HNSW).at(4999, ROOMY).indexes] == ["flat float32"]


def test_without_a_model_bm25_is_recommended() -> None:
    terms = heaps_law({1000: 10_000, 2000: 15_000})
    bm25 = IndexModel(Bm25(), [Sample(n, 1, 900 * n, 900 * n, 0, 900 * n, 0.2) for n in (1000, 2000)], 0, terms)
    costs = model_of(bm25, speed=None, types=("text",)).at(10**6, ROOMY)
    assert costs.encoding_seconds is None and costs.recommended == ("bm25",)
    assert costs.command == "encloze index --corpus 'my texts' --indexes bm25 --output index"
    assert [table.title for table in replace(plan_of(costs), encoding=None).tables()] == ["Texts on disk", "Indexes"]


# Measurements


def test_resampled_vectors_keep_norms_and_numbers_of_terms() -> None:
    draw = np.random.default_rng(0)
    dense = Representation(dense=draw.standard_normal((30, 8)).astype(np.float32))
    rows = enlarge(dense, 500).dense
    assert rows.shape == (500, 8) and rows.dtype == np.float32 and len(np.unique(rows[:, 0])) > 450
    lengths, expected = (np.linalg.norm(one, axis=1) for one in (rows, dense.dense))
    assert all(np.isclose(expected, length, rtol=1e-4).any() for length in lengths)
    weights = csr_matrix(np.triu(np.ones((5, 5), np.float32)))
    found = enlarge(Representation(sparse=weights), 100).sparse
    assert found.shape == (100, 5) and {1, 2, 3, 4, 5} == {*np.diff(found.indptr)} and (found.data > 0).all()


def test_a_plan_of_a_tiny_model(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = toys.write_model(tmp_path / "retriever", views=("dense",))
    output = tmp_path / "plan"
    arguments = ["--corpus", str(dataset), "--documents", "[40, 20000]", "--indexes", "flat,bm25", "--seconds", "0.5"]
    assert main(["plan", "--model", str(model), *arguments, "--machines", "1,2", "--output", str(output)]) == 0
    shown = capsys.readouterr().out
    assert "Encoding" in shown and "recommended" in shown and "documents and" in shown
    assert f"encloze index --model {model} --corpus {dataset} --indexes flat --output index" in shown
    stored = json.loads((output / "plan.json").read_text())
    few, many = stored["costs"]
    assert few["encoding_seconds"]["factor"] == 1 and many["encoding_seconds"]["factor"] == 500
    assert many["encoding_seconds"]["value"] == pytest.approx(500 * few["encoding_seconds"]["value"])
    flat, bm25 = many["indexes"]
    assert flat["memory_bytes"]["value"] == pytest.approx(20_000 * 128, rel=0.3)
    assert bm25["build_seconds"]["value"] > 0 and bm25["memory_bytes"]["value"] >= 0.99 * bm25["disk_bytes"]["value"]
    assert stored["encoding"]["query_milliseconds"] > 0 and stored["encoding"]["memory_bytes"] > 1e7
    assert {path.name for path in output.iterdir()} >= {"plan.json", "recipe.yaml", "manifest.json"}


def test_a_plan_without_a_model(dataset: Path) -> None:
    plan = encloze.plan(str(dataset), [40, 1_000_000_000], seconds=0.2, memory=0.001)
    assert plan.encoding is None and plan.costs[0].recommended == ("bm25",)
    assert plan.costs[1].recommended == () and "a distributed engine is needed" in plan.costs[1].reason
    assert plan.to_pandas()["index"].tolist() == ["bm25", "bm25"]
    assert plan.costs[0].documents_bytes.is_measured


def test_blocks_of_similar_length_represent_the_sample(tmp_path: Path) -> None:
    """An encoder whose time is proportional to the tokens is timed on a part of the documents."""
    from encloze.commands._plan_encoding import EncodingTrial
    from encloze.encoders.base import Encoder

    class Slow:
        """Encoder that sleeps for each word."""

        name, arithmetic, similarity = "slow", "float32 on cpu", encloze.Encoder

        def __init__(self, inner: Encoder) -> None:
            self.inner, self.similarity = inner, inner.similarity

        def count_tokens(self, texts: Sequence[str], side: Any) -> int:
            return sum(len(text.split()) for text in texts)

        def represent_queries(self, texts: Sequence[str]) -> Representation:
            return Representation(np.ones((len(texts), 4), np.float32))

        def represent_documents(self, texts: Sequence[str], count: int) -> Any:
            import time

            time.sleep(2e-5 * self.count_tokens(texts, "document"))
            yield self.represent_queries(texts)

    inner = Encoder.from_pretrained(toys.write_model(tmp_path / "model", views=("dense",)))
    words = np.random.default_rng(0).geometric(0.05, 3000)
    trial = EncodingTrial(Slow(inner), ["word " * int(count) for count in words], 0.4)  # type: ignore[arg-type]
    speed = trial.measure(["query"])
    assert speed.documents < 1500 and sum(len(part.dense) for part in trial.vectors) == speed.documents
    assert 1 / speed.documents_per_second == pytest.approx(2e-5 * words.mean(), rel=0.25)


# Errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"documents": [0]}, "documents"),
        ({"documents": [2_000_000_000]}, "must be 1 or more and at most 1000000000"),
        ({"documents": []}, "documents names no number"),
        ({"machines": []}, "machines names no number"),
        ({"indexes": ["flat"]}, "model is required"),
        ({"indexes": ["falt"]}, "flat"),
        ({"seconds": 0}, "seconds"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.build(Plan, {"corpus": "python_docs", "documents": [1000], **settings})


def test_a_corpus_or_a_model_that_does_not_suffice_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 2 documents, and a plan needs at least 20"):
        encloze.plan([{"id": "1", "text": "one"}, {"id": "2", "text": "two"}], [1000])
    model = toys.write_model(tmp_path / "retriever", views=("dense",))
    with pytest.raises(RecipeError, match=r"inverted does not store vectors that .* computes \(dense\)"):
        encloze.plan(str(dataset), [1000], model=str(model), indexes=["inverted"])
    with pytest.raises(DataError, match="ivf pq, 29 dimensions cannot be planned: pq divides embeddings"):
        encloze.plan(
            str(dataset), [9000], model=str(model), seconds=0.1, indexes=[{"type": "ivf", "storage": "pq", "dim": 29}]
        )
