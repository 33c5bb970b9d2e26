"""A trained model of a run, back from its folder, to predict with."""

import functools
import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from jbn.config import ArmConfig, UserError
from jbn.config.functions import import_function, lies_in, source_of
from jbn.data import TargetStats, input_stats_of, normalize_inputs
from jbn.data.sources.user_arrays import finite_rows
from jbn.functional._input_stats import InputStats
from jbn.models import LinenModel, Model, NNXModel, build_model
from jbn.store import INPUTS, read_config, read_source, read_trials, read_variables


class LoadedRun(NamedTuple):
    """A trained model: `model.apply(variables, x, train=False)` gives its output of normalized x.

    `model` is the Linen module, or a `jbn.models.NNXModel` with the same call.
    """

    model: nn.Module | NNXModel
    variables: dict[str, Any]
    config: ArmConfig
    input_stats: InputStats
    input_offset: np.ndarray | None = None
    target_stats: TargetStats | None = None  # of a regression

    def __repr__(self) -> str:
        sizes = [leaf.size for leaf in jax.tree.leaves(self.variables)]
        return f"LoadedRun({type(self.model).__name__}, {sum(sizes):,} numbers)"

    def predict(self, x: Float[Array, "examples *features"]) -> Float[Array, "examples ..."]:
        """The probability of each class, for raw inputs, as the data source gives them.

        Of a regression they are the targets in their own units, float64, of the shape
        `(examples,)` or `(examples, targets)` as in the data. With a loss of yours
        (`loss.factory`) it is what the model gives.

        They are scaled and normalized as the run's inputs were, which `model.apply` leaves to you:
        `jbn.data.normalize_inputs(config.data, input_stats, x)`. If the run has an `input_offset`,
        it is subtracted first, in float64 if x is a NumPy array.

        Raises:
            ValueError: x hasn't the features that the model was trained with, or a number in it is
                NaN or infinite. Or x is traced, as under `jax.jit`, and float64 is needed: for an
                `input_offset`, or for targets in their own units.
        """
        features = self.input_stats.mean.shape
        if jnp.ndim(x) < 1 or jnp.shape(x)[1:] != features:
            wanted = ", ".join(map(str, ("examples", *features)))
            raise ValueError(f"x: found shape {jnp.shape(x)}, wanted ({wanted})")
        if jnp.shape(x)[0] == 0:  # an exported function's batch has a size, but none that is known
            return self.predict(jnp.zeros((1, *features)))[:0]  # of no rows models know no sizes
        _check_finite(x)
        if isinstance(x, jax.core.Tracer):
            self._check_compiles()
        if self.input_offset is not None:
            x = x - self.input_offset
        x = normalize_inputs(self.config.data, self.input_stats, x)
        output: Any = self.model.apply(self.variables, x, train=False)
        if self.config.loss.factory is not None:
            return output
        if self.config.data.targets == "labels":
            return jax.nn.softmax(output)
        assert self.target_stats is not None  # of numbers
        mean, std = self.target_stats
        return np.asarray(output, np.float64).reshape(len(x), *mean.shape) * std + mean

    def _check_compiles(self) -> None:
        """Raises an error if `predict` needs float64: compiled, it would be float32."""
        if self.input_offset is not None:
            raise ValueError(
                "x: found a traced array, as under jax.jit, wanted numbers: this run subtracts an "
                "offset in float64; subtract input_offset first, and compile model.apply"
            )
        if self.config.data.targets == "numbers" and self.config.loss.factory is None:
            raise ValueError(
                "x: found a traced array, as under jax.jit, wanted numbers: this run's targets are "
                "float64; compile model.apply, and apply target_stats to its result"
            )


def _check_finite(x: Array) -> None:
    """Raises an error if a number isn't finite; traced ones may be any."""
    if isinstance(x, jax.core.Tracer):
        return
    finite = finite_rows(np.asarray(x))
    if not finite.all():
        raise ValueError(
            f"x: found NaN or infinity in {(~finite).sum()} of {len(x)} rows, first in row "
            f"{np.argmin(finite)}; wanted finite numbers: fill them in, or leave the rows out"
        )


