"""Residual networks: the published ones, with every norm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from resnet18.nnx_resnet import ResNet18

import jbn.linen
import jbn.nnx
from jbn.models.resnet import BasicBlock, BottleneckBlock, ResNet, resnet18, resnet50

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(4, 8, 8, 3)), jnp.float32)
LABELS = jnp.array([0, 1, 2, 0])


def of_each_example(layer, **options):
    return lambda use_running_average: layer(**options)


NORMS = {
    "none": None,
    "batch": jbn.linen.BatchNorm,
    "layer": of_each_example(jbn.linen.LayerNorm),
    "rms": of_each_example(jbn.linen.RMSNorm),
    "group": of_each_example(jbn.linen.GroupNorm, num_groups=2),
    "instance": of_each_example(jbn.linen.InstanceNorm),
}


tiny = functools.partial(
    ResNet, stage_sizes=(1, 1), block=BasicBlock, num_outputs=3, stem="cifar", num_filters=8
)


def shapes(model, images=IMAGES):
    """Of the variables."""
    return jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=True))


def filled(tree):
    """Arrays for these shapes: He's normal numbers for kernels, else numbers around one."""
    rng = np.random.default_rng(1)  # in no time: it takes seconds to compile `init`

    def fill(leaf):
        numbers = rng.normal(size=leaf.shape).astype("f4")
        if leaf.ndim == 1:
            return jnp.asarray(1 + 0.1 * numbers)
        return jnp.asarray(numbers * np.float32((2 * leaf.shape[-1] / leaf.size) ** 0.5))

    return jax.tree.map(fill, tree)


def loss(model, params, rest, images, labels):
    """The mean cross-entropy in training, and the new statistics."""
    logits, updates = model.apply(
        {"params": params, **rest}, images, train=True, mutable="batch_stats"
    )
    assert logits.shape == (len(images), model.num_outputs)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates


@pytest.mark.parametrize(
    ("make", "stem", "num_outputs", "wanted"),
    [
        (resnet18, "imagenet", 1000, 11_689_512),
        (resnet50, "imagenet", 1000, 25_557_032),
        (resnet18, "cifar", 10, 11_173_962),
        (resnet50, "cifar", 10, 23_520_842),
    ],
)
def test_the_number_of_parameters_is_the_published_one(make, stem, num_outputs, wanted):
    model = make(num_outputs=num_outputs, stem=stem, norm=jbn.linen.BatchNorm)
    params = shapes(model, jnp.zeros((2, 32, 32, 3)))["params"]
    assert sum(param.size for param in jax.tree.leaves(params)) == wanted


BOTTLENECKS = [(BottleneckBlock, "batch"), (BottleneckBlock, "none")]


@pytest.mark.parametrize(("block", "kind"), [*((BasicBlock, kind) for kind in NORMS), *BOTTLENECKS])
def test_each_norm_has_gradients(block, kind):
    model = tiny(block=block, norm=NORMS[kind])
    rest = filled(shapes(model))
    params = rest.pop("params")
    gradients, _ = jax.jit(jax.grad(functools.partial(loss, model), has_aux=True))(
        params, rest, IMAGES, LABELS
    )
    for gradient in jax.tree.leaves(gradients):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("make", [resnet18, resnet50])
def test_without_norm_the_same_layers_have_a_bias(make):
    model = make(num_outputs=3, stem="cifar", norm=jbn.linen.BatchNorm, zero_last_scale=True)
    normed, plain = (
        {
            jax.tree_util.keystr(path): leaf
            for path, leaf in jax.tree.leaves_with_path(shapes(m)["params"])
        }
        for m in (model, model.clone(norm=None))
    )
    kernels = {path for path in normed if "kernel" in path}
    biases = {path.replace("kernel", "bias") for path in kernels}
    assert plain.keys() == kernels | biases
    assert all(plain[path] == normed[path] for path in kernels)
    # With a norm only the last layer has one; each norm is numbered as its convolution.
    assert biases & normed.keys() == {"['Dense_0']['bias']"}
    scales = {path.replace("BatchNorm", "Conv") for path in normed if "scale" in path}
    assert scales == {path.replace("kernel", "scale") for path in kernels if "Conv" in path}


