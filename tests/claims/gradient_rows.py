"""Rows of the claims on the gradient of the network of sigmoids, and networks to probe."""

import itertools

import jax
import numpy as np
import sigmoids
from gradients import NETS, names_of
from values import SEED, SPLIT


def rows_of(measures, value):
    """Rows whose measures are `value(arm, name, rate)`, give or take a hundredth.

    The name is that of a measure, which may end in `_at_equal_loss`.
    """
    noise = np.random.default_rng(0)
    found = []
    for arm, rate, split in itertools.product(sigmoids.ARMS, sigmoids.RATES, sigmoids.REPEATS):
        row = {"arm": arm, "learning_rate": f"{rate:g}", SPLIT: str(split), SEED: str(split)}
        for name in names_of(measures):
            row[name] = str(value(arm, name, rate) * (1 + 0.01 * noise.random()))
        found.append(row | {"val_accuracy": str(0.9 - 0.01 * rate)})
    return found


def beginning(arm):
    """A network, its first parameters with hidden kernels three times as large, and the data."""
    net, train = NETS[arm], sigmoids.load_split(3)[0]
    params = net.init(jax.random.key(1), train.x[:2], train=True)["params"]
    larger = {f"Dense_{layer}": {"kernel": 3.0, "bias": 1.0} for layer in range(3)}
    factors = {name: larger.get(name, dict.fromkeys(of, 1.0)) for name, of in params.items()}
    return net, jax.tree.map(lambda p, f: p * f, dict(params), factors), train
