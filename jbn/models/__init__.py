"""Architectures: a name from the config to a Flax module."""

from jbn.models.build import build_model as build_model
from jbn.models.mlp import MLP as MLP
