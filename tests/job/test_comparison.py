"""Which runs belong together, how much better one is, and how sure that is."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, ttest_rel

from job.comparison import GAIN, Row, best_first
from job.comparison_curves import MAX_POINTS, best_and_last, curve, thinned
from job.comparison_gain import add_gains
from job.comparison_groups import group, stem
from job.comparison_trade_off import undominated
from job.comparison_verdict import verdict

ACCURACY, MAE = "test/topic/accuracy", "test/degree/mae"
values = st.floats(0.5, 2)


def metric(key: str) -> str:
    return f"test/{key if key == 'mean_gain' else key.replace('_', '/')}"


def run(name: str, seed: int, status: str = "finished", started: int = 0, **metrics: float) -> Row:
    return Row(
        name=name,
        run_ids=[f"{name}/{seed}/{started}"],
        status=status,
        metrics={metric(key): value for key, value in metrics.items()},
        params={"run.seed": str(seed), "model.dim": str(len(name))},
        headlines=[metric(key) for key in metrics if key != "mean_gain"],
        started=started,
    )


def runs(name: str, accuracies: Sequence[float], errors: Sequence[float] = ()) -> list[Row]:
    pairs = enumerate(zip(accuracies, errors or [1.0] * len(accuracies), strict=True))
    return [run(name, seed, topic_accuracy=a, degree_mae=e) for seed, (a, e) in pairs]


def gained(rows: list[Row], baseline: str) -> Mapping[str, Row]:
    grouped = group(rows)
    add_gains(grouped, [row for row in grouped if row.name == baseline])
    return {row.name: row for row in grouped}


def test_gain_is_computed_as_by_hand() -> None:
    rows = runs("base", [0.8, 0.6], [2.0, 4.0]) + runs("new", [0.7, 0.84], [1.5, 3.0])
    new = gained(rows, "base")["new"]
    # means: accuracy .70 -> .77, error 3 -> 2.25
    assert new.gains["topic"].value == pytest.approx(0.10)
    assert new.gains["degree"].value == pytest.approx(0.25)
    assert new.metrics[GAIN] == pytest.approx(0.175)
    assert new.gains["topic"].by_seed == pytest.approx({"0": -0.1 / 0.7, "1": 0.24 / 0.7})


@given(st.lists(st.tuples(values, values), min_size=3, max_size=6))
def test_the_mean_of_the_pairs_is_the_gain_where_the_seeds_are_the_same(
    pairs: list[tuple[float, float]],
) -> None:
    base, new = zip(*pairs, strict=True)
    gain = gained(runs("base", base) + runs("new", new), "base")["new"].gains[GAIN]
    assert sum(gain.by_seed.values()) / len(pairs) == pytest.approx(gain.value, abs=1e-12)


def test_p_is_that_of_scipy_and_holms_correction_counts_the_rows() -> None:
    base, one, two = [0.7, 0.71, 0.69, 0.72], [0.75, 0.77, 0.74, 0.76], [0.7, 0.74, 0.68, 0.73]
    found = gained(runs("base", base) + runs("one", one) + runs("two", two), "base")
    small, large = (float(ttest_rel(x, base).pvalue) for x in (one, two))
    assert found["one"].gains["topic"].p == pytest.approx(small)
    assert found["two"].gains["topic"].p == pytest.approx(large)
    assert found["one"].gains["topic"].p_holm == pytest.approx(2 * small)
    assert found["two"].gains["topic"].p_holm == pytest.approx(max(large, 2 * small))
    assert not found["base"].gains["topic"].p


@given(st.lists(st.lists(values, min_size=4, max_size=4, unique=True), min_size=1, max_size=5))
def test_corrected_p_keeps_the_order_and_is_never_smaller(many: list[list[float]]) -> None:
    rows = [row for i, accuracies in enumerate(many) for row in runs("x" * (i + 1), accuracies)]
    found = gained(rows + runs("base!", [1.0, 1.1, 0.9, 1.05]), "base!")
    gains = [row.gains["topic"] for row in found.values() if row.gains["topic"].p is not None]
    gains.sort(key=lambda gain: gain.p or 0)
    corrected = [gain.p_holm or 0 for gain in gains]
    assert corrected == sorted(corrected)
    assert all((gain.p or 0) <= (gain.p_holm or 0) <= 1 for gain in gains)
    if gains:  # Benjamini and Hochberg's correction is weaker
        weaker = false_discovery_control([gain.p or 0 for gain in gains])
        assert all(holm >= weak - 1e-12 for holm, weak in zip(corrected, weaker, strict=True))


def test_two_seeds_are_too_few_and_the_verdict_says_so() -> None:
    found = gained(runs("base", [0.7, 0.71]) + runs("new", [0.8, 0.82]), "base")
    assert found["new"].gains[GAIN].p is None
    assert "2 seeds in common: too few to tell" in verdict([*found.values()])


def test_differences_that_are_all_the_same_have_no_p() -> None:
    found = gained(runs("base", [0.1, 0.2, 0.3]) + runs("new", [0.2, 0.3, 0.4]), "base")
    assert found["new"].gains["topic"].p is None
    assert "always the same" in verdict([*found.values()])


def test_runs_without_a_task_in_common_have_no_gain() -> None:
    found = gained([run("base", 0, topic_accuracy=0.5), run("other", 0, churn_auroc=0.5)], "base")
    assert not found["other"].gains
    assert verdict([*found.values()]).startswith("Nothing can be compared with base")


def test_single_tasks_together_are_a_baseline() -> None:
    alone = [run("topic", 0, topic_accuracy=0.5), run("degree!", 0, degree_mae=2.0)]
    rows = [*alone, run("joint", 0, topic_accuracy=0.6, degree_mae=1.8)]
    add_gains(rows, alone)
    assert rows[2].metrics[GAIN] == pytest.approx((0.2 + 0.1) / 2)


@pytest.mark.parametrize(
    ("name", "seed", "stemmed"),
    [
        ("equal_0", "0", "equal"),
        ("equal-seed=12", "12", "equal"),
        ("equal_s3", "3", "equal"),
        ("trial_003", "3", "trial_003"),
        ("equal0", "0", "equal0"),
        ("0", "0", "0"),
        ("equal_1", "0", "equal_1"),
        ("equal", "", "equal"),
    ],
)
def test_a_seed_at_the_end_of_a_name_is_no_part_of_it(name: str, seed: str, stemmed: str) -> None:
    assert stem(name, seed) == stemmed


def test_of_a_seed_that_was_trained_twice_the_newest_that_finished_counts() -> None:
    rows = [
        run("a", 0, started=3, status="failed"),
        run("a", 0, started=2, topic_accuracy=0.9),
        run("a", 0, started=1, topic_accuracy=0.1),
        run("a", 1, started=1, topic_accuracy=0.7),
    ]
    (row,) = group(rows)
    assert row.metrics[ACCURACY] == pytest.approx(0.8)
    assert row.status == "2 finished"


def test_rows_of_different_tasks_keep_their_order() -> None:
    rows = [run("a", 0, topic_accuracy=0.1, mean_gain=0.1), run("b", 0, churn_auroc=1, mean_gain=1)]
    assert best_first(rows) == rows
    assert "different tasks" in verdict(rows)
    same = [run("a", 0, topic_accuracy=0.1, mean_gain=0.1), run("b", 0, topic_f1=1, mean_gain=1)]
    assert best_first(same) == same[::-1]
    assert verdict(same).startswith("b is the best by its mean gain")


@given(st.dictionaries(st.text(max_size=3), st.tuples(values, values), min_size=1))
def test_nothing_beats_what_is_on_the_front_and_all_else_is_beaten(
    points: dict[str, tuple[float, float]],
) -> None:
    front = undominated(points, 1, -1)
    assert front

    def beaten(name: str) -> bool:
        x, y = points[name]
        return any(a >= x and b <= y and (a, b) != (x, y) for a, b in points.values())

    assert [name for name in points if not beaten(name)] == front


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=1000, unique=True).map(sorted))
def test_thinned_curves_keep_their_ends_and_their_order(steps: list[int]) -> None:
    kept = thinned(steps)
    assert (kept[0], kept[-1]) == (steps[0], steps[-1])
    assert len(kept) == min(len(steps), MAX_POINTS)
    assert kept == sorted({*kept} & {*steps})


def test_a_curve_is_the_mean_of_its_seeds_between_the_lowest_and_the_highest() -> None:
    (row,) = group([run("a", 0), run("a", 1)])
    points = {("a/0/0", "k"): [(1, 0.2), (2, 0.6)], ("a/1/0", "k"): [(1, 0.4)]}
    assert curve(points, row, "k") == ([1, 2], pytest.approx([0.3, 0.6]), [0.2, 0.6], [0.4, 0.6])
    assert best_and_last(points, row, "k") == pytest.approx((0.5, 0.5))
    assert curve(points, row, "other") is None
