"""Gradients of untrained networks: the verdicts, and the gradient in each layer."""

import functools
import itertools

import jax
import numpy as np
import pytest
import untrained_gradients.collect as collect
import untrained_gradients.measure as measured
from values import SEED, SPLIT, label

from jbn.config import ArmConfig, NormConfig
from jbn.data import Batch, load
from jbn.train import Hypers, TrainKeys, make_task


def rows_of(growth):
    """Rows of ten splits, whose gradients grow by `growth(network, arm)` in each layer."""
    noise, rows = np.random.default_rng(0), []
    for network, arm, split in itertools.product(collect.NETWORKS, collect.ARMS, collect.REPEATS):
        row = {"network": network, "arm": arm, SPLIT: str(split), SEED: str(split), "error": "1"}
        norms = growth(network, arm) ** np.arange(collect.DEPTH - 1.0, -1, -1)
        norms *= 1 + 0.01 * noise.random(collect.DEPTH)
        rows.append(row | dict(zip(measured.LAYERS, map(label, norms.tolist()), strict=True)))
    return rows


CASES = [
    (lambda network, arm: 1.2 if arm == "no_norm" else 1.0, "holds"),
    (lambda network, arm: 1.2 if (network, arm) == ("width 64", "no_norm") else 1, "holds partly"),
    (lambda network, arm: 1.2 if arm == "batch_norm" else 1.0, "refuted"),
    (lambda network, arm: 1.0, "refuted"),
]


@pytest.mark.parametrize(("growth", "verdict"), CASES)
def test_verdicts_are_those_of_the_rule(growth, verdict):
    finding = measured.measure(rows_of(growth))
    assert finding.verdict == verdict
    assert {len(row) for row in finding.rows} == {len(finding.headings)}
    assert finding.num_repeats == 10


@pytest.mark.slow
def test_gradients_are_those_of_the_articles_network(monkeypatch):
    """The engine's own multilayer perceptron with the same weights; of a split no claim knows."""
    monkeypatch.setattr(collect, "DEPTH", 3)
    config = ArmConfig(norm=NormConfig(kind="batch"))
    network = collect.Network(16, collect.HE)
    datasets = [load(config.data.model_copy(update={"split_seed": split})) for split in (3, 4)]
    found = collect.untrained(config, network, datasets, [5, 6])
    deep = functools.partial(collect.Deep, depth=3, case=network.case, width=16)
    hypers = Hypers.of(config)._replace(init_gain=np.float32(network.case.gain))
    keys = TrainKeys.of(jax.random.key(6))
    state = make_task(config, datasets[1].spec, model=deep).init(keys, hypers)
    model = config.model.model_copy(update={"hidden_sizes": (16,) * 3})
    mlp = make_task(config.model_copy(update={"model": model}), datasets[1].spec)
    layers = [state.params["first"]] + [
        jax.tree.map(lambda leaf, n=n: leaf[n], state.params["others"]) for n in range(2)
    ]
    params = {f"Dense_{n}": layer["Dense_0"] for n, layer in enumerate(layers)}
    params["Dense_3"] = state.params["logits"]
    of_mlp = mlp.init(keys, hypers)
    params = of_mlp.params | params
    examples = Batch(*(v[: collect.NUM_EXAMPLES] for v in datasets[1].train))
    gradient, *_ = mlp.gradient(of_mlp._replace(params=params), examples, keys, hypers)
    for n in range(3):
        size = np.linalg.norm(gradient[f"Dense_{n}"]["kernel"])
        assert found[f"layer_{n + 1}"].shape == (2,)
        assert found[f"layer_{n + 1}"][1] == pytest.approx(size, rel=1e-3)
