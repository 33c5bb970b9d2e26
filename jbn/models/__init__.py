"""Architectures, and the Flax module that a config describes."""

from jbn.models.build import Model as Model
from jbn.models.build import build_model as build_model
from jbn.models.build import norm_of_batch as norm_of_batch
from jbn.models.build import recording as recording
from jbn.models.cnn import CNN as CNN
from jbn.models.linen_model import LinenModel as LinenModel
from jbn.models.mlp import MLP as MLP
from jbn.models.nnx_model import NNXModel as NNXModel
from jbn.models.resnet import BasicBlock as BasicBlock
from jbn.models.resnet import BottleneckBlock as BottleneckBlock
from jbn.models.resnet import ResNet as ResNet
from jbn.models.resnet import resnet18 as resnet18
from jbn.models.resnet import resnet50 as resnet50
