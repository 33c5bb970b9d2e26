"""What an NNX layer holds."""

from flax import nnx


def variables(layer):
    """Name -> (kind, shape, dtype) of each variable."""
    return {
        name: (type(variable), variable[...].shape, variable[...].dtype)
        for name, variable in vars(layer).items()
        if isinstance(variable, nnx.Variable)
    }
