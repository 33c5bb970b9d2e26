"""Tools for the variables of a normalized network: they take variables and return variables."""

from jbn.variables._fold import Fold as Fold
from jbn.variables._fold import Folded as Folded
from jbn.variables._fold import find_folds as find_folds
from jbn.variables._fold import fold_batch_norm as fold_batch_norm
from jbn.variables._fold import fold_into_layers as fold_into_layers
from jbn.variables._masks import batch_norm_mask as batch_norm_mask
from jbn.variables._masks import decay_mask as decay_mask
from jbn.variables._masks import path_mask as path_mask
from jbn.variables._recompute import recompute_batch_stats as recompute_batch_stats
from jbn.variables._recompute import recompute_nnx_batch_stats as recompute_nnx_batch_stats
from jbn.variables._swap import swap_norm as swap_norm
