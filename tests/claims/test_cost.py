"""What the verdict on the cost of normalization rests on: shares of the time, in each process."""

import itertools

import numpy as np
import pytest
from cost.measure import measure, seconds_of

NUM_PROCESSES, NUM_ROUNDS = 10, 5
PROGRAMS = [
    ("statistics", "standardized"),
    *(("epoch", arm) for arm in ("plain", "standardized", "batch_norm")),
    *(("prediction", arm) for arm in ("plain", "batch_norm")),
]


def rows_of(of_inputs, of_batch):
    """Rows of epochs that take 1 s, and so much more with each of the two."""
    noise, rows = np.random.default_rng(0), []
    more = {"standardized": of_inputs, "batch_norm": of_batch}
    for pixels, (what, arm) in itertools.product(("784", "64"), PROGRAMS):
        seconds = 0.01 if what == "statistics" else 1 + more.get(arm, 0)
        for process, number in itertools.product(range(NUM_PROCESSES), range(NUM_ROUNDS)):
            row = {"pixels": pixels, "what": what, "arm": arm, "process": str(process)}
            found = seconds + 0.001 * noise.random()
            rows.append(row | {"round": str(number), "seconds": str(found)})
    return rows


@pytest.mark.parametrize(
    ("of_inputs", "of_batch", "verdict"),
    [(0.3, 0.1, "holds"), (0.05, 0.01, "holds partly"), (0.05, 0.3, "refuted")],
)
def test_the_verdict_is_that_of_the_rule(of_inputs, of_batch, verdict):
    finding = measure(rows_of(of_inputs, of_batch))
    assert finding.verdict == verdict
    assert (finding.num_repeats, finding.repeats) == (NUM_PROCESSES, "processes")
    assert {len(row) for row in finding.rows} == {len(finding.headings)}


def test_shares_are_of_ten_epochs_with_the_statistics_once():
    found = {of.name: of.effect.value for of in measure(rows_of(0.05, 0.2)).judged}
    # (0.01 + 10 * 0.05) / 10, and 0.2 less of it.
    assert found["64 pixels: input normalization is heavy"] == pytest.approx(5.1, abs=0.1)
    assert found["64 pixels: batch norm takes less"] == pytest.approx(5.1 - 20, abs=0.1)


def test_seconds_stay_with_their_process_and_round():
    rows = [
        {"what": "epoch", "arm": "plain", "process": str(p), "seconds": str(10 * p + r)}
        for r, p in itertools.product(range(3), range(2))
    ]
    np.testing.assert_array_equal(seconds_of(rows)["epoch", "plain"], [[0, 1, 2], [10, 11, 12]])
