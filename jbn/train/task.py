"""A config as pure functions: the one place that knows its model, loss and optimizer together."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.errors import FlaxError
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.extend import core
from jax.sharding import NamedSharding
from jaxtyping import Array, Float

from jbn.config import ArmConfig, NormConfig, UserError
from jbn.data import (
    Batch,
    DataSpec,
    Normalization,
    augment,
    normalization_of,
    normalize_by,
    normalize_inputs,
)
from jbn.functional._stats import ema_momentum
from jbn.models import Model, build_model, norm_of_batch, recording
from jbn.train.check import check_config
from jbn.train.loss import Loss
from jbn.train.metrics import Metrics, measure
from jbn.train.optimizer import make_optimizer
from jbn.train.parts import Parts, augmented, make_parts
from jbn.train.placement import spread
from jbn.train.state import Hypers, TrainKeys, TrainState
from jbn.train.weights import begin_with
from jbn.variables._masks import is_matched, mismatch
from jbn.variables._recompute import LayerMoments, layer_moments, stats_of_moments


class StepMetrics(NamedTuple):
    """Of one training step."""

    batch: Metrics  # with the parameters before the step
    gradient_norm: Float[Array, "..."]  # the gradient's Euclidean norm


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What training does with a config, as pure functions of raw inputs. `make_task` makes it."""

    config: ArmConfig
    spec: DataSpec
    platform: str
    parts: Parts
    num_batches: int  # in an epoch
    weights: Any = None  # variables to begin with, by collection; None: they are drawn
    given: Normalization | None = None  # may be traced; None: it follows from config and spec
    by_example: NamedSharding | None = None  # how devices share a batch; None: it is on one

    @functools.cached_property
    def first(self) -> TrainState:
        """The shapes and dtypes of a state.

        Raises:
            UserError: the model doesn't take the data.
        """
        with named_errors():
            first = jax.eval_shape(self.init, *abstract_arguments(self.config))
        if not jax.tree.leaves(first.params):
            raise UserError("model: found no parameters, wanted some to train")
        _check_freeze(self.config, first)
        return first

    @functools.cached_property
    def takes_mask(self) -> bool:
        """Whether the model takes a mask: only then can a batch be filled up."""
        model = self.build(self.config.norm, Hypers.of(self.config))
        return model.takes("mask")

    @functools.cached_property
    def convolves(self) -> bool:
        """Whether the model has a convolution."""
        if self.parts.model is None:
            return self.config.model.kind != "mlp"
        with named_errors():
            traced = jax.make_jaxpr(self.init)(*abstract_arguments(self.config))
        return "conv_general_dilated" in _primitives(traced.jaxpr)

    @property
    def normalization(self) -> Normalization | None:
        """What is done to raw inputs; None without statistics of them."""
        if self.given is not None or self.spec.input_stats is None:
            return self.given
        return normalization_of(self.config.data, self.spec.input_stats)

    def with_normalization(self, normalization: Normalization | None) -> "Task":
        """The task with a normalization that may be traced: then arms that differ in it are one."""
        return self._with(given=normalization)

    def spread_by(self, by_example: NamedSharding) -> "Task":
        """The task with batches that several devices share."""
        return self._with(by_example=by_example)

    def _with(self, **changes: Any) -> "Task":
        task = dataclasses.replace(self, **changes)
        vars(task)["first"] = self.first  # nothing of this has a part in it, and it takes a trace
        return task

    @property
    def is_slow_together(self) -> bool:
        """Whether several trainings in one program gain nothing from each other.

        Many images convolved with as many kernels are a grouped convolution. XLA's CPU compiler has
        no fast kernel for it.
        """
        return self.convolves and self.platform == "cpu"

    @functools.cached_property
    def recomputes(self) -> bool:
        """Whether the final variables have recomputed batch statistics."""
        train, first = self.config.train, self.first
        is_wanted = train.recompute_stats or train.ema_decay is not None
        if not is_wanted or "batch_stats" not in first.collections:
            return False
        if self.parts.model is None and not train.freeze:
            return True
        # They may be those of something else than a batch normalization, or all be frozen.
        x = jnp.zeros((train.batch_size, *self.spec.features))
        return bool(jax.eval_shape(self.moments, first, x, *abstract_arguments(self.config)))

    @property
    def num_steps(self) -> int:
        """The batches of all epochs."""
        return self.config.train.num_epochs * self.num_batches

    @property
    def loss(self) -> Loss:
        """What is trained for, and reported."""
        assert self.parts.loss is not None  # `make_parts` has made it
        return self.parts.loss

    def init(self, keys: TrainKeys, hypers: Hypers, weights: Any = None) -> TrainState:
        """The state before the first step.

        `weights` are the task's own, where a compiled program takes them as an argument.
        """
        model = self.build(self.config.norm, hypers)
        weights = self.weights if weights is None else weights
        return _init(self, model, keys, hypers, weights)

    def step(
        self, state: TrainState, batch: Batch, keys: TrainKeys, hypers: Hypers
    ) -> tuple[TrainState, StepMetrics]:
        """The state after one more batch. The parameters may come as one vector, and stay it."""
        gradient, collections, metrics = self.gradient(state, batch, keys, hypers)
        optimizer = make_optimizer(
            self.config, self.parts, hypers, self.first.params, self.num_steps
        )
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        average = _next_average(self.config, state, params)
        state = TrainState(state.step + 1, params, collections, opt_state, average)
        return state, StepMetrics(metrics, optax.tree.norm(gradient))

    def gradient(
        self, state: TrainState, batch: Batch, keys: TrainKeys, hypers: Hypers
    ) -> tuple[Any, dict[str, Any], Metrics]:
        """The gradient of the batch's mean loss, the new collections, and the batch's metrics."""
        batch = spread(batch, self.by_example)
        augment_key = jax.random.fold_in(keys.augment, state.step)
        dropout_key = jax.random.fold_in(keys.dropout, state.step)
        # Augmented pixels that never vary in training would be far out once normalized.
        x = self.prepare(batch.x, hypers)
        batch = batch._replace(x=augment(self.config.data.augment, augment_key, x))
        if self.parts.augment is not None:
            batch = augmented(self.parts.augment, jax.random.fold_in(augment_key, 1), batch)

        def mean_loss(params: Any) -> tuple[Float[Array, ""], tuple[dict[str, Any], Metrics]]:
            params = jax.tree.map(
                _kept, self.as_tree(params), _frozen(self.config, self.first.params)
            )
            variables = {"params": params, **state.collections}
            output, updates = self._forward(variables, batch, state.step, dropout_key, hypers)
            trained = measure({"loss": self.loss.trained(output, batch.y)}, batch.weight)
            measured = measure(self.loss.measured(output, batch.y), batch.weight)
            return trained.means["loss"], (self._updated(state.collections, updates), measured)

        gradient, (collections, metrics) = jax.grad(mean_loss, has_aux=True)(state.params)
        return gradient, collections, metrics

    def evaluate(self, variables: dict[str, Any], batch: Batch, hypers: Hypers) -> Metrics:
        """What is measured of a batch, with the running statistics. It adds up over batches."""
        batch = spread(batch, self.by_example)
        model = self.build(self.config.norm, hypers)
        output: Any = model.apply(variables, self.prepare(batch.x, hypers), train=False)
        return measure(self.loss.measured(self._checked(output, batch), batch.y), batch.weight)

    def moments(self, state: TrainState, x: Any, keys: TrainKeys, hypers: Hypers) -> LayerMoments:
        """What each batch normalization takes, of one batch of inputs, for `final_variables`."""
        x = spread(x, self.by_example)
        # Each batch is one group, and never renormalized: the old statistics have no part.
        whole = {"virtual_batch_size": len(x), "num_plain_steps": 2**28 - 1}
        model = recording(self.build(self.config.norm.model_copy(update=whole), hypers))
        rngs = {"dropout": jax.random.fold_in(keys.dropout, state.step)}

        def apply(variables: Any, x: Any) -> Any:
            mutable = list(state.collections)
            return model.apply(variables, x, train=True, mutable=mutable, rngs=rngs)

        return layer_moments(apply, self.final_variables(state, None), self.prepare(x, hypers))

    def final_variables(self, state: TrainState, moments: LayerMoments | None) -> dict[str, Any]:
        """The variables that are evaluated and kept.

        They are the averaged parameters, where the config has an average. Their batch statistics
        are those of the moments, if there are any: the running ones followed other parameters.
        """
        params = state.params if self.config.train.ema_decay is None else state.average
        collections = state.collections
        if moments is not None:
            stats = stats_of_moments(collections["batch_stats"], moments)
            collections = {**collections, "batch_stats": stats}
        return {"params": params, **collections}

    def prepare(self, x: Any, hypers: Hypers) -> Any:
        """Raw inputs as the model takes them; without statistics of the inputs, x."""
        if self.given is not None:
            return normalize_by(self.given, x, hypers.input_scale)
        if self.spec.input_stats is None:
            return x
        return normalize_inputs(
            self.config.data, self.spec.input_stats, x, input_scale=hypers.input_scale
        )

    def build(self, norm: NormConfig, hypers: Hypers) -> Model:
        """The model, with norms of a section of its own, whose numbers are those of `hypers`."""
        return _build(self.config, norm, self.spec, self.parts, self.platform, hypers)

    def _updated(self, old: dict[str, Any], updates: dict[str, Any]) -> dict[str, Any]:
        """The collections after a step; what is frozen stays."""
        new = {**old, **updates}
        if not self.config.train.freeze:
            return new
        return {
            name: unflatten_dict(
                {
                    path: flatten_dict(old[name])[path]
                    if is_matched(path, self.config.train.freeze)
                    else value
                    for path, value in flatten_dict(new[name]).items()
                }
            )
            for name in new
        }

    def _forward(
        self, variables: dict[str, Any], batch: Batch, step: Array, key: Array, hypers: Hypers
    ) -> tuple[Array, dict[str, Any]]:
        """The model's output in training, of prepared inputs, and its new collections."""
        if self.config.norm.momentum_warmup:  # each batch is a step, and moves the statistics
            momentum = ema_momentum(step, hypers.norm_momentum)
            hypers = hypers._replace(norm_momentum=momentum)
        model = self.build(norm_of_batch(self.config.norm, len(batch.x)), hypers)
        mask = {} if batch.weight is None else {"mask": batch.weight > 0}
        mutable, rngs = list(self.first.collections), {"dropout": key}
        output, updates = model.apply(
            variables, batch.x, train=True, mutable=mutable, rngs=rngs, **mask
        )
        return self._checked(output, batch), dict(updates)

    def as_tree(self, params: Any) -> Any:
        """The parameters as the model takes them, of themselves or of one vector of all."""
        structure: Any = jax.tree.structure(self.first.params)
        if jax.tree.structure(params) == structure:
            return params
        leaves = jax.tree.leaves(self.first.params)
        parts = jnp.split(params, np.cumsum([leaf.size for leaf in leaves])[:-1])
        shaped = [
            part.reshape(leaf.shape).astype(leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, shaped)

    def _checked(self, output: Any, batch: Batch) -> Any:
        """The output, at least float32, if it and the targets are what the loss takes."""
        self.loss.check(batch.y)
        if self.loss.output_shape is None:
            return jax.tree.map(widened, output)
        wanted = (len(batch.x), *self.loss.output_shape)
        is_array = isinstance(output, jax.Array)
        if not is_array or output.shape != wanted or len(batch.y) != len(batch.x):
            raise UserError(
                f"model: found an output of {_in_words(output)} for x of shape "
                f"{jnp.shape(batch.x)} and {len(batch.y)} targets, wanted the shape {wanted}"
            )
        return widened(output)


def make_task(
    config: ArmConfig,
    spec: DataSpec,
    *,
    model: Callable[..., Any] | None = None,
    loss: Loss | None = None,
    optimizer: Callable[..., Any] | None = None,
    schedule: Callable[..., Any] | None = None,
    augment: Callable[..., Any] | None = None,
    weights: Any = None,
    platform: str | None = None,
) -> Task:
    """The task of a config, for data of these sizes, with parts of your own in the place of jbn's.

    The model is made when it is needed.

    Args:
        config: of one arm.
        spec: what is known of the data: sizes and statistics, no examples.
        model: makes a Linen module or an NNX model; see `jbn.models.build_model`.
        loss: with its metrics. None is the cross-entropy if `spec` has `num_classes`, else the
            squared error.
        optimizer: makes an `optax.GradientTransformation` of those of `learning_rate`,
            `weight_decay`, `momentum` and `num_steps` that it takes by name. The first two may be
            traced. It gets gradients and parameters as trees.
        schedule: makes an `optax.Schedule` of `num_steps`, which multiplies the learning rate.
        augment: `augment(key, batch)` returns the batch of a training step, with other inputs or
            targets. The inputs are normalized.
        weights: variables to begin with in the place of drawn ones, by collection. All that the
            model has must be there, but what matches a pattern of `config.model.init_fresh`.
        platform: where it will be computed, e.g. "cpu", where convolutions are written otherwise.
            None is JAX's default.

    Raises:
        UserError: config and data don't fit together.
    """
    platform = jax.default_backend() if platform is None else platform
    parts = make_parts(config, spec, Parts(model, loss, optimizer, schedule, augment))
    num_batches = math.ceil(spec.num_examples / config.train.batch_size)
    check_config(config, spec, num_steps=config.train.num_epochs * num_batches)
    return Task(config, spec, platform, parts, num_batches, weights)


def abstract_arguments(config: ArmConfig) -> tuple[TrainKeys, Hypers]:
    """Shapes and dtypes of what a training is given, to trace with."""
    keys = jax.eval_shape(lambda: TrainKeys.of(jax.random.key(0)))
    return keys, jax.eval_shape(lambda: Hypers.of(config))


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """Raises what a model finds wrong as a UserError."""
    try:
        yield
    except (FlaxError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"model: {error}".rstrip()) from None


def widened(output: Array) -> Array:
    return output.astype(jnp.promote_types(output.dtype, jnp.float32))


def _in_words(output: Any) -> str:
    return f"shape {output.shape}" if isinstance(output, jax.Array) else type(output).__name__


def _frozen(config: ArmConfig, params: Any) -> Any:
    """Whether each parameter is frozen."""
    flat = flatten_dict(params)
    return unflatten_dict({path: is_matched(path, config.train.freeze) for path in flat})


def _kept(param: Array, is_frozen: bool) -> Array:
    """The parameter, of which the gradient is 0 if it is frozen; XLA computes none then."""
    return jax.lax.stop_gradient(param) if is_frozen else param


def _init(task: Task, model: Model, keys: TrainKeys, hypers: Hypers, weights: Any) -> TrainState:
    config = task.config
    # Raw inputs become float32 wherever they are prepared.
    x = jnp.zeros((2, *task.spec.features))
    variables = dict(model.init({"params": keys.init, "dropout": keys.dropout}, x, train=True))
    variables.pop("intermediates", None)  # no state: they are of the last call
    params = _scaled_kernels(variables.get("params", {}), hypers.init_gain)
    variables = {**variables, "params": params}
    if weights is not None:
        variables = begin_with(config.model, variables, weights)
    params = variables.pop("params")
    optimizer = make_optimizer(config, task.parts, hypers, params, task.num_steps)
    opt_state = optimizer.init(params)
    average = None if config.train.ema_decay is None else params
    return TrainState(jnp.zeros((), jnp.int32), params, variables, opt_state, average)


def _build(
    config: ArmConfig,
    norm: NormConfig,
    spec: DataSpec,
    parts: Parts,
    platform: str,
    hypers: Hypers,
) -> Model:
    assert parts.loss is not None
    return build_model(
        config.model,
        norm,
        parts.loss.num_outputs,
        features=spec.features,
        factory=parts.model,
        momentum=hypers.norm_momentum,
        epsilon=hypers.norm_epsilon,
        freeze=config.train.freeze,
        platform=platform,
    )


def _primitives(jaxpr: core.Jaxpr) -> Iterator[str]:
    """The names of what a program calls, in its loops and branches too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for part in core.jaxprs_in_params(equation.params):
            yield from _primitives(part)


def _scaled_kernels(params: Any, gain: Float[Array, ""]) -> Any:
    """The parameters, of which those named kernel are multiplied by the gain."""

    def scaled(path: tuple[Any, ...], param: Array) -> Array:
        return param * gain.astype(param.dtype) if path[-1].key == "kernel" else param

    return jax.tree_util.tree_map_with_path(scaled, params)


def _next_average(config: ArmConfig, state: TrainState, params: Any) -> Any:
    """The average of the parameters, which takes new ones in when they have moved."""
    if config.train.ema_decay is None:
        return None
    accumulate = config.optimizer.accumulate
    weight = 1 - ema_momentum(state.step // accumulate, config.train.ema_decay)
    has_moved = (state.step + 1) % accumulate == 0
    return optax.incremental_update(params, state.average, jnp.where(has_moved, weight, 0))


def _check_freeze(config: ArmConfig, first: TrainState) -> None:
    """Raises UserError where a pattern freezes nothing, or all."""
    params = flatten_dict(first.params)
    paths = [*params, *(path for of in first.collections.values() for path in flatten_dict(of))]
    for pattern in config.train.freeze:
        if mistake := mismatch(pattern, paths):
            raise UserError(f"train.freeze: {mistake}")
    if config.train.freeze and all(is_matched(path, config.train.freeze) for path in params):
        raise UserError(
            f"train.freeze: found {list(config.train.freeze)}, which leaves no parameter to train"
        )
