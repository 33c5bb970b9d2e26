# %% [markdown]
# # From a training to a file: recompute, fold, export
#
# After a training come three steps that make its network ready for use: statistics of all data in
# the place of a running average, norms folded into the layers beside them, and one file that JAX
# loads without jbn.

# %%
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import jbn.linen
from jbn.config import DataConfig
from jbn.data import load
from jbn.export import load_function, save_function
from jbn.models import MLP
from jbn.variables import fold_batch_norm, recompute_batch_stats

digits = load(DataConfig())
x, x_test = (jnp.asarray(part.x).reshape(-1, 64) / 16 for part in (digits.train, digits.test))
y, y_test = jnp.asarray(digits.train.y), jnp.asarray(digits.test.y)

# %% [markdown]
# ## Train
#
# One epoch of 45 steps. At momentum 0.99 the initial running statistics still have the weight
# 0.99⁴⁵ = 0.64. So evaluation is far worse than training.

# %%
model = MLP((64, 64), 10, functools.partial(jbn.linen.BatchNorm, momentum=0.99))
optimizer = optax.adam(3e-3)


def in_training(variables, batch):
    return model.apply(variables, batch, train=True, mutable=["batch_stats"])


def step(carry, rows):
    variables, opt_state = carry

    def loss(params):
        logits, updates = in_training({**variables, "params": params}, x[rows])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y[rows])
        return losses.mean(), updates

    gradient, updates = jax.grad(loss, has_aux=True)(variables["params"])
    change, opt_state = optimizer.update(gradient, opt_state)
    params = optax.apply_updates(variables["params"], change)
    return ({"params": params, **updates}, opt_state), None


@jax.jit
def train(key):
    variables = model.init(key, x[:2], train=False)
    rows = jax.random.permutation(key, len(x)).reshape(-1, 32)
    carry = variables, optimizer.init(variables["params"])
    return jax.lax.scan(step, carry, rows)[0][0]


@jax.jit
def accuracy(variables):
    return jnp.mean(model.apply(variables, x_test, train=False).argmax(-1) == y_test)


variables = train(jax.random.key(0))
accuracy_before = accuracy(variables)
print(f"running statistics: accuracy {accuracy_before:.2f}")

# %% [markdown]
# ## Recompute
#
# The statistics of all training data, for the parameters as they are now.

# %%
recompute = jax.jit(functools.partial(recompute_batch_stats, in_training, batch_size=256))
variables = {**variables, "batch_stats": recompute(variables, x)}
accuracy_after = accuracy(variables)
print(f"recomputed statistics: accuracy {accuracy_after:.2f}")

# %% [markdown]
# ## Fold
#
# In evaluation a norm is an affine map. It goes into the Dense layer beside it.

# %%
without_norms = model.clone(norm=None)
folded = fold_batch_norm(
    functools.partial(model.apply, train=False),
    functools.partial(without_norms.apply, train=False),
    variables,
    x,
)
print(f"largest difference of the outputs: {folded.largest_difference:.0e}")
print("layers that are left:", list(folded.variables["params"]))

# %% [markdown]
# ## Export
#
# One file, for batches of any size, on CPU, CUDA and TPU. To load it needs JAX and flatbuffers:
# `jax.export.deserialize(...)` is what `load_function` calls.


# %%
def probabilities(pixels):
    return jax.nn.softmax(without_norms.apply(folded.variables, pixels / 16, train=False))


save_function("digits.bin", probabilities, 16 * x[:1])
function = load_function("digits.bin")
predicted = function(16 * x_test).argmax(-1)
file_accuracy = jnp.mean(predicted == y_test)
size = Path("digits.bin").stat().st_size
print(f"the file: {size / 1024:.0f} KiB, accuracy {file_accuracy:.2f}")
