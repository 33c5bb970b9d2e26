"""What is judged of the statistics that a network is evaluated with, and what is computed."""

import itertools

import evaluation_statistics.collect as collect
import jax
import numpy as np
import pytest
from evaluation_statistics.measure import measure
from values import SEED, SPLIT

from jbn.config import config_from_dict
from jbn.run import run
from jbn.store import read_trials

STATISTICS = [
    *(f"running {momentum:g}" for momentum in collect.MOMENTA),
    *(f"recomputed {number}" for number in collect.NUM_EXAMPLES),
]


def rows_of(accuracy):
    """Rows with test accuracies of `accuracy(statistics, batch size)`, less noise."""
    noise, rows = np.random.default_rng(0), []
    epochs = range(1, collect.NUM_EPOCHS + 1)
    varied = (collect.BATCH_SIZES, STATISTICS, epochs, collect.REPEATS)
    for size, statistics, epoch, split in itertools.product(*varied):
        row = {"batch_size": str(size), "statistics": statistics, "epochs": str(epoch)}
        row |= {SPLIT: str(split), SEED: str(split)}
        found = accuracy(statistics, size) - 0.01 * noise.random()
        rows.append(row | {"test_accuracy": str(found)})
    return rows


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [
        (lambda statistics, size: 0.9 - 0.1 * statistics.startswith("running"), "holds"),
        (lambda statistics, size: 0.9 - 0.1 * (statistics == "running 0.9"), "holds partly"),
        (lambda statistics, size: 0.9, "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(accuracy, verdict):
    finding = measure(rows_of(accuracy))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert set(finding.headline) <= set(finding.panels[0].lines)
    assert (finding.num_repeats, finding.num_trainings) == (10, 5 * 10)


@pytest.mark.slow
def test_both_kinds_of_statistics_are_the_engines(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "BATCH_SIZES", (32,))
    monkeypatch.setattr(collect, "NUM_EPOCHS", 2)
    monkeypatch.setattr(collect, "NUM_EXAMPLES", (1440,))
    rows, _ = collect.rows([3, 4])
    assert len(rows) == 3 * 2 * 2
    table = {
        "name": "x",
        "seed": 4,
        "num_seeds": 1,
        "data": {"split_seed": 4},
        "train": {"num_epochs": 2},
        "arms": {
            "running 0.9": {"norm": {"momentum": 0.9, "momentum_warmup": True}},
            "running 0.99": {"norm": {"momentum_warmup": True}},
            "recomputed 1440": {"train": {"recompute_stats": True}},
        },
    }
    run(config_from_dict(table), tmp_path, device=jax.devices()[0])
    trials = read_trials(tmp_path)
    wanted = dict(zip(trials["arm"], trials["test_accuracy"], strict=True))
    found = {
        row["statistics"]: float(row["test_accuracy"])
        for row in rows
        if (row[SPLIT], row["epochs"]) == ("4", "2")
    }
    assert found == pytest.approx(wanted, abs=1e-5)
    assert len(set(found.values())) > 1
