"""Tools on the variables of a normalized network: variables in, variables out."""

from jbn.variables._recompute import recompute_batch_stats as recompute_batch_stats
from jbn.variables._recompute import recompute_nnx_batch_stats as recompute_nnx_batch_stats
