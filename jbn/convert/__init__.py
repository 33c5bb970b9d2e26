"""Weights and arguments to and from other frameworks' names and conventions; NumPy alone.

`from_pytorch`, `to_pytorch`, `from_keras` and `to_keras` convert a dict of arrays. What isn't in
the arrays is in the constructors: `batch_norm_arguments_from_pytorch` and its three siblings.
`input_stats_arguments_from_keras` and `input_stats_to_keras` convert a Normalization layer.
"""

from jbn.convert._arguments import (
    batch_norm_arguments_from_keras as batch_norm_arguments_from_keras,
)
from jbn.convert._arguments import (
    batch_norm_arguments_from_pytorch as batch_norm_arguments_from_pytorch,
)
from jbn.convert._arguments import (
    batch_norm_arguments_to_keras as batch_norm_arguments_to_keras,
)
from jbn.convert._arguments import (
    batch_norm_arguments_to_pytorch as batch_norm_arguments_to_pytorch,
)
from jbn.convert._input_stats import (
    input_stats_arguments_from_keras as input_stats_arguments_from_keras,
)
from jbn.convert._input_stats import input_stats_to_keras as input_stats_to_keras
from jbn.convert._keras import from_keras as from_keras
from jbn.convert._keras import to_keras as to_keras
from jbn.convert._pytorch import from_pytorch as from_pytorch
from jbn.convert._pytorch import to_pytorch as to_pytorch
