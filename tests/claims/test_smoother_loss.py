"""The gradient's fluctuation: its verdicts, and what a probe finds, in float64."""

import gradients
import jax
import numpy as np
import pytest
import sigmoid_nets
from gradient_rows import beginning, rows_of
from smoother_loss import collect
from smoother_loss.measure import measure


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (lambda arm, name, rate: 1 + 3 * (arm == "no_norm"), "holds"),
        (lambda arm, name, rate: 1 + 3 * (arm == "no_norm" and "along" in name), "holds partly"),
        (lambda arm, name, rate: 1 + 3 * (arm == "no_norm" and rate == 0.3), "holds partly"),
        (lambda arm, name, rate: 1 + 3 * (arm == "no_norm" and "equal" in name), "holds partly"),
        (lambda arm, name, rate: 1 + 0.5 * (arm == "no_norm"), "refuted"),
        (lambda arm, name, rate: 1 + 3 * (arm == "batch_norm"), "refuted"),
    ],
)
def test_verdicts_are_those_of_the_rule(value, verdict):
    finding = measure(rows_of(collect.MEASURES, value))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert (finding.num_trainings, finding.num_repeats, finding.unit) == (
        100,
        10,
        "halvings (1: half, 2: a quarter)",
    )


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("arm", gradients.NETS)
def test_a_probe_finds_what_float64_finds(arm, monkeypatch):
    monkeypatch.setattr(collect, "STEPS", (0.5, 2.0))
    net, params, train = beginning(arm)
    key = jax.random.key(0)
    found = jax.jit(lambda p: collect.fluctuations(net, p, 0.3, train, key))(params)
    x, y = np.asarray(train.x[:256]), np.asarray(train.y[:256])
    loss, gradient = sigmoid_nets.loss_and_gradient(params, x, y)
    losses, changes = [loss], []
    for length in (0.15, 0.6):
        there = sigmoid_nets.stepped(params, gradient, length)
        of, changed = sigmoid_nets.loss_and_gradient(there, x, y)
        losses.append(of)
        changes.append(np.linalg.norm(flat(changed) - flat(gradient)))
    batches = gradients.batches_of(train, key)
    of_batches = [
        flat(sigmoid_nets.loss_and_gradient(params, x, y)[1])
        for x, y in zip(*map(np.asarray, batches), strict=True)
    ]
    mean = np.mean(of_batches, 0)
    wanted = {
        "loss": loss,
        "loss_range": np.ptp(losses),
        "along_step": max(changes) / np.linalg.norm(flat(gradient)),
        "over_batches": np.square(of_batches - mean).sum(-1).mean() / np.square(mean).sum(),
    }
    for name, of in wanted.items():
        assert float(found[name]) == pytest.approx(of, rel=1e-3), name


def test_means_are_over_the_epochs_and_those_of_equal_loss():
    trace = dict.fromkeys(("val_accuracy", "test_accuracy"), np.linspace(0, 1, 61))
    trace["loss"] = np.where(np.arange(61) < 10, 2.0, np.where(np.arange(61) < 30, 0.5, 0.01))
    trace["size"] = np.where((np.arange(61) >= 10) & (np.arange(61) < 30), 8.0, 1.0)
    found = gradients.columns_of(trace, ["size"])
    assert tuple(found) == gradients.names_of(["size"])
    assert found["size"] == pytest.approx(8 ** (20 / 60))
    assert (found["size_at_equal_loss"], found["loss_at_equal_loss"]) == pytest.approx((8, 0.5))
    assert (found["size_5"], found["size_20"], found["loss_60"]) == (1, 8, 0.01)
