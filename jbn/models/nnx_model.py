"""A Flax NNX model as pure functions, with the calls that a Linen module has."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from flax.traverse_util import unflatten_dict
from jaxtyping import Array

from jbn.config.functions import takes
from jbn.variables._masks import is_matched
from jbn.variables._recompute import freeze_norm, record_nnx_moments

# They follow from the keys of a call, or are of one call alone: no state of a model.
_NO_STATE = (nnx.RngState, nnx.Intermediate)


@dataclasses.dataclass(frozen=True)
class NNXModel:
    """An NNX model whose variables are outside of it, as a Linen module's are.

    Its variables are dicts by collection: "params" for `nnx.Param`, "batch_stats" for
    `nnx.BatchStat`, and the name that Flax gives to every other type. Paths are those of the NNX
    model, in text.

    Each call makes the model anew, as a part of the program that JAX traces, and puts the variables
    into it. XLA leaves the initial values out, for nothing uses them.

    Args:
        make: makes the model of `nnx.Rngs` with the streams "params" and "dropout".
        freeze: patterns of paths. In training a layer normalizes with its running statistics if
            their paths match one.
        records: whether `apply` also returns, beside each layer's statistics, the moments of what
            it takes.
    """

    make: Callable[[nnx.Rngs], nnx.Module]
    freeze: tuple[str, ...] = ()
    records: bool = False

    def init(self, rngs: Mapping[str, Array], x: Any, train: bool = True) -> dict[str, Any]:
        """The variables before the first step. They don't depend on x, which NNX models know."""
        return self._variables_of(self.make(nnx.Rngs(**rngs)))

    def apply(
        self,
        variables: Mapping[str, Any],
        x: Any,
        train: bool,
        *,
        mutable: Sequence[str] | None = None,
        rngs: Mapping[str, Array] | None = None,
        **options: Any,
    ) -> Any:
        """The output; with `mutable`, also the new variables of these collections.

        A model that is called with `train` is given it, and the options, such as `mask`.
        """
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(0), **(rngs or {})}
        model: Any = self.make(nnx.Rngs(**keys))
        _put(model, variables)
        model.train() if train else model.eval()
        self._freeze_norms(model)
        if self.records:
            record_nnx_moments(model)
        if takes(model.__call__, "train"):
            options["train"] = train
        y = model(x, **options)
        if mutable is None:
            return y
        updates = {name: of for name, of in self._variables_of(model).items() if name in mutable}
        return y, updates

    def with_variables(self, variables: Mapping[str, Any]) -> nnx.Module:
        """The NNX model with these variables in it."""
        model = self.make(nnx.Rngs(params=0, dropout=0))
        _put(model, variables)
        return model

    def takes(self, name: str) -> bool:
        """Whether the model is called with an argument of this name."""
        found = []

        def look() -> None:
            model: Any = self.make(nnx.Rngs(params=0, dropout=0))
            found.append(takes(model.__call__, name))

        jax.eval_shape(look)  # computes no initial values
        return found[0]

    def _freeze_norms(self, model: nnx.Module) -> None:
        for path, layer in nnx.iter_modules(model):
            if isinstance(layer, nnx.BatchNorm) and is_matched((*path, "mean"), self.freeze):
                freeze_norm(layer)

    def _variables_of(self, model: nnx.Module) -> dict[str, Any]:
        collections: dict[str, dict[tuple[str, ...], Any]] = {"params": {}}
        for path, variable in _flat_variables(model):
            collections.setdefault(_collection(variable), {})[_in_text(path)] = variable.get_value()
        return {name: unflatten_dict(found) for name, found in collections.items()}


def _put(model: nnx.Module, variables: Mapping[str, Any]) -> None:
    state = [
        (path, variable.replace(functools.reduce(operator.getitem, names, variables)))
        for path, variable in _flat_variables(model)
        for names in [(_collection(variable), *_in_text(path))]
    ]
    nnx.update(model, nnx.from_flat_state(state))


def _flat_variables(model: nnx.Module) -> list[tuple[tuple[Any, ...], Any]]:
    found: Any = nnx.to_flat_state(nnx.state(model, nnx.Variable))
    return [(path, variable) for path, variable in found if not isinstance(variable, _NO_STATE)]


def _in_text(path: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(map(str, path))


def _collection(variable: nnx.Variable[Any]) -> str:
    for base, name in ((nnx.Param, "params"), (nnx.BatchStat, "batch_stats")):
        if isinstance(variable, base):
            return name
    return nnx.variablelib.variable_name_from_type(type(variable), allow_register=True)
