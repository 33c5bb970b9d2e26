"""What a norm costs in context: a training step of a ResNet, with jbn's norms and with Flax's.

bfloat16 computation, float32 parameters, SGD with momentum; ResNet-50 at 224² on an accelerator,
where PyTorch's, compiled, is timed too if torchvision is installed; small ones on a CPU.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from in_turn import compared, seconds_in_turn

import jbn.linen
from jbn.models import ResNet, resnet50
from jbn.models.resnet import BasicBlock
from sections import Row, Size
from sections.pytorch import make_torch_resnet50

NORMS = {"jbn": jbn.linen.BatchNorm, "Flax, fast": nn.BatchNorm}
BATCHES = {"tiny": (4, 8, 8, 3), "small": (32, 32, 32, 3), "full": (128, 224, 224, 3)}
NUM_CLASSES = {"tiny": 10, "small": 10, "full": 1000}
NUM_ROUNDS = {"tiny": 1, "small": 9, "full": 15}
NETWORKS = {"tiny": "a ResNet's stem", "small": "ResNet of 4 blocks", "full": "ResNet-50"}


def rows(size: Size) -> Iterator[Row]:
    """A row against Flax's norms; and one against PyTorch, where that is there."""
    images = jax.random.normal(jax.random.key(0), BATCHES[size])
    # Both have the same variables, so that one start serves both.
    init = jax.jit(lambda key: _network(size, "jbn").init(key, images[:2], train=True))
    variables = init(jax.random.key(1))
    steps, costs = {}, {}
    for name in NORMS:
        network = _network(size, name)
        steps[name], costs[name] = _compiled_step(network, variables, images, NUM_CLASSES[size])
    row = {"network": NETWORKS[size], "batch": BATCHES[size], "dtype": "bfloat16"}
    rounds = {"num_rounds": NUM_ROUNDS[size]}
    times = compared(seconds_in_turn(steps, NUM_ROUNDS[size]))
    yield row | times | rounds | {"costs": costs}
    if size == "full" and (torch_step := make_torch_resnet50(BATCHES[size][0])):
        pair = {"jbn": steps["jbn"], "PyTorch, compiled": torch_step}
        yield row | compared(seconds_in_turn(pair, NUM_ROUNDS[size])) | rounds
    elif size == "full":
        yield row | {"not_measured": "PyTorch and torchvision aren't installed"}


def _network(size: Size, norm: str) -> nn.Module:
    options: dict[str, Any] = {
        "num_outputs": NUM_CLASSES[size],
        "norm": NORMS[norm],
        "dtype": jnp.bfloat16,
    }
    if size == "full":
        return resnet50(stem="imagenet", **options)
    stages, filters = ((), 8) if size == "tiny" else ((1, 1, 1, 1), 16)
    options |= {"num_filters": filters, "block": BasicBlock}
    return ResNet(stage_sizes=stages, stem="cifar", **options)


def _compiled_step(
    network: nn.Module, variables: Any, images: jax.Array, num_classes: int
) -> tuple[Callable[[], Any], dict[str, float]]:
    """A function that takes the next training step; what its program costs."""
    labels = jnp.arange(len(images)) % num_classes
    optimizer = optax.sgd(1e-3, momentum=0.9)

    def step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
        variables, opt_state = state

        def loss(params: Any) -> tuple[jax.Array, Any]:
            variables_in = {**variables, "params": params}
            logits, updates = network.apply(
                variables_in, images, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(
                logits.astype(jnp.float32), labels
            )
            return losses.mean(), updates

        gradient, updates = jax.grad(loss, has_aux=True)(variables["params"])
        moves, opt_state = optimizer.update(gradient, opt_state)
        params = optax.apply_updates(variables["params"], moves)
        return {"params": params, **updates}, opt_state

    # Steps are donated their state, so each side has one of its own.
    state = jax.tree.map(jnp.copy, (variables, optimizer.init(variables["params"])))
    lowered = jax.jit(step, donate_argnums=0).lower(state, images, labels)
    clock = time.perf_counter()
    compiled = lowered.compile()
    costs = {
        "compile_seconds": time.perf_counter() - clock,
        "temp_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }

    def take_step() -> Any:
        nonlocal state
        state = compiled(state, images, labels)
        return state

    return take_step, costs
