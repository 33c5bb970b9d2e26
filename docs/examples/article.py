# %% [markdown]
# # The article's network, by functions
#
# Many articles explain batch normalization with this network: Dense 128, batch norm, Dense 64,
# batch norm, Dense 10, on handwritten digits. Here it is made of `jbn`'s functions, JAX and Optax
# alone. The whole training is one compiled program.

# %%
import functools
import itertools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
from sklearn.datasets import load_digits

import jbn

# %% [markdown]
# ## The data
#
# The inputs are standardized with the statistics of the training split.

# %%
images, labels = load_digits(return_X_y=True)
order = jax.random.permutation(jax.random.key(0), len(images))
images, labels = jnp.asarray(images, jnp.float32)[order], jnp.asarray(labels)[order]

input_stats = jbn.update_input_stats(jbn.init_input_stats(64), images[:1440])
x = jbn.standardize(images, input_stats)
x_train, y_train = x[:1440], labels[:1440]
x_test, y_test = x[1440:], labels[1440:]

# %% [markdown]
# ## The network
#
# Parameters and running statistics are plain dicts and tuples. The network takes both, and returns
# the new running statistics beside its output.


# %%
def init(key, sizes=(64, 128, 64, 10)):
    keys = jax.random.split(key, len(sizes) - 1)
    pairs = list(itertools.pairwise(sizes))
    params = [
        {
            "kernel": jax.random.normal(key, pair) / jnp.sqrt(pair[0]),
            "bias": jnp.zeros(pair[1]),
            "scale": jnp.ones(pair[1]),  # of the norm; the last layer has none
            "shift": jnp.zeros(pair[1]),
        }
        for key, pair in zip(keys, pairs, strict=True)
    ]
    return params, [jbn.init_batch_stats(size) for size in sizes[1:-1]]


def network(params, all_stats, x, *, train):
    *hidden, last = params
    new_stats = []
    for layer, stats in zip(hidden, all_stats, strict=True):
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
        x, stats = jbn.batch_norm(
            x, stats, layer["scale"], layer["shift"], use_running_average=not train, momentum=0.9
        )
        new_stats.append(stats)
    return x @ last["kernel"] + last["bias"], new_stats


# %% [markdown]
# ## The training
#
# A step is a function from state to state, so `jax.lax.scan` runs over the batches of an epoch, and
# once more over the epochs. `jax.jit` compiles all of it.

# %%
optimizer = optax.adam(1e-3)


def step(state, rows):
    params, stats, opt_state = state

    def loss(params):
        logits, new_stats = network(params, stats, x_train[rows], train=True)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, y_train[rows])
        return losses.mean(), new_stats

    (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    updates, opt_state = optimizer.update(gradient, opt_state)
    return (optax.apply_updates(params, updates), stats, opt_state), value


def accuracy(state, x, y):
    logits, _ = network(*state[:2], x, train=False)
    return jnp.mean(logits.argmax(-1) == y)


def epoch(state, key):
    rows = jax.random.permutation(key, len(x_train)).reshape(-1, 32)
    state, losses = jax.lax.scan(step, state, rows)
    return state, (losses.mean(), accuracy(state, x_test, y_test))


@functools.partial(jax.jit, static_argnames="num_epochs")
def train(key, num_epochs=10):
    params, stats = init(key)
    state = params, stats, optimizer.init(params)
    return jax.lax.scan(epoch, state, jax.random.split(key, num_epochs))


state, (losses, accuracies) = train(jax.random.key(1))
for number, (loss, test_accuracy) in enumerate(zip(losses, accuracies, strict=True), start=1):
    print(f"epoch {number}: loss {loss:.3f}, test accuracy {test_accuracy:.3f}")

# %% [markdown]
# ## The curve

# %%
figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
axes.plot(range(1, 11), accuracies, marker="o")
axes.set(xlabel="epoch", ylabel="test accuracy", ylim=(None, 1))
figure.savefig("article.svg")
