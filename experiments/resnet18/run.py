"""ResNet-18 with Flax's batch norm and with jbn's: loss curves from the same variables.

    python experiments/resnet18/run.py && python experiments/write_numbers.py

In Linen and in NNX. Handwritten digits of 8×8 pixels, batches of 32, SGD with momentum, 30 steps.
To tell the norm from the rounding, which differs between any two programs: Flax's norm also with
its other variance, and from variables that are larger by their last bit. With the last scale of
each block starting at 0, and at 1. Prints how far the curves are from Flax's and writes
`results.json` beside this file.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import nnx
from nnx_resnet import ResNet18

import jbn.linen
import jbn.nnx
from jbn.config import DataConfig
from jbn.data import load
from jbn.environment import describe_environment
from jbn.models.resnet import resnet18

NUM_STEPS, BATCH_SIZE = 30, 32
LEARNING_RATE, MOMENTUM = 0.001, 0.9
OPTIMIZER = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
SEEDS = range(3)
STARTS = {"0": True, "1": False}  # of the last scale of each block: whether that is zero
# In each arm: whose norm, its options, and the factor of the variables that it starts from.
ARMS = {
    "Flax": ("flax", {}, 1.0),
    "jbn": ("jbn", {}, 1.0),
    "Flax, accurate": ("flax", {"use_fast_variance": False}, 1.0),
    "Flax, last bit": ("flax", {}, 1.0 + float(jnp.finfo(jnp.float32).eps)),
}


def mean_loss(logits, labels):
    """In nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@functools.cache
def linen_functions(arm, zero_last_scale):
    """The arm's `init(key, x)` and `train_step(variables, opt_state, x, y)`, compiled."""
    library, options, factor = ARMS[arm]
    norm = functools.partial({"flax": nn.BatchNorm, "jbn": jbn.linen.BatchNorm}[library], **options)
    model = resnet18(num_classes=10, stem="cifar", norm=norm, zero_last_scale=zero_last_scale)

    def init(key, x):
        variables = model.init(key, x, train=True)
        return jax.tree.map(lambda v: v * factor, variables)

    def train_step(variables, opt_state, x, y):
        def loss(params):
            logits, updates = model.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return mean_loss(logits, y), updates

        params = variables["params"]
        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = OPTIMIZER.update(gradient, opt_state, params)
        return value, {"params": optax.apply_updates(params, updates), **stats}, opt_state

    return jax.jit(init), jax.jit(train_step)


def linen_curve(arm, zero_last_scale, seed, batches):
    """The loss of each step of a Linen model."""
    init, train_step = linen_functions(arm, zero_last_scale)
    variables = init(jax.random.key(seed), batches[0][0])
    opt_state, losses = OPTIMIZER.init(variables["params"]), []
    for x, y in batches:
        loss, variables, opt_state = train_step(variables, opt_state, x, y)
        losses.append(float(loss))
    return losses


@nnx.jit
def nnx_train_step(model, optimizer, x, y):
    """The loss of a batch, on which model and optimizer then have made a step."""
    loss, gradients = nnx.value_and_grad(lambda model: mean_loss(model(x), y))(model)
    optimizer.update(model, gradients)
    return loss


def nnx_curve(arm, zero_last_scale, seed, batches):
    """The loss of each step of an NNX model."""
    library, options, factor = ARMS[arm]
    norm = functools.partial({"flax": nnx.BatchNorm, "jbn": jbn.nnx.BatchNorm}[library], **options)
    initializer = nnx.initializers.zeros if zero_last_scale else nnx.initializers.ones
    model = ResNet18(10, norm=norm, channels_in=1, last_scale_init=initializer, rngs=nnx.Rngs(seed))
    nnx.update(model, jax.tree.map(lambda v: v * factor, nnx.state(model)))
    model.train()
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)
    return [float(nnx_train_step(model, optimizer, x, y)) for x, y in batches]


def largest_relative_difference(curve, other) -> float:
    """Over the steps."""
    return float(np.max(np.abs(np.subtract(curve, other)) / np.abs(other)))


def main() -> None:
    """Trains, prints and writes the JSON."""
    train = load(DataConfig()).train
    images, labels = (v[: NUM_STEPS * BATCH_SIZE] for v in (train.x, train.y))
    batches = list(
        zip(
            images.reshape(NUM_STEPS, BATCH_SIZE, 8, 8, 1),
            labels.reshape(NUM_STEPS, BATCH_SIZE),
            strict=True,
        )
    )
    result = {
        "command": "python experiments/resnet18/run.py",
        "environment": describe_environment(jax.devices()[0]),
        "num_steps": NUM_STEPS,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "momentum": MOMENTUM,
        "runs": [],
    }
    for api, curve in (("Linen", linen_curve), ("NNX", nnx_curve)):
        for start, zero_last_scale in STARTS.items():
            for seed in SEEDS:
                losses = {arm: curve(arm, zero_last_scale, seed, batches) for arm in ARMS}
                differences = {
                    arm: largest_relative_difference(losses[arm], losses["Flax"])
                    for arm in ARMS
                    if arm != "Flax"
                }
                run = {"api": api, "last_scale": start, "seed": seed}
                result["runs"].append({**run, "from_flax": differences, "losses": losses})
                print(f"{api}, last scales from {start}, seed {seed}: ", end="")
                print(f"loss {losses['jbn'][0]:.3f} to {losses['jbn'][-1]:.3f}; ", end="")
                print(", ".join(f"{arm} {d:.1e}" for arm, d in differences.items()), flush=True)
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
