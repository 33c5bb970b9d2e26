"""The arguments of batch normalization: other words, other defaults, and PyTorch's momentum."""

from typing import Any


def batch_norm_arguments_from_pytorch(
    *, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True
) -> dict[str, Any]:
    """The arguments of `jbn.linen.BatchNorm` that mean what PyTorch's do.

        momentum = 1 - PyTorch's

    which is the weight of the new value there, of the old one here.

    Args:
        eps, momentum, affine: as given to `torch.nn.BatchNorm1d`, 2d, 3d or `SyncBatchNorm`; the
            defaults are PyTorch's.

    Returns:
        A dict of `epsilon`, `momentum`, `use_scale` and `use_bias`.

    Raises:
        ValueError: momentum is outside 0 to 1, or None.

    Example:
        >>> from jbn.convert import batch_norm_arguments_from_pytorch
        >>> arguments = batch_norm_arguments_from_pytorch(momentum=0.01)
        >>> arguments["momentum"], arguments["epsilon"]
        (0.99, 1e-05)
    """
    if momentum is None:
        raise ValueError(
            "momentum: found None, PyTorch's plain average of all batches, wanted a number; for "
            "evaluation any will do, for training give jbn.batch_norm "
            "momentum=jbn.ema_momentum(step, 1.0)"
        )
    return {
        "epsilon": eps,
        "momentum": _of_the_other_value(momentum),
        "use_scale": affine,
        "use_bias": affine,
    }


def batch_norm_arguments_to_pytorch(
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    use_scale: bool = True,
    use_bias: bool = True,
) -> dict[str, Any]:
    """The arguments of PyTorch's batch normalization that mean what `jbn.linen.BatchNorm`'s do.

        momentum = 1 - jbn's

    Args:
        momentum, epsilon, use_scale, use_bias: as given to `jbn.linen.BatchNorm`; the defaults are
            its own.

    Returns:
        A dict of `eps`, `momentum` and `affine`.

    Raises:
        ValueError: momentum is outside 0 to 1; or there is a scale without a bias or a bias
            without a scale, which PyTorch doesn't have.

    Example:
        >>> from jbn.convert import batch_norm_arguments_to_pytorch
        >>> batch_norm_arguments_to_pytorch(momentum=0.9)
        {'eps': 1e-05, 'momentum': 0.1, 'affine': True}
    """
    if use_scale != use_bias:
        raise ValueError(
            f"use_scale, use_bias: found {use_scale} and {use_bias}, wanted both or neither, as "
            "PyTorch's affine; use both, with a scale of ones or a bias of zeros for the one "
            "there wasn't"
        )
    return {"eps": epsilon, "momentum": _of_the_other_value(momentum), "affine": use_scale}


def batch_norm_arguments_from_keras(
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    center: bool = True,
    scale: bool = True,
) -> dict[str, Any]:
    """The arguments of `jbn.linen.BatchNorm` that mean what Keras's do.

    The numbers are the same ones; what differs is Keras's default epsilon, 1e-3.

    Args:
        momentum, epsilon, center, scale: as given to `keras.layers.BatchNormalization`; the
            defaults are Keras's.

    Returns:
        A dict of `momentum`, `epsilon`, `use_bias` and `use_scale`.

    Example:
        >>> from jbn.convert import batch_norm_arguments_from_keras
        >>> batch_norm_arguments_from_keras(scale=False)
        {'momentum': 0.99, 'epsilon': 0.001, 'use_bias': True, 'use_scale': False}
    """
    return {"momentum": momentum, "epsilon": epsilon, "use_bias": center, "use_scale": scale}


def batch_norm_arguments_to_keras(
    *,
    momentum: float = 0.99,
    epsilon: float = 1e-5,
    use_bias: bool = True,
    use_scale: bool = True,
) -> dict[str, Any]:
    """The arguments of Keras's batch normalization that mean what `jbn.linen.BatchNorm`'s do.

    Args:
        momentum, epsilon, use_bias, use_scale: as given to `jbn.linen.BatchNorm`; the defaults are
            its own.

    Returns:
        A dict of `momentum`, `epsilon`, `center` and `scale`.

    Example:
        >>> from jbn.convert import batch_norm_arguments_to_keras
        >>> batch_norm_arguments_to_keras()
        {'momentum': 0.99, 'epsilon': 1e-05, 'center': True, 'scale': True}
    """
    return {"momentum": momentum, "epsilon": epsilon, "center": use_bias, "scale": use_scale}


def _of_the_other_value(momentum: float) -> float:
    """The weight of the old value for that of the new one, and the other way round."""
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"momentum: found {momentum}, wanted a number from 0 to 1")
    # 1 - 0.9 is 0.09999999999999998: rounding gives back the decimal that was meant.
    return round(1.0 - momentum, 15)