def test_strided_windows_stand_as_in_the_published_networks():
    """Kernels are one, or zero in the first block: outputs count the pixels that a window meets."""
    model = tiny(stem="imagenet", num_filters=1)
    images = jnp.ones((1, 16, 16, 1))
    start = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, leaf.ndim == 4 and "0" not in path[1].key, float),
        shapes(model, images),
    )
    start["params"]["Conv_0"]["kernel"] = jnp.ones((7, 7, 1, 1))
    _, seen = model.apply(start, images, train=False, capture_intermediates=True)
    seen = seen["intermediates"]
    (stem,), (pooled,) = seen["Conv_0"]["__call__"], seen["BasicBlock_0"]["__call__"]
    (strided,) = seen["BasicBlock_1"]["Conv_0"]["__call__"]
    # Windows start 3, 1 and 1 pixels before the image.
    assert (stem.shape, stem[0, 0, 0, 0]) == ((1, 8, 8, 1), 4 * 4)
    assert (pooled.shape, pooled[0, 0, 0, 0]) == ((1, 4, 4, 1), stem[0, 1, 1, 0])
    assert (strided.shape, strided[0, 0, 0, 0]) == ((1, 2, 2, 2), pooled[0, :2, :2].sum())


@pytest.mark.parametrize("masked", [False, True])
def test_a_bottleneck_is_its_layers_written_out(masked):
    """The second convolution has the stride; what the mask leaves out has no part in statistics."""
    rng = np.random.default_rng(0)
    images = rng.normal(1, 1, (4, 6, 6, 3)).astype("f4")
    counts = np.arange(4) != 2 if masked else np.full(4, True)
    block = BottleneckBlock(num_filters=2, stride=2, norm=jbn.linen.BatchNorm)
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), images, train=True))
    start = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("f4"), shapes)
    mask = {"mask": jnp.asarray(counts)} if masked else {}
    y, _ = jax.jit(functools.partial(block.apply, train=True, mutable="batch_stats"))(
        start, images, **mask
    )

    def layer(x, number, stride=1):
        kernel = start["params"][f"Conv_{number}"]["kernel"].astype(np.float64)
        norm = start["params"][f"BatchNorm_{number}"]
        size = len(kernel)
        padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
        x = np.einsum("bhwckl,klco->bhwo", windows[:, ::stride, ::stride], kernel)
        mean, var = x[counts].mean((0, 1, 2)), x[counts].var((0, 1, 2))
        return (x - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"]

    x = images.astype(np.float64)
    branch = layer(np.maximum(layer(np.maximum(layer(x, 0), 0), 1, stride=2), 0), 2)
    wanted = np.maximum(branch + layer(x, 3, stride=2), 0)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("block", "num_convs"), [(BasicBlock, 2), (BottleneckBlock, 3)])
def test_the_last_scale_of_each_block_may_start_at_zero(block, num_convs):
    given = []

    def norm(use_running_average, **options):
        given.append(options)
        return jbn.linen.BatchNorm(use_running_average)

    shapes(tiny(block=block, norm=norm, zero_last_scale=True, stage_sizes=(2,)))
    with_options = [i for i, options in enumerate(given) if options]
    # After the stem's; a bottleneck's first shortcut has one too.
    shortcut = block is BottleneckBlock
    assert with_options == [num_convs, 2 * num_convs + shortcut]
    for i in with_options:
        assert (given[i].pop("scale_init")(jax.random.key(0), (3,)) == 0).all()
        assert given[i] == {}


