"""Pools of several systems, priority sampling, and what judgments of pooled documents show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from encloze.data.records import Query, Run
from encloze.errors import CheckpointError
from encloze.evaluation.estimates import estimate
from encloze.evaluation.measures import compute_measures
from encloze.evaluation.pooled_judgments import PooledJudgments
from encloze.evaluation.pooling import Pool, PooledQuery
from encloze.evaluation.priority_sampling import PrioritySample

DEPTH = 5


def random_pool(rng: np.random.Generator, queries: int = 60, systems: int = 2, noise: float = 2.0) -> Pool:
    """Return a pool of systems whose rankings are noisy copies of each other; in some queries they agree."""
    runs: dict[str, Run] = {f"system {number}": {} for number in range(systems)}
    for number in range(queries):
        base = rng.normal(size=12)
        spread = noise * (number % 5 > 0) * rng.random()
        for run in runs.values():
            scores = base + spread * rng.normal(size=12)
            run[f"q{number}"] = {f"d{document}": float(score) for document, score in enumerate(scores)}
    return Pool.from_runs(runs, [Query(f"q{number}", f"query {number}") for number in range(queries)], DEPTH, 0)


def random_grades(rng: np.random.Generator, pool: Pool) -> dict[str, dict[str, int]]:
    return {one.query.id: {id_: int(rng.integers(0, 4)) for id_ in one.documents} for one in pool.queries}


def differences_of(pool: Pool, grades: dict[str, dict[str, int]]) -> np.ndarray:
    """Return the difference of nDCG between the second system and the first one, in the order of the pool."""
    values = []
    for system in (0, 1):
        run = {one.query.id: {id_: -float(at) for at, id_ in enumerate(one.rankings[system])} for one in pool.queries}
        ordered = {one.query.id: grades[one.query.id] for one in pool.queries}
        values.append(compute_measures(run, ordered, [f"nDCG@{DEPTH}"])[f"nDCG@{DEPTH}"])
    return np.asarray(values[1] - values[0])


# Pools


def test_documents_on_which_systems_disagree_come_first() -> None:
    pooled = PooledQuery(Query("q", "text"), (("a", "b", "c"), ("a", "c", "d"), ("e",)))
    discounts = 1 / np.log2([2, 3, 4])
    assert pooled.weights == pytest.approx({
        "a": discounts[0] / 2,
        "b": discounts[1],
        "c": (discounts[1] - discounts[2] + discounts[2]) / 2,
        "d": discounts[2] / 2,
        "e": discounts[0] / 2,
    })  # fmt: skip
    assert pooled.documents[0] == "b" and set(pooled.documents) == set("abcde")
    assert PooledQuery(Query("q", "text"), (("x", "y"),)).documents == ["x", "y"]


def test_the_difference_of_ndcg_is_at_most_the_weight_of_the_query() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        pool = random_pool(rng, queries=20)
        bounds = [sum(one.weights.values()) for one in pool.queries]
        assert (np.abs(differences_of(pool, random_grades(rng, pool))) <= np.array(bounds) + 1e-9).all()


def test_a_pool_is_stored_and_its_order_depends_on_the_seed_only(tmp_path: Path) -> None:
    pool = random_pool(np.random.default_rng(0))
    pool.save(tmp_path / "pool.json")
    assert Pool.load(tmp_path / "pool.json") == pool
    assert pool.sample.order.tolist() == list(range(60))  # in the order of judging already
    again = random_pool(np.random.default_rng(0))
    assert [one.query.id for one in again.queries] == [one.query.id for one in pool.queries]
    (tmp_path / "pool.json").write_text((tmp_path / "pool.json").read_text().replace("query 7", "query 8"))
    with pytest.raises(CheckpointError):
        Pool.load(tmp_path / "pool.json")


def test_queries_on_which_all_systems_agree_come_last() -> None:
    pool = random_pool(np.random.default_rng(0), queries=50)
    differ = [one.rankings[0] != one.rankings[1] for one in pool.queries]
    assert 30 < sum(differ) == pool.sample.size <= 40
    assert differ == sorted(differ, reverse=True)
    assert random_pool(np.random.default_rng(0), systems=1).sample.size == 60


# Priority sampling


@pytest.mark.parametrize("count", [5, 20, 60])
def test_the_estimate_from_the_first_queries_is_unbiased(count: int) -> None:
    rng = np.random.default_rng(count)
    weights = rng.beta(1, 2, 100) * (rng.random(100) > 0.2)
    values = weights * rng.normal(0.1, 0.4, 100)
    means, variances = [], []
    for _ in range(3000):
        sample = PrioritySample(weights, rng.random(100))
        result = sample.estimate(values[sample.order[:count]])
        means.append(result.mean)
        variances.append(result.standard_error**2)
    spread = np.std(means)
    assert abs(np.mean(means) - values.mean()) < 4 * spread / 3000**0.5
    # The squared standard error has, in addition, the variance of the mean of all queries.
    assert np.mean(variances) == pytest.approx(spread**2 + values.var(ddof=1) / 100, rel=0.12)


def test_intervals_contain_the_true_mean() -> None:
    rng, contained = np.random.default_rng(0), 0
    for _ in range(1000):
        weights = rng.beta(1, 2, 80) * (rng.random(80) > 0.2)
        values = weights * rng.normal(0.1, 0.5, 80)
        sample = PrioritySample(weights, rng.random(80))
        interval = sample.estimate(values[sample.order[:25]]).interval()
        contained += interval.low <= 0.1 * 0.8 / 3 <= interval.high
    assert 0.925 <= contained / 1000 <= 0.985


def test_with_all_queries_it_is_a_t_test() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([*rng.random(30), *[0.0] * 10])
    sample, values = PrioritySample(weights, rng.random(40)), weights * rng.normal(size=40)
    found, expected = sample.estimate(values[sample.order[: sample.size]]), estimate([values])
    assert found == pytest.approx(expected)
    known = values[sample.order[: sample.size]]
    assert sample.minimum_detectable_difference(known, 30) == pytest.approx(expected.minimum_detectable_difference())


def test_more_judgments_detect_smaller_differences() -> None:
    rng = np.random.default_rng(0)
    weights = rng.random(500)
    sample, values = PrioritySample(weights, rng.random(500)), weights * rng.normal(0.15, 0.4, 500)
    known = values[sample.order[:40]]
    detectable = [sample.minimum_detectable_difference(known, count) for count in (40, 80, 200, 500)]
    assert detectable == sorted(detectable, reverse=True) and detectable[0] > 1.5 * detectable[-1]
    needed = sample.count_to_detect(known)
    wanted = abs(sample.estimate(known).mean)
    assert needed is not None and 40 <= needed < 500
    assert sample.minimum_detectable_difference(known, needed) <= wanted
    assert needed == 40 or sample.minimum_detectable_difference(known, needed - 1) > wanted
    assert sample.count_to_detect(known - known.mean()) is None  # almost no difference


def test_too_few_values_have_an_infinite_standard_error() -> None:
    sample = PrioritySample(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3]))
    assert sample.estimate(np.array([0.5])).standard_error == float("inf")
    assert PrioritySample(np.ones(1), np.zeros(1)).estimate(np.array([0.5])).standard_error == float("inf")


# Judgments


def test_judgments_are_counted_and_compared() -> None:
    rng = np.random.default_rng(3)
    pool = random_pool(rng, systems=3)
    grades, judgments = random_grades(rng, pool), PooledJudgments(pool, {})
    assert judgments.next_incomplete() == 0 and judgments.comparisons() == []
    for number, one in enumerate(pool.queries[:20]):
        for document in judgments.documents(number):
            judgments.judge(number, document, grades[one.query.id][document])
    assert judgments.num_judged == sum(len(one.documents) for one in pool.queries[:20])
    assert judgments.num_compared == 20 == judgments.next_incomplete(3) and judgments.next_incomplete(40) == 41
    first, second = judgments.comparisons()
    assert (first.system, second.system) == ("system 1", "system 2")
    expected = pool.sample.estimate(differences_of(pool, grades)[:20])
    assert first.difference == pytest.approx(expected.interval())
    assert first.minimum_detectable_difference > first.detectable_with_all > 0
    if first.judgments_to_decide is None:
        assert first.queries_to_decide is None or first.queries_to_decide > 60


def test_a_removed_grade_makes_the_query_incomplete_again() -> None:
    rng = np.random.default_rng(0)
    pool = random_pool(rng)
    judgments = PooledJudgments(pool, random_grades(rng, pool))
    assert judgments.next_incomplete() is None and judgments.num_compared == pool.sample.size
    before = judgments.comparisons()
    document = judgments.documents(7)[0]
    grade = judgments.grades(7)[document]
    judgments.judge(7, document, None)
    assert judgments.missing(7) == [document] and judgments.num_compared == 7 == judgments.next_incomplete()
    judgments.judge(7, document, (grade + 1) % 4)
    assert judgments.comparisons() != before
    judgments.judge(7, document, grade)
    assert judgments.comparisons() == before


def test_judgments_that_decide_are_counted_exactly() -> None:
    rng = np.random.default_rng(1)
    pool = random_pool(rng, queries=300)
    better = {one.query.id: {id_: int(id_ in one.rankings[1][:3]) for id_ in one.documents} for one in pool.queries}
    known = {one.query.id: better[one.query.id] for one in pool.queries[:10]}
    (found,) = PooledJudgments(pool, known).comparisons()
    assert found.difference.mean > 0 and found.queries_to_decide is not None
    added = range(10, found.queries_to_decide)
    assert found.judgments_to_decide == sum(len(pool.queries[number].documents) for number in added)


def test_systems_that_never_differ_need_no_judgments() -> None:
    pool = random_pool(np.random.default_rng(0), noise=0.0)
    (found,) = PooledJudgments(pool, {}).comparisons()
    assert found.difference == (0, 0, 0) and found.judgments_to_decide == 0
