"""jbn: normalization for JAX. Pure functions here, Flax modules in `jbn.linen` and `jbn.nnx`."""

from typing import TYPE_CHECKING, Any

from jbn.functional._batch import batch_norm as batch_norm
from jbn.functional._moments import Moments as Moments
from jbn.functional._moments import moments as moments
from jbn.functional._normalize import normalize as normalize
from jbn.functional._stats import BatchStats as BatchStats
from jbn.functional._stats import init_batch_stats as init_batch_stats
from jbn.functional._stats import update_batch_stats as update_batch_stats

if TYPE_CHECKING:
    from jbn.checkpoint import load_run as load_run

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`jbn.load_run` when asked for: it needs Flax and pydantic, where `import jbn` needs JAX."""
    if name == "load_run":
        from jbn.checkpoint import load_run

        return load_run
    raise AttributeError(f"module 'jbn' has no attribute {name!r}")
