"""Time to a target: steps of `convergence` times what a step takes."""

import itertools

import numpy as np
import pytest
from convergence.collect import ARMS, MEASURES, NETWORKS, REPEATS, Network
from training_time import collect
from training_time.measure import PREDICTED, measure
from values import SEED, SPLIT

from jbn.config import ArmConfig, DataConfig, ModelConfig, TrainConfig


def rows_of(steps, seconds):
    """Rows of so many steps, which take so long, give or take 1%: by network and arm."""
    noise, rows = np.random.default_rng(0), []
    for title, arm, split in itertools.product(NETWORKS, ARMS, REPEATS):
        row = {"network": title, "arm": arm, SPLIT: str(split), SEED: str(split)}
        row |= dict.fromkeys(MEASURES.values(), str(steps(title, arm)))
        rows.append(row | {collect.SECONDS: str(seconds(arm) * (1 + 0.01 * noise.random()))})
    return rows


def more(arm, factor):
    return factor if arm == "no_norm" else 1


@pytest.mark.parametrize(
    ("steps", "seconds", "verdict"),
    [
        (lambda title, arm: 50 * more(arm, 2), lambda arm: 1e-4, "holds"),
        (lambda title, arm: 50, lambda arm: 1e-4 * more(arm, 2), "holds"),
        # Half of the steps, which take twice as long.
        (lambda title, arm: 50 * more(arm, 2), lambda arm: 1e-4 / more(arm, 2), "refuted"),
        (
            lambda title, arm: 50 * more(arm, 2 if "sigmoids" in title else 1),
            lambda arm: 1e-4,
            "holds partly",
        ),
        (lambda title, arm: np.inf, lambda arm: 1e-4, "not shown"),
    ],
)
def test_a_verdict_is_on_how_often_the_time_is_halved(steps, seconds, verdict):
    finding = measure(rows_of(steps, seconds))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert finding.num_repeats == 10
    assert len(finding.panels) == len(finding.judged) == len(PREDICTED)


def test_each_split_has_its_own_process_and_the_steps_of_its_best_rate(monkeypatch):
    network = Network(ArmConfig(), ARMS, (80,), rates=(0.1, 0.2), num_steps=100, every=5)
    monkeypatch.setattr(collect, "NETWORKS", {"x": network})
    steps = {"0.1": 10, "0.2": 40}
    table = [
        {"network": "x", "arm": arm, "learning_rate": rate, SPLIT: str(split), SEED: str(seed)}
        | dict.fromkeys(MEASURES.values(), str(found * 4**seed if arm == "no_norm" else np.inf))
        for arm, (rate, found), split, seed in itertools.product(
            ARMS, steps.items(), (200, 201, 202), (0, 1)
        )
    ]
    monkeypatch.setattr(collect, "read_rows", lambda path: table)
    monkeypatch.setattr(
        collect,
        "ask_processes",
        lambda program, num_processes: [
            {"x": {"batch_norm": 1.0 + n, "no_norm": 2.0 + n}} for n in range(num_processes)
        ],
    )
    rows, _ = collect.rows([200, 201])
    found = {(row["arm"], row[SPLIT]): (row["steps_to_80"], row[collect.SECONDS]) for row in rows}
    assert found == {
        ("batch_norm", "200"): ("inf", "1"),
        ("batch_norm", "201"): ("inf", "2"),
        ("no_norm", "200"): ("20", "2"),
        ("no_norm", "201"): ("20", "3"),
    }


def test_a_step_is_timed_in_each_network_and_arm(monkeypatch):
    shared = ArmConfig(
        data=DataConfig(name="wine"),
        model=ModelConfig(hidden_sizes=(5,)),
        train=TrainConfig(batch_size=16),
    )
    network = Network(shared, ARMS, (80,), rates=(0.1,), num_steps=9, every=9)
    monkeypatch.setattr(collect, "NETWORKS", {"x": network})
    monkeypatch.setattr(collect, "NUM_ROUNDS", 2)
    found = collect.measure_seconds()
    assert found.keys() == {"x"}
    assert found["x"].keys() == ARMS.keys()
    assert all(0 < seconds < 1 for seconds in found["x"].values())
