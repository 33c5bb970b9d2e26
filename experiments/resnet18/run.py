"""ResNet-18 with Flax's batch norm and with jbn's: loss curves from the same variables.

    python experiments/resnet18/run.py && python experiments/write_numbers.py

In Linen and in NNX. Handwritten digits of 8×8 pixels, batches of 32, SGD with momentum, 30 steps.
To tell the norm from the rounding, which differs between any two programs: Flax's norm also with
its other variance, and from variables that differ in their last bit. With the last scale of each
block starting at 0, and at 1; and from 1, where the network learns, in float64 as well, where
rounding is 2**29 times finer, and there also from variables that differ in float32's last bit.
Prints how far the curves are from Flax's and writes `results.json` beside this file, with how many
inputs of a ReLU have another sign in each step of those from float32's last bit.
"""

import functools
import json
from pathlib import Path
from typing import Any

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
from jbn.data import load, normalize_inputs
from jbn.environment import describe_environment
from jbn.models.resnet import BasicBlock, resnet18

NUM_STEPS, BATCH_SIZE = 30, 32
LEARNING_RATE, MOMENTUM = 0.001, 0.9
OPTIMIZER = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
STARTS = {"0": True, "1": False}  # of the last scale of each block: whether that is zero
# In each arm: whose norm, its options, and the dtype in whose last bit its first variables differ.
ARMS = {
    "Flax": ("flax", {}, None),
    "jbn": ("jbn", {}, None),
    "Flax, accurate": ("flax", {"use_fast_variance": False}, None),
    "Flax, last bit": ("flax", {}, "its own"),
}
FLOAT64_ARMS = {**ARMS, "Flax, float32's last bit": ("flax", {}, "float32")}
# In each setting: dtype, start, seeds and arms.
SETTINGS = [
    *(("float32", start, range(3), ARMS) for start in STARTS),
    ("float64", "1", range(2), FLOAT64_ARMS),
]


def first_variables(variables, dtype, differ_in):
    """The variables in the dtype; or in the last bit, at random, of another or of its own."""
    rng = np.random.default_rng(0)
    eps = 0.0
    if differ_in is not None:
        eps = float(jnp.finfo(dtype if differ_in == "its own" else differ_in).eps)

    def first(value):
        factor = 1 + eps * rng.uniform(-1, 1, value.shape)
        return jnp.asarray(np.asarray(value, np.float64) * factor, dtype)

    return jax.tree.map(first, variables)


def mean_loss(logits, labels):
    """In nats."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def linen_model(arm, zero_last_scale):
    """The arm's network."""
    library, options, _ = FLOAT64_ARMS[arm]
    norm = functools.partial({"flax": nn.BatchNorm, "jbn": jbn.linen.BatchNorm}[library], **options)
    return resnet18(num_outputs=10, stem="cifar", norm=norm, zero_last_scale=zero_last_scale)


@functools.cache
def linen_functions(arm, zero_last_scale):
    """The arm's `init(key, x)` and `train_step(variables, opt_state, x, y)`, compiled."""
    model = linen_model(arm, zero_last_scale)

    def init(key, x):
        return model.init(key, x, train=True)

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


def linen_steps(arm, zero_last_scale, seed, batches):
    """Of each step of a Linen model: the variables before it, and the loss."""
    init, train_step = linen_functions(arm, zero_last_scale)
    x = batches[0][0]
    variables = init(jax.random.key(seed), x)
    variables = first_variables(variables, x.dtype, FLOAT64_ARMS[arm][-1])
    opt_state = OPTIMIZER.init(variables["params"])
    for x, y in batches:
        before = variables
        loss, variables, opt_state = train_step(variables, opt_state, x, y)
        yield before, float(loss)


def linen_curve(*setting):
    """The loss of each step of a Linen model."""
    return [loss for _, loss in linen_steps(*setting)]


@nnx.jit
def nnx_train_step(model, optimizer, x, y):
    """The loss of a batch, on which model and optimizer then have made a step."""
    loss, gradients = nnx.value_and_grad(lambda model: mean_loss(model(x), y))(model)
    optimizer.update(model, gradients)
    return loss


