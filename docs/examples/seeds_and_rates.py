# %% [markdown]
# # Seeds and learning rates in one program
#
# A whole training is a pure function of a seed and of numbers. `jax.vmap` makes many of it, and
# `jax.jit` compiles them as one: here six learning rates from four seeds each, with batch
# normalization and without.

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from jbn.config import ArmConfig, DataConfig, ModelConfig, NormConfig, OptimizerConfig, TrainConfig
from jbn.data import DataSpec, Examples, fit_inputs, load
from jbn.train import Hypers, make_task, run_training

digits = load(DataConfig())
train, val = (
    Examples(jnp.asarray(part.x), jnp.asarray(part.y)) for part in (digits.train, digits.val)
)
spec = DataSpec(
    num_examples=len(digits.train.x),
    features=digits.train.x.shape[1:],
    num_classes=10,
    input_stats=fit_inputs(DataConfig(), digits.train.x),
)

# %% [markdown]
# ## The lanes
#
# `run_training` trains from one seed at one rate. A `vmap` over seeds and a `vmap` over rates make
# a grid of it. Only the learning rate differs from lane to lane, so `in_axes` has a 0 there.

# %%
rates = jnp.logspace(-2, 0.5, 6)
seeds = jax.vmap(jax.random.key)(jnp.arange(4))


def train_grid(kind):
    config = ArmConfig(
        model=ModelConfig(hidden_sizes=[64]),
        norm=NormConfig(kind=kind),
        optimizer=OptimizerConfig(kind="sgd"),
        train=TrainConfig(num_epochs=2, batch_size=32),
    )
    task = make_task(config, spec)
    hypers = Hypers.of(config)._replace(learning_rate=rates)
    by_rate = Hypers(*[None] * len(Hypers._fields))._replace(learning_rate=0)
    of_seeds = jax.vmap(functools.partial(run_training, task), in_axes=(0, None, None, None))
    grid = jax.vmap(of_seeds, in_axes=(None, None, None, by_rate))
    _, metrics = jax.jit(grid)(seeds, train, val, hypers)
    return np.asarray(metrics.val["accuracy"][:, :, -1])  # (rates, seeds), after the last epoch


accuracies = {kind: train_grid(kind) for kind in ("batch", "none")}

# %% [markdown]
# ## What comes out
#
# With batch normalization more rates work, at both ends.

# %%
print("rate      batch norm      no norm")
for number, rate in enumerate(rates):
    cells = [
        f"{of_kind[number].mean():.2f} ± {of_kind[number].std():.2f}"
        for of_kind in accuracies.values()
    ]
    print(f"{rate:7.4f}   {cells[0]}     {cells[1]}")

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for kind, label in [("batch", "batch norm"), ("none", "no norm")]:
    mean, spread = accuracies[kind].mean(1), accuracies[kind].std(1)
    axes.plot(rates, mean, marker="o", label=label)
    axes.fill_between(rates, mean - spread, mean + spread, alpha=0.2)
axes.set(xscale="log", xlabel="learning rate", ylabel="validation accuracy")
axes.legend()
figure.savefig("seeds_and_rates.svg")
