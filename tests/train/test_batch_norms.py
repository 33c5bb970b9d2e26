"""Batch norm, ghost norm and renorm in training: warm-up, new statistics; batches of one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import close, normal

from jbn.config import ArmConfig, ModelConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import Examples
from jbn.train import (
    DataSpec,
    Hypers,
    TrainKeys,
    batches_to_evaluate,
    final_variables,
    make_task,
    run_epoch,
    run_training,
)

X = 2 + 3 * normal(48, 4)
EXAMPLES = Examples(X, jnp.arange(48) % 3)
SPEC = DataSpec(num_examples=48, features=(4,), num_classes=3)
KEYS = TrainKeys.of(jax.random.key(0))
every_kind = pytest.mark.parametrize("kind", ["batch", "ghost", "renorm"])


def config_of(kind, *, hidden_sizes=(8,), accumulate=1, norm=None, **train):
    return ArmConfig(
        model=ModelConfig(hidden_sizes=hidden_sizes),
        norm=NormConfig(kind=kind, num_plain_steps=0, **(norm or {})),
        optimizer=OptimizerConfig(accumulate=accumulate),
        train=TrainConfig(order="fixed", **train),
    )


def initial(config):
    return make_task(config, SPEC).init(KEYS, Hypers.of(config))


@every_kind
@pytest.mark.parametrize("momentum", [1.0, 0.5])
def test_warmed_up_statistics_are_those_of_all_batches_and_of_no_initial_values(kind, momentum):
    """Of parameters that don't move, as their step is one of 12 batches; in two parts of a run."""
    norm = {"momentum": momentum, "momentum_warmup": True, "virtual_batch_size": 4}
    config = config_of(kind, norm=norm, accumulate=12, num_epochs=2, batch_size=8)
    hypers, state = Hypers.of(config), initial(config)
    dense, val = state.params["Dense_0"], batches_to_evaluate(EXAMPLES)
    epoch = jax.jit(functools.partial(run_epoch, make_task(config, SPEC)))
    for _ in range(2):
        state = jax.tree.map(np.asarray, state)  # as if stored and loaded
        state, _ = epoch(state, EXAMPLES, val, KEYS, hypers)
    hidden = np.maximum(np.asarray(X, np.float64) @ dense["kernel"], 0).reshape(6, 8, 8)
    # The weights of the batches, written out: of all alike, or halved with each batch.
    weights = {1.0: np.ones(12), 0.5: 0.5 ** np.array([11, *range(11, 0, -1)])}[momentum]
    means, variances = (np.tile(v, (2, 1)) for v in (hidden.mean(1), hidden.var(1)))
    (stats,) = state.collections["batch_stats"].values()
    close(stats["mean"], np.average(means, axis=0, weights=weights), 1e-5)
    close(stats["var"], np.average(variances, axis=0, weights=weights), 1e-5)
    assert stats.get("step", 12) == 12


@pytest.mark.parametrize("kind", ["ghost", "renorm"])
def test_recomputed_statistics_are_batch_norms_and_owe_nothing_to_old_ones(kind):
    """Batches of 20, which 48 examples aren't; so they are of 24, which groups of 5 don't make."""
    options = {"hidden_sizes": (8, 4), "recompute_stats": True, "batch_size": 20}

    def final(kind, change):
        config = config_of(kind, norm={"virtual_batch_size": 5}, **options)
        state = initial(config)
        state = state._replace(collections=jax.tree.map(change, state.collections))
        task, hypers = make_task(config, SPEC), Hypers.of(config)
        new = final_variables(task, state, X, KEYS, hypers)["batch_stats"]
        return {re.sub("^.*Batch(Norm|Renorm)", "", layer): v for layer, v in new.items()}

    wanted = final("batch", lambda old: old)
    found = final(kind, lambda old: 3 * old + 7)
    for layer, stats in found.items():
        assert stats.pop("step", 7) == 7
        close(stats, wanted[layer], 1e-5)


@pytest.mark.parametrize("kind", ["layer", "none"])
def test_what_needs_no_batch_learns_of_batches_of_one(kind):
    config = config_of(kind, batch_size=1, num_epochs=5)
    x = X.at[:, :3].add(9 * jax.nn.one_hot(EXAMPLES.y, 3))
    examples = EXAMPLES._replace(x=x)
    train = jax.jit(functools.partial(run_training, make_task(config, SPEC)))
    _, metrics = train(jax.random.key(0), examples, examples, Hypers.of(config))
    assert metrics.val["accuracy"][-1] > 0.6