def load_run(
    run_dir: str | Path,
    *,
    arm: str | None = None,
    seed: int | None = None,
    best: bool = False,
    factory: Callable[..., Any] | None = None,
    trust_source: bool = False,
) -> LoadedRun:
    """The model, variables and config that `jbn run` left in `run_dir`, to predict with.

    A model by `model.factory` is made by that function, imported as the config names it. Nothing in
    the run's folder is executed, unless you ask for it.

    Args:
        run_dir: the run's folder, e.g. "runs/digits-article".
        arm: one of the run's arms; None is the first.
        seed: one of its seeds; None is the first.
        best: whether to load the variables of the epoch with the best validation metric, which a
            run with `checkpoint.keep_best` keeps; else those after the last epoch.
        factory: makes the model, in the place of `model.factory`.
        trust_source: whether to execute the source of `model.factory` that is kept in `run_dir`.

    Returns:
        A `LoadedRun`.

    Raises:
        UserError: the folder holds no run, or none in which that arm's trial is done; or
            `model.factory` can't be imported.

    Warns:
        UserWarning: the module of `model.factory` isn't as it was in the run.
    """
    run_dir = Path(run_dir)
    config = read_config(run_dir)
    arm = next(iter(config.arms)) if arm is None else arm
    seeds = range(config.seed, config.seed + config.num_seeds)
    seed = config.seed if seed is None else seed
    if arm not in config.arms:
        raise UserError(f"arm: found {arm!r}, wanted one of {', '.join(config.arms)}")
    if config.sweep.axes:
        raise UserError(
            f"{run_dir}: a sweep keeps numbers, no variables; run its best point by itself, with "
            "--set sweep={} and --set for each of its values"
        )
    if seed not in seeds:
        raise UserError(f"seed: found {seed}, wanted one from {seeds[0]} to {seeds[-1]}")
    trials = read_trials(run_dir)
    if not trials or not ((trials["arm"] == arm) & (trials["seed"] == seed)).any():
        raise UserError(
            f"{run_dir}: the trial of arm {arm!r} and seed {seed} isn't done; let the run go on by "
            "the command that began it"
        )
    if best and not config.checkpoint.keep_best:
        raise UserError(f"best: found a run without checkpoint.keep_best in {run_dir}, wanted one")
    arrays = read_variables(run_dir, arm, seed, best=best)
    try:
        inputs = arrays.pop(INPUTS)
        num_outputs = int(inputs.pop("num_outputs")) or None
        input_offset = inputs.pop("offset", None)
        targets = inputs.pop("targets", None)
        target_stats = None if targets is None else TargetStats(**targets)
        input_stats = input_stats_of(inputs)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{run_dir}: its variables are damaged: {error}; run it again") from None
    arm_config = config.arms[arm]
    path = arm_config.model.factory
    if path is not None and factory is None:
        factory = _factory(run_dir, path, trust_source)
    features = input_stats.mean.shape
    built = build_model(
        arm_config.model, arm_config.norm, num_outputs, features=features, factory=factory
    )
    _check_variables(run_dir, built, arrays, features)
    variables = jax.tree.map(jnp.asarray, arrays)
    model = built.module if isinstance(built, LinenModel) else built
    return LoadedRun(model, variables, arm_config, input_stats, input_offset, target_stats)


def _check_variables(
    run_dir: Path, model: Model, variables: dict[str, Any], features: tuple[int, ...]
) -> None:
    """Raises UserError where the variables aren't those of the model."""
    rngs = dict.fromkeys(("params", "dropout"), jax.random.key(0))
    init = functools.partial(model.init, train=True)
    wanted = dict(jax.eval_shape(init, rngs, jnp.zeros((2, *features))))
    wanted.pop("intermediates", None)
    found = flatten_dict(variables)
    if any(leaf.dtype.kind not in "biufc" for leaf in found.values()):
        raise UserError(f"{run_dir}: its variables are damaged: found no numbers; run it again")
    for path, like in flatten_dict(wanted).items():
        leaf = found.get(path)
        if (
            leaf is None
            or leaf.shape != like.shape
            or not np.can_cast(leaf.dtype, like.dtype, "same_kind")
        ):
            there = "nothing" if leaf is None else f"{leaf.dtype} of shape {leaf.shape}"
            raise UserError(
                f"{run_dir}: its variables are damaged: found {there} at {'/'.join(path)}, where "
                f"the model has {like.dtype} of shape {like.shape}; run it again"
            )


def _factory(run_dir: Path, path: str, trust_source: bool) -> Callable[..., Any]:
    """The function that a config names, or its kept source if that may be executed."""
    module, _, name = path.partition(":")
    source = read_source(run_dir, module)
    if trust_source:
        if source is None:
            raise UserError(f"trust_source: found no source of {module} in {run_dir}")
        spec = importlib.util.spec_from_file_location(f"source_of_{module}", source)
        assert spec is not None  # of a .py file
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = loaded  # dataclasses look there
        try:
            spec.loader.exec_module(loaded)
            return getattr(loaded, name)
        except Exception as error:  # it is a user's program
            raise UserError(f"trust_source: {source} can't be executed: {error!r}") from error
    if lies_in(run_dir, path):
        raise UserError(
            f"model.factory: {module} would be imported from {run_dir} itself, which trust_source="
            "True alone executes; give load_run your function as factory=..."
        )
    try:
        factory = import_function("model.factory", path)
        found = source_of(path)
        if source and found and found[1].encode() != source.read_bytes():
            warnings.warn(
                f"model.factory: {module} isn't as it was in the run; {source} has what it was, "
                "and trust_source=True executes that",
                stacklevel=3,
            )
        return factory
    except UserError as error:
        kept = "" if source is None else f", or trust_source=True to execute {source}"
        raise UserError(f"{error}; give load_run your function as factory=...{kept}") from None
