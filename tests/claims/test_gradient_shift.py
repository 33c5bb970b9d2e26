"""The shift of a layer's gradient: its verdicts, and what a probe finds, in float64."""

import gradients
import jax
import numpy as np
import pytest
import sigmoid_nets
from gradient_rows import beginning, rows_of
from gradient_shift import collect
from gradient_shift.measure import measure


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (lambda arm, name, rate: 1 + 3 * (arm == "no_norm"), "holds"),
        (lambda arm, name, rate: 1 + 3 * (arm == "no_norm" and "angle" in name), "holds partly"),
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


@pytest.mark.parametrize("arm", gradients.NETS)
def test_a_probe_finds_what_float64_finds(arm):
    net, params, train = beginning(arm)
    key = jax.random.key(0)
    found = jax.jit(lambda p: collect.shifts(net, p, 0.3, train, key))(params)
    wanted = []
    batches = map(np.asarray, gradients.batches_of(train, key))
    for x, y in list(zip(*batches, strict=True))[:4]:
        _, gradient = sigmoid_nets.loss_and_gradient(params, x, y)
        after = sigmoid_nets.stepped(params, gradient, 0.3)
        for layer in (1, 2, 3):
            before = [f"{kind}_{n}" for n in range(layer) for kind in ("Dense", "BatchNorm")]
            mixed = {name: after[name] if name in before else of for name, of in params.items()}
            _, shifted = sigmoid_nets.loss_and_gradient(mixed, x, y)
            old, new = (of[f"Dense_{layer}"]["kernel"] for of in (gradient, shifted))
            sizes = np.linalg.norm(old), np.linalg.norm(new)
            angle = np.degrees(np.arccos((old * new).sum() / np.prod(sizes)))
            distance = np.linalg.norm(old - new)
            wanted.append((distance, angle, distance / sizes[0]))
    means = np.exp(np.log(wanted).mean(0))
    for name, of in zip(collect.MEASURES, means, strict=True):
        assert float(found[name]) == pytest.approx(of, rel=5e-3), name
