"""Flax NNX modules: they own the variables; the mathematics is that of jbn's functions."""

from jbn.nnx._batch import BatchNorm as BatchNorm
from jbn.nnx._domain import DomainBatchNorm as DomainBatchNorm
from jbn.nnx._frozen import FrozenBatchNorm as FrozenBatchNorm
from jbn.nnx._ghost import GhostBatchNorm as GhostBatchNorm
from jbn.nnx._input import InputNorm as InputNorm
from jbn.nnx._input import InputStat as InputStat
from jbn.nnx._layer import GroupNorm as GroupNorm
from jbn.nnx._layer import InstanceNorm as InstanceNorm
from jbn.nnx._layer import LayerNorm as LayerNorm
from jbn.nnx._layer import RMSNorm as RMSNorm
from jbn.nnx._renorm import BatchRenorm as BatchRenorm
from jbn.nnx._weight import WeightStandardizedConv as WeightStandardizedConv
from jbn.nnx._weight import WeightStandardizedLinear as WeightStandardizedLinear