def nnx_curve(arm, zero_last_scale, seed, batches):
    """The loss of each step of an NNX model."""
    library, options, differ_in = FLOAT64_ARMS[arm]
    norm = functools.partial({"flax": nnx.BatchNorm, "jbn": jbn.nnx.BatchNorm}[library], **options)
    initializer = nnx.initializers.zeros if zero_last_scale else nnx.initializers.ones
    model = ResNet18(10, norm=norm, channels_in=1, last_scale_init=initializer, rngs=nnx.Rngs(seed))
    nnx.update(model, first_variables(nnx.state(model), batches[0][0].dtype, differ_in))
    model.train()
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)
    return [float(nnx_train_step(model, optimizer, x, y)) for x, y in batches]


def load_batches(dtype):
    """(images, labels) of each step."""
    dataset = load(DataConfig())
    # In the order in which the split was drawn; the examples have the data set's, half sorted.
    num_train = len(dataset.train.y)
    num_all = num_train + len(dataset.val.y) + len(dataset.test.y)
    drawn = np.random.default_rng(DataConfig().split_seed).permutation(num_all)[:num_train]
    rows = drawn.argsort().argsort()[: NUM_STEPS * BATCH_SIZE]
    images = normalize_inputs(DataConfig(), dataset.input_stats, dataset.train.x[rows])
    shape = NUM_STEPS, BATCH_SIZE
    x = jnp.asarray(np.asarray(images).reshape(*shape, 8, 8, 1), dtype)
    return list(zip(x, jnp.asarray(dataset.train.y[rows].reshape(shape)), strict=True))


def curves(api, dtype, zero_last_scale, seed, arms):
    """Arm -> the loss of each step, from the same variables and on the same batches."""
    curve = {"Linen": linen_curve, "NNX": nnx_curve}[api]
    with jax.enable_x64(dtype == "float64"):
        batches = load_batches(dtype)
        return {arm: curve(arm, zero_last_scale, seed, batches) for arm in arms}


def sign_changes(seed):
    """How many inputs there are to ReLUs; how many differ in sign, in each step, between two arms.

    Flax's, from its variables and from those that differ in float32's last bit; Linen, float64.
    """
    model = linen_model("Flax", STARTS["1"])

    @jax.jit
    def signs(variables, x):
        # ReLU follows the first norm of the network and of each block, and is a block's last step.
        _, seen = model.apply(
            variables,
            x,
            train=True,
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: (
                module.name == "BatchNorm_0" or isinstance(module, BasicBlock)
            ),
        )
        return [value > 0 for value in jax.tree.leaves(seen["intermediates"])]

    with jax.enable_x64(True):
        batches, changes = load_batches("float64"), []
        arms = ("Flax", "Flax, float32's last bit")
        steps = [linen_steps(arm, STARTS["1"], seed, batches) for arm in arms]
        for (x, _), *both in zip(batches, *steps, strict=True):
            one, other = (signs(variables, x) for variables, _ in both)
            changes.append(sum(int(jnp.sum(a != b)) for a, b in zip(one, other, strict=True)))
        return {"seed": seed, "num_inputs": sum(v.size for v in one), "changes": changes}


def largest_relative_difference(curve, other) -> float:
    """Over the steps."""
    return float(np.max(np.abs(np.subtract(curve, other)) / np.abs(other)))


def main() -> None:
    """Trains, prints and writes the JSON."""
    result: dict[str, Any] = {
        "command": "python experiments/resnet18/run.py",
        "environment": describe_environment(jax.devices()[0]),
        "num_steps": NUM_STEPS,
        "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE,
        "momentum": MOMENTUM,
        "runs": [],
    }
    for api in ("Linen", "NNX"):
        for dtype, start, seeds, arms in SETTINGS:
            for seed in seeds:
                losses = curves(api, dtype, STARTS[start], seed, arms)
                differences = {
                    arm: largest_relative_difference(losses[arm], losses["Flax"])
                    for arm in arms
                    if arm != "Flax"
                }
                run = {"api": api, "dtype": dtype, "last_scale": start, "seed": seed}
                result["runs"].append({**run, "from_flax": differences, "losses": losses})
                print(f"{api}, {dtype}, last scales from {start}, seed {seed}: ", end="")
                print(f"loss {losses['jbn'][0]:.3f} to {losses['jbn'][-1]:.3f}; ", end="")
                print(", ".join(f"{arm} {d:.1e}" for arm, d in differences.items()), flush=True)
    result["sign_changes"] = [sign_changes(seed) for seed in SETTINGS[-1][2]]
    (Path(__file__).parent / "results.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
