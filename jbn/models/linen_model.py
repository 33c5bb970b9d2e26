"""A Flax Linen module with some of its layers frozen."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from flax import linen as nn

from jbn.config.functions import takes
from jbn.variables._masks import is_matched
from jbn.variables._recompute import FROZEN


@dataclasses.dataclass(frozen=True)
class LinenModel:
    """A Linen module, called as it is but for its frozen layers.

    Args:
        module: the module.
        freeze: patterns of paths. In training a layer normalizes with its running statistics if
            their paths match one.
    """

    module: nn.Module
    freeze: tuple[str, ...] = ()

    def init(self, rngs: Any, x: Any, train: bool = True) -> Any:
        """The variables before the first step."""
        return self.module.init(rngs, x, train=train)

    def apply(self, variables: Any, x: Any, train: bool, **options: Any) -> Any:
        """What the module's own `apply` returns."""
        if not self.freeze:
            return self.module.apply(variables, x, train=train, **options)
        with nn.intercept_methods(self._freeze_norms):
            return self.module.apply(variables, x, train=train, **options)

    def takes(self, name: str) -> bool:
        """Whether the module is called with an argument of this name."""
        return takes(self.module.__call__, name)

    def _freeze_norms(
        self,
        next_call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        layer = context.module
        is_norm = isinstance(layer, nn.BatchNorm) and context.method_name == "__call__"
        if not is_norm or not is_matched((*layer.path, "mean"), self.freeze):
            return next_call(*args, **kwargs)
        # Flax wants the choice in the layer or in the call, not in both.
        call = inspect.signature(type(layer).__call__).bind(layer, *args, **kwargs)
        call.arguments.pop("use_running_average", None)
        object.__setattr__(layer, "use_running_average", True)
        object.__setattr__(layer, FROZEN, True)
        return next_call(*call.args[1:], **call.kwargs)
