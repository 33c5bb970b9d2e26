"""jbn: normalization for JAX. Pure functions here, Flax modules in `jbn.linen` and `jbn.nnx`."""

from jbn.functional._batch import batch_norm as batch_norm
from jbn.functional._moments import Moments as Moments
from jbn.functional._moments import moments as moments
from jbn.functional._normalize import normalize as normalize
from jbn.functional._stats import BatchStats as BatchStats
from jbn.functional._stats import init_batch_stats as init_batch_stats
from jbn.functional._stats import update_batch_stats as update_batch_stats

__version__ = "0.1.0"
