"""ResNet-18 in NNX with Flax's batch norm and with jbn's: loss curves from the same variables.

    python experiments/nnx_resnet18/run.py && python experiments/write_numbers.py

Handwritten digits of 8×8 pixels, batches of 32, SGD with momentum, 30 steps. To tell the norm from
the rounding, which differs between any two programs: Flax's norm also with its other variance, and
from variables that are larger by their last bit. With the last scale of each block starting at 0,
and at 1. Prints how far the curves are from Flax's and writes `results.json` beside this file.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from resnet import ResNet18

import jbn.nnx
from jbn.config import DataConfig
from jbn.data import load
from jbn.environment import describe_environment

NUM_STEPS, BATCH_SIZE = 30, 32
LEARNING_RATE, MOMENTUM = 0.001, 0.9
OPTIMIZER = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
SEEDS = range(3)
STARTS = {"0": nnx.initializers.zeros, "1": nnx.initializers.ones}
# In each arm: the norm, and the factor of the variables that it starts from.
ARMS = {
    "Flax": (nnx.BatchNorm, 1.0),
    "jbn": (jbn.nnx.BatchNorm, 1.0),
    "Flax, accurate": (functools.partial(nnx.BatchNorm, use_fast_variance=False), 1.0),
    "Flax, last bit": (nnx.BatchNorm, 1.0 + float(jnp.finfo(jnp.float32).eps)),
}


@nnx.jit
def train_step(model, optimizer, x, y):
    """The loss of a batch, on which model and optimizer then have made a step."""

    def mean_loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    loss, gradients = nnx.value_and_grad(mean_loss)(model)
    optimizer.update(model, gradients)
    return loss


def loss_curve(model, images, labels) -> list[float]:
    """The loss of each step, on one batch after the other."""
    model.train()
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)
    batches = (range(i * BATCH_SIZE, (i + 1) * BATCH_SIZE) for i in range(NUM_STEPS))
    rows = [np.asarray(batch) for batch in batches]
    return [float(train_step(model, optimizer, images[r], labels[r])) for r in rows]


def curves(last_scale_init, seed, images, labels) -> dict[str, list[float]]:
    """Each arm's loss curve, from the variables of the first."""
    make = functools.partial(
        ResNet18, 10, channels_in=1, last_scale_init=last_scale_init, rngs=nnx.Rngs(seed)
    )
    first = nnx.state(make(norm=nnx.BatchNorm))
    found = {}
    for name, (norm, factor) in ARMS.items():
        model = make(norm=norm)
        nnx.update(model, jax.tree.map(lambda v, factor=factor: v * factor, first))
        found[name] = loss_curve(model, images, labels)
    return found


def largest_relative_difference(curve, other) -> float:
    """Over the steps."""
    return float(np.max(np.abs(np.subtract(curve, other)) / np.abs(other)))


def main() -> None:
    """Trains, prints and writes the JSON."""
    train = load(DataConfig()).train
    images, labels = train.x.reshape(-1, 8, 8, 1), train.y
    result = {
        "command": "python experiments/nnx_resnet18/run.py",
        "environment": describe_environment(jax.devices()[0]),
        "num_steps": NUM_STEPS,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "momentum": MOMENTUM,
        "runs": [],
    }
    for start, last_scale_init in STARTS.items():
        for seed in SEEDS:
            losses = curves(last_scale_init, seed, images, labels)
            differences = {
                name: largest_relative_difference(curve, losses["Flax"])
                for name, curve in losses.items()
                if name != "Flax"
            }
            result["runs"].append(
                {"last_scale": start, "seed": seed, "from_flax": differences, "losses": losses}
            )
            print(f"last scales from {start}, seed {seed}: ", end="")
            print(f"loss {losses['jbn'][0]:.3f} to {losses['jbn'][-1]:.3f}; from Flax's: ", end="")
            print(", ".join(f"{name} {d:.1e}" for name, d in differences.items()), flush=True)
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
