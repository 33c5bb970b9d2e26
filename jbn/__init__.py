"""jbn: normalization for JAX.

Functions (they need only JAX, NumPy and jaxtyping). Batch normalization: `batch_norm`,
`batch_renorm` with `renorm_limits`, `ghost_batch_norm`, `domain_batch_norm`. Hidden layers:
`layer_norm`, `rms_norm`, `group_norm`, `instance_norm`; weights: `weight_standardize`. Parts:
`moments`, `merge_moments`, `normalize`. Running statistics: `BatchStats`, `init_batch_stats`,
`update_batch_stats`, `is_valid_batch`, `merge_batch_stats`, `interpolate_batch_stats`,
`ema_momentum`, `effective_num_batches`. Inputs: `InputStats`, `init_input_stats`,
`known_input_stats`, `update_input_stats`, `merge_input_stats`, `standardize`, `rescale`, `center`,
`scale_by_max_abs` and their inverses, `unstandardize` and so on.

Submodules: `jbn.linen` and `jbn.nnx` have the Flax modules. `jbn.variables`, `jbn.convert`,
`jbn.diagnose` and `jbn.export` are tools for trained networks. `jbn.train` is compiled training,
with `jbn.config`, `jbn.data` and `jbn.models`. `load_run` loads a trained model of a run of the
`jbn` command.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jbn import config as config
    from jbn import convert as convert
    from jbn import data as data
    from jbn import diagnose as diagnose
    from jbn import export as export
    from jbn import linen as linen
    from jbn import models as models
    from jbn import nnx as nnx
    from jbn import train as train
    from jbn import variables as variables
    from jbn.functional import *  # noqa: F403
    from jbn.trained import load_run as load_run

__version__ = "0.1.0"

_SUBMODULES = (
    *("config", "convert", "data", "diagnose", "export"),
    *("linen", "models", "nnx", "train", "variables"),
)

# Each name is imported when it is asked for: the command says something before JAX is there.
if not TYPE_CHECKING:  # a type checker shall refuse other names

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES:
            return importlib.import_module(f"jbn.{name}")
        if name == "load_run":
            return importlib.import_module("jbn.trained").load_run
        if name in _functions():
            return getattr(importlib.import_module("jbn.functional"), name)
        raise AttributeError(f"module 'jbn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_functions(), *_SUBMODULES, "load_run"])


def _functions() -> list[str]:
    functional = importlib.import_module("jbn.functional")
    return [name for name in dir(functional) if not name.startswith("_")]
