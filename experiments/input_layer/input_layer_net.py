"""The article's network with a batch norm of its inputs, too."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jbn.models import MLP


class Net(nn.Module):
    """Batch norm, and then the article's network; returns logits."""

    num_outputs: int
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        x = self.norm(use_running_average=not train)(x.reshape(len(x), -1))
        return MLP((128, 64), self.num_outputs, self.norm)(x, train)
