"""Flax Linen modules: they own the variables; the mathematics is that of jbn's functions."""

from jbn.linen._batch import BatchNorm as BatchNorm
from jbn.linen._layer import GroupNorm as GroupNorm
from jbn.linen._layer import InstanceNorm as InstanceNorm
from jbn.linen._layer import LayerNorm as LayerNorm
from jbn.linen._layer import RMSNorm as RMSNorm
