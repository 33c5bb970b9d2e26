"""jbn: normalization for JAX.

Functions (`import jbn` imports only JAX, NumPy and jaxtyping). Batch normalization: `batch_norm`,
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

from jbn.functional._batch import batch_norm as batch_norm
from jbn.functional._domain import domain_batch_norm as domain_batch_norm
from jbn.functional._ghost import ghost_batch_norm as ghost_batch_norm
from jbn.functional._group import group_norm as group_norm
from jbn.functional._group import instance_norm as instance_norm
from jbn.functional._input import center as center
from jbn.functional._input import rescale as rescale
from jbn.functional._input import scale_by_max_abs as scale_by_max_abs
from jbn.functional._input import standardize as standardize
from jbn.functional._input import uncenter as uncenter
from jbn.functional._input import unrescale as unrescale
from jbn.functional._input import unscale_by_max_abs as unscale_by_max_abs
from jbn.functional._input import unstandardize as unstandardize
from jbn.functional._input_stats import InputStats as InputStats
from jbn.functional._input_stats import init_input_stats as init_input_stats
from jbn.functional._input_stats import known_input_stats as known_input_stats
from jbn.functional._input_stats import merge_input_stats as merge_input_stats
from jbn.functional._input_stats import update_input_stats as update_input_stats
from jbn.functional._layer import layer_norm as layer_norm
from jbn.functional._layer import rms_norm as rms_norm
from jbn.functional._moments import Moments as Moments
from jbn.functional._moments import merge_moments as merge_moments
from jbn.functional._moments import moments as moments
from jbn.functional._normalize import normalize as normalize
from jbn.functional._renorm import RenormLimits as RenormLimits
from jbn.functional._renorm import batch_renorm as batch_renorm
from jbn.functional._renorm import renorm_limits as renorm_limits
from jbn.functional._stats import BatchStats as BatchStats
from jbn.functional._stats import effective_num_batches as effective_num_batches
from jbn.functional._stats import ema_momentum as ema_momentum
from jbn.functional._stats import init_batch_stats as init_batch_stats
from jbn.functional._stats import interpolate_batch_stats as interpolate_batch_stats
from jbn.functional._stats import is_valid_batch as is_valid_batch
from jbn.functional._stats import merge_batch_stats as merge_batch_stats
from jbn.functional._stats import update_batch_stats as update_batch_stats
from jbn.functional._weight import weight_standardize as weight_standardize

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
    from jbn.trained import load_run as load_run

__version__ = "0.1.0"

_FUNCTIONAL = [
    name
    for name, value in globals().items()
    if getattr(value, "__module__", "").startswith("jbn.functional.")
]
# These need more than JAX: each is imported when it is asked for.
_SUBMODULES = (
    *("config", "convert", "data", "diagnose", "export"),
    *("linen", "models", "nnx", "train", "variables"),
)

if not TYPE_CHECKING:  # a type checker shall refuse other names

    def __getattr__(name: str) -> Any:
        if name in _SUBMODULES:
            return importlib.import_module(f"jbn.{name}")
        if name == "load_run":
            return importlib.import_module("jbn.trained").load_run
        raise AttributeError(f"module 'jbn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_FUNCTIONAL, *_SUBMODULES, "load_run"])
