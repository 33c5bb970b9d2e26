"""Where JAX computes, for what is written otherwise for a CPU."""

from typing import Any

import jax


def default_platform() -> str:
    """The platform that JAX computes on where nobody says otherwise, e.g. "cpu"."""
    config: Any = jax.config
    device = config.jax_default_device
    if device is None:
        return jax.default_backend()
    return str(getattr(device, "platform", device))