def loss_curves(images, labels):
    """Of a training run with Flax's norm, and of one with jbn's, from the same variables."""
    optimizer = optax.sgd(0.01, momentum=0.9)
    models = [tiny(norm=norm) for norm in (nn.BatchNorm, jbn.linen.BatchNorm)]
    start = jax.tree.map(lambda leaf: leaf.astype(images.dtype), filled(shapes(models[0])))

    def step(model, state, batch):
        params, rest, opt_state = state
        value_and_gradients = jax.value_and_grad(functools.partial(loss, model), has_aux=True)
        (value, rest), gradients = value_and_gradients(params, rest, *batch)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), rest, opt_state), value

    curves = []
    for model in models:
        rest = dict(start)
        params = rest.pop("params")
        train_step = jax.jit(functools.partial(step, model))
        state = params, rest, optimizer.init(params)
        losses = []
        for batch in zip(images, labels, strict=True):
            state, value = train_step(state, batch)
            losses.append(value)
        assert value.dtype == images.dtype
        curves.append(np.array(losses))
    return curves


def test_a_training_run_with_flaxs_norm_is_one_with_jbns():
    """The same loss curve from the same variables, by changing one import."""
    rng = np.random.default_rng(1)
    images = jnp.asarray(rng.normal(size=(30, 16, 8, 8, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(3, size=(30, 16)))
    np.testing.assert_allclose(*loss_curves(images, labels), rtol=1e-4)


@pytest.mark.slow
def test_in_float64_a_run_that_learns_is_the_same_too():
    """In float32 such runs may part, with Flax's norm alone as well: `experiments/resnet18`."""
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=(30, 16))
    images = rng.normal(size=(3, 8, 8, 3))[labels] + rng.normal(size=(30, 16, 8, 8, 3))
    with jax.enable_x64(True):
        flax, ours = loss_curves(jnp.asarray(images), jnp.asarray(labels))
    assert flax[-5:].mean() < flax[:5].mean() / 4
    np.testing.assert_allclose(ours, flax, rtol=1e-9)


def linen_variables(model):
    """An NNX ResNet-18's variables as those of the Linen network."""

    def layer(module):
        held = nnx.to_pure_dict(nnx.state(module))
        stats = {name: held.pop(name) for name in ("mean", "var") if name in held}
        return held, stats

    def named(pairs):
        layers = [(f"Conv_{i}", pair[0]) for i, pair in enumerate(pairs)]
        return dict(layers + [(f"BatchNorm_{i}", pair[1]) for i, pair in enumerate(pairs)])

    tree = named([(model.stem, model.norm)]) | {"Dense_0": model.head}
    for i, block in enumerate(model.blocks.layers):
        shortcut = [tuple(block.shortcut.layers)] if block.shortcut.layers else []
        pairs = [(block.conv1, block.norm1), (block.conv2, block.norm2), *shortcut]
        tree[f"BasicBlock_{i}"] = named(pairs)
    both = jax.tree.map(layer, tree, is_leaf=lambda node: not isinstance(node, dict))
    params, stats = (
        jax.tree.map(lambda pair, i=i: pair[i], both, is_leaf=lambda node: isinstance(node, tuple))
        for i in (0, 1)
    )
    return {"params": params, "batch_stats": stats}


def test_the_nnx_example_is_the_same_network():
    make = functools.partial(ResNet18, 3, norm=jbn.nnx.BatchNorm, num_filters=2)
    graph, state = nnx.split(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
    theirs = nnx.merge(graph, filled(state))
    theirs.eval()
    ours = resnet18(num_outputs=3, stem="cifar", norm=jbn.linen.BatchNorm, num_filters=2)
    start = linen_variables(theirs)
    wanted = shapes(ours)["params"]
    assert jax.tree.map(jnp.shape, start["params"]) == jax.tree.map(jnp.shape, wanted)
    logits = jax.jit(functools.partial(ours.apply, train=False))(start, IMAGES)
    np.testing.assert_allclose(nnx.jit(lambda model: model(IMAGES))(theirs), logits, rtol=1e-5)


def test_what_is_no_batch_of_images_is_refused():
    with pytest.raises(ValueError, match=r"x: found shape \(8, 8, 3\), wanted \(batch, height, w"):
        shapes(tiny(), IMAGES[0])


def test_an_unknown_stem_is_refused():
    with pytest.raises(ValueError, match="stem: found 'mnist', wanted 'cifar' or 'imagenet'"):
        shapes(tiny(stem="mnist"))
