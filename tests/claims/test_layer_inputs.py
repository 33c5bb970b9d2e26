"""The drift of layer inputs: its verdicts, and the training that it is of."""

import itertools

import jax
import numpy as np
import pytest
import sigmoid_nets
import sigmoids
from layer_inputs import collect
from layer_inputs.measure import measure
from values import SEED, SPLIT

from jbn.data import epoch_rows


def rows_of(drift):
    """Rows whose drifts are `drift(arm, rate, epoch)`, give or take a hundredth."""
    noise = np.random.default_rng(0)
    found = []
    for arm, rate, split in itertools.product(sigmoids.ARMS, sigmoids.RATES, sigmoids.REPEATS):
        row = {"arm": arm, "learning_rate": f"{rate:g}", SPLIT: str(split), SEED: str(split)}
        row |= dict.fromkeys(collect.MEASURES, "0.5") | {"val_accuracy": str(0.9 - 0.1 * rate)}
        for epoch, name in enumerate(collect.DRIFTS, 1):
            row[name] = str(drift(arm, rate, epoch) * (1 + 0.01 * noise.random()))
        found.append(row)
    return found


@pytest.mark.parametrize(
    ("drift", "verdict"),
    [
        (lambda arm, rate, epoch: 1 + 3 * (arm == "no_norm"), "holds"),
        (lambda arm, rate, epoch: 1 + 3 * (arm == "no_norm" and rate == 0.3), "holds partly"),
        (lambda arm, rate, epoch: 1 + 3 * (arm == "no_norm" and epoch < 6), "holds partly"),
        (lambda arm, rate, epoch: 1 + 0.5 * (arm == "no_norm"), "refuted"),
        (lambda arm, rate, epoch: 1 + 3 * (arm == "batch_norm"), "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(drift, verdict):
    finding = measure(rows_of(drift))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert (finding.num_trainings, finding.num_repeats) == (100, 10)


def parameters(net, params, rate, train, key):
    return {"params": params}


@pytest.mark.parametrize("arm", ["batch_norm", "no_norm"])
def test_an_epoch_is_gradient_descent_in_float64(arm, monkeypatch):
    monkeypatch.setattr(sigmoids, "RATES", (0.1, 1.0))
    found = sigmoids.train_probed(collect.NETS[arm], parameters, [2, 3], num_epochs=1)
    x, y = sigmoids.load_split(3)[0]
    order_key = jax.random.split(jax.random.key(3), 3)[1]
    rows = epoch_rows(jax.random.split(order_key, 1)[0], y, sigmoids.BATCH_SIZE)
    of = jax.tree.map(lambda v: v[1, 1], found["params"])
    params = jax.tree.map(lambda v: v[0], of)
    for batch in np.asarray(rows)[: len(y) // 60 * 60].reshape(-1, 60):
        _, gradient = sigmoid_nets.loss_and_gradient(params, x[batch], y[batch])
        params = sigmoid_nets.stepped(params, gradient, 1.0)
    jax.tree.map(
        lambda v, wanted: np.testing.assert_allclose(v[1], wanted, rtol=1e-3, atol=1e-4), of, params
    )
