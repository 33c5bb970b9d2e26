"""A trained model of a run, back from its folder, to predict with."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jbn.config import ArmConfig, UserError
from jbn.data import normalize_inputs
from jbn.data.sources.user_arrays import finite_rows
from jbn.functional._input_stats import InputStats, Remainders
from jbn.models import build_model
from jbn.store import INPUTS, read_config, read_trials, read_variables


class LoadedRun(NamedTuple):
    """A trained model: `model.apply(variables, x, train=False)` makes logits of normalized x."""

    model: nn.Module
    variables: dict[str, Any]
    config: ArmConfig
    input_stats: InputStats
    input_offset: np.ndarray | None = None

    def predict(self, x: Float[Array, "examples *features"]) -> Float[Array, "examples classes"]:
        """The probability of each class, for raw inputs, as the data source gives them.

        They are scaled and normalized as the run's inputs were, which `model.apply` leaves to you:
        `jbn.data.normalize_inputs(config.data, input_stats, x)`. If the run has an `input_offset`,
        it is subtracted first, in float64 if x is a NumPy array.

        Raises:
            ValueError: x hasn't the features that the model was trained with, or a number in it is
                NaN or infinite.
        """
        features = self.input_stats.mean.shape
        if jnp.ndim(x) < 1 or jnp.shape(x)[1:] != features:
            wanted = ", ".join(map(str, ("examples", *features)))
            raise ValueError(f"x: found shape {jnp.shape(x)}, wanted ({wanted})")
        if not len(x):
            return self.predict(jnp.zeros((1, *features)))[:0]  # of no rows models know no sizes
        _check_finite(x)
        if self.input_offset is not None:
            x = x - self.input_offset
        x = normalize_inputs(self.config.data, self.input_stats, x)
        logits: Any = self.model.apply(self.variables, x, train=False)
        return jax.nn.softmax(logits)


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


def load_run(run_dir: str | Path, *, arm: str | None = None, seed: int | None = None) -> LoadedRun:
    """The model, variables and config that `jbn run` left in `run_dir`, to predict with.

    Args:
        run_dir: the run's folder, e.g. "runs/digits-article".
        arm: one of the run's arms; None is the first.
        seed: one of its seeds; None is the first.

    Returns:
        A `LoadedRun`.

    Raises:
        UserError: the folder holds no run, or none in which that arm's trial is done.
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
    arrays = read_variables(run_dir, arm, seed)
    try:
        inputs = arrays.pop(INPUTS)
        num_classes = int(inputs.pop("num_classes"))
        input_offset = inputs.pop("offset", None)
        input_stats = InputStats(**inputs | {"remainders": Remainders(**inputs["remainders"])})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{run_dir}: its variables are damaged: {error}; run it again") from None
    variables = jax.tree.map(jnp.asarray, arrays)
    arm_config = config.arms[arm]
    model = build_model(arm_config.model, arm_config.norm, num_classes)
    return LoadedRun(model, variables, arm_config, input_stats, input_offset)
