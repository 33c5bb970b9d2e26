"""Flax Linen modules: they own the variables; the mathematics is that of jbn's functions."""

from jbn.linen._batch import BatchNorm as BatchNorm
from jbn.linen._domain import DomainBatchNorm as DomainBatchNorm
from jbn.linen._frozen import FrozenBatchNorm as FrozenBatchNorm
from jbn.linen._ghost import GhostBatchNorm as GhostBatchNorm
from jbn.linen._input import InputNorm as InputNorm
from jbn.linen._layer import GroupNorm as GroupNorm
from jbn.linen._layer import InstanceNorm as InstanceNorm
from jbn.linen._layer import LayerNorm as LayerNorm
from jbn.linen._layer import RMSNorm as RMSNorm
from jbn.linen._renorm import BatchRenorm as BatchRenorm
from jbn.linen._weight import WeightStandardizedConv as WeightStandardizedConv
from jbn.linen._weight import WeightStandardizedDense as WeightStandardizedDense
