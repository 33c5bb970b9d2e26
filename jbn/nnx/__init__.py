"""Flax NNX modules: they own the variables; the mathematics is that of jbn's functions."""

from jbn.nnx._batch import BatchNorm as BatchNorm
from jbn.nnx._layer import GroupNorm as GroupNorm
from jbn.nnx._layer import InstanceNorm as InstanceNorm
from jbn.nnx._layer import LayerNorm as LayerNorm
from jbn.nnx._layer import RMSNorm as RMSNorm
