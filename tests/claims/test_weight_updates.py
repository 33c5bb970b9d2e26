"""How even the updates of a layer's inputs are: the verdicts, and the training that they are of."""

import itertools

import numpy as np
import pytest
from probes import kernels, make_probed
from values import SEED, SPLIT
from weight_updates import collect
from weight_updates.measure import measure

from jbn.config import ArmConfig, DataConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import load
from jbn.train import make_task


def rows_of(percent):
    """Rows whose spreads are `percent(arm, optimizer)`, give or take a tenth."""
    noise = np.random.default_rng(0)
    found = []
    for optimizer, inputs, arm in itertools.product(collect.RATES, collect.INPUTS, collect.ARMS):
        for (n, rate), split in itertools.product(
            enumerate(collect.RATES[optimizer]), collect.REPEATS
        ):
            row = {"optimizer": optimizer, "inputs": inputs, "arm": arm, "rate": str(n)}
            row |= {"learning_rate": str(rate), SPLIT: str(split), SEED: str(split)}
            row |= dict.fromkeys(collect.MEASURES, "0.9")
            for name in collect.SPREADS:
                row[name] = str((percent(arm, optimizer) + 0.1 * noise.random()) / 100)
            found.append(row)
    return found


@pytest.mark.parametrize(
    ("percent", "verdict"),
    [
        (lambda arm, optimizer: 5 if arm == "batch_norm" else 30, "holds"),
        (lambda arm, optimizer: 20 if arm == "batch_norm" else 30, "holds partly"),
        (lambda arm, optimizer: 30 if arm == "no_norm" else 20, "holds partly"),
        (lambda arm, optimizer: 32 if arm == "no_norm" else 30, "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(percent, verdict):
    finding = measure(rows_of(percent))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert (finding.num_trainings, finding.num_repeats) == (480, 10)


@pytest.mark.slow
def test_the_distances_are_those_of_the_engines_training(monkeypatch):
    """Where the loss is small enough after the first steps that are averaged."""
    monkeypatch.setattr(collect, "UNTIL", 100.0)
    config = ArmConfig(
        data=DataConfig(split_seed=3),
        norm=NormConfig(momentum_warmup=True),
        optimizer=OptimizerConfig(kind="sgd"),
        train=TrainConfig(num_epochs=1),
    )
    dataset = load(config.data)
    task = make_task(config, dataset.spec)
    (found,) = collect.make_run(task, [0.1])(dataset, 0)
    probed = make_probed(
        task,
        lambda task: lambda state, *_: kernels(state.params),
        rates=[0.1],
        num_steps=collect.EVERY,
        every=collect.EVERY,
    )
    traces = probed(dataset, 0)
    assert found["steps"] == collect.EVERY
    for name, trace in zip(collect.SPREADS, traces, strict=True):
        before, after = trace[0].astype(float)
        distances = np.linalg.norm(after - before, axis=-1)
        moved = distances[distances > 0]
        assert (len(moved) < len(distances)) == (name == "spread_1")
        assert found[name] == pytest.approx(moved.std() / moved.mean(), rel=1e-3)


def test_what_learns_too_little_has_no_spread(monkeypatch):
    monkeypatch.setattr(collect, "UNTIL", -1.0)
    config = ArmConfig(train=TrainConfig(num_epochs=1))
    dataset = load(config.data)
    (found,) = collect.make_run(make_task(config, dataset.spec), [1e-3])(dataset, 0)
    assert np.isnan([found[name] for name in ("steps", *collect.SPREADS)]).all()
    assert found["test_accuracy"] > 0.5
