# %% [markdown]
# # A drop-in for Flax
#
# Change one import of a Flax model: in Linen, and in NNX. The variables stay the same, so that a
# checkpoint of Flax works with jbn, and the other way round.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import nnx

import jbn.linen
import jbn.nnx

x = jax.random.normal(jax.random.key(0), (256, 8))
y = (x[:, 0] * x[:, 1] > 0).astype(jnp.int32)  # is the product positive?


def cross_entropy(logits):
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


# %% [markdown]
# ## Linen
#
# The norm is an argument here, to have both.


# %%
class Net(nn.Module):
    norm: type[nn.Module]

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(32)(x)
        x = nn.relu(self.norm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(2)(x)


of_flax, of_jbn = Net(nn.BatchNorm), Net(jbn.linen.BatchNorm)
variables = of_flax.init(jax.random.key(1), x, train=True)
y_flax, stats_flax = of_flax.apply(variables, x, train=True, mutable=["batch_stats"])
y_jbn, stats_jbn = of_jbn.apply(variables, x, train=True, mutable=["batch_stats"])
print("the same output:", bool(jnp.allclose(y_flax, y_jbn, atol=1e-5)))

# %% [markdown]
# A training step threads the collection `batch_stats`, as it does with Flax.

# %%
optimizer = optax.adam(1e-2)


@jax.jit
def train_linen(variables):
    def step(carry, _):
        variables, opt_state = carry

        def loss(params):
            logits, updates = of_jbn.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return cross_entropy(logits), updates

        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        change, opt_state = optimizer.update(gradient, opt_state)
        params = optax.apply_updates(variables["params"], change)
        return ({"params": params, **updates}, opt_state), value

    (variables, _), losses = jax.lax.scan(
        step, (variables, optimizer.init(variables["params"])), length=100
    )
    return variables, losses


trained, losses = train_linen(variables)
linen_accuracy = jnp.mean(of_jbn.apply(trained, x, train=False).argmax(-1) == y)
print(f"Linen: loss {losses[0]:.2f} to {losses[-1]:.2f}, accuracy {linen_accuracy:.2f}")

# %% [markdown]
# ## NNX
#
# The layer holds its statistics. `model.train()` and `model.eval()` switch it.


# %%
class NNXNet(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(8, 32, rngs=rngs)
        self.norm = jbn.nnx.BatchNorm(32, momentum=0.9, rngs=rngs)  # was: nnx.BatchNorm
        self.head = nnx.Linear(32, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.norm(self.hidden(x))))


model = NNXNet(nnx.Rngs(0))
nnx_optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)


@nnx.jit
def train_step(model, nnx_optimizer):
    value, gradient = nnx.value_and_grad(lambda model: cross_entropy(model(x)))(model)
    nnx_optimizer.update(model, gradient)
    return value


model.train()
nnx_losses = [float(train_step(model, nnx_optimizer)) for _ in range(100)]
model.eval()
nnx_accuracy = jnp.mean(model(x).argmax(-1) == y)
print(f"NNX: loss {nnx_losses[0]:.2f} to {nnx_losses[-1]:.2f}, accuracy {nnx_accuracy:.2f}")

# %% [markdown]
# ## Where they differ
#
# Far from zero Flax's default formula loses its digits. Float64 says what is right.

# %%
far = 10_000 + jax.random.normal(jax.random.key(2), (1024, 1))
exact = np.asarray(far, np.float64)
right = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
for name, layers in [("Flax", nn), ("jbn", jbn.linen)]:
    layer = layers.BatchNorm(use_running_average=False)
    output, _ = layer.init_with_output(jax.random.key(0), far)
    print(f"{name}: largest error {np.abs(output - right).max():.0e}")
