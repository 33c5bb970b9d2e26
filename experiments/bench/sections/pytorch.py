"""PyTorch's side of the comparison, where PyTorch is installed, on the device that it sees."""

import importlib.util
from collections.abc import Callable
from typing import Any

HAS_TORCH = importlib.util.find_spec("torch") is not None
HAS_TORCHVISION = importlib.util.find_spec("torchvision") is not None


def make_torch_layer(
    norm: str, shape: tuple[int, ...], dtype: str, backward: bool, relu: bool
) -> Callable[[int], None] | None:
    """Returns `call(num_steps)`, which takes steps of PyTorch's layer; None without PyTorch.

    x has the same bytes in the same order as JAX's: channels last.
    """
    if not HAS_TORCH:
        return None
    import torch
    from torch.nn import functional as F

    device, torch_dtype = _device(), getattr(torch, dtype)
    features = shape[-1]

    def like_x() -> Any:
        x = torch.randn(shape, device=device).to(torch_dtype)
        # An axis of channels after the batch's, where PyTorch looks for it; no byte moves.
        return x if norm in ("layer_norm", "rms_norm") else x.movedim(-1, 1)

    x, dy = like_x().requires_grad_(backward), like_x()
    parameter_dtype = torch.float32 if norm == "batch_norm" else torch_dtype
    one, zero = torch.ones, torch.zeros
    scale, bias = (
        make(features, device=device, dtype=parameter_dtype).requires_grad_(backward)
        for make in (one, zero)
    )
    mean, var = (make(features, device=device) for make in (zero, one))
    layers: dict[str, Callable[[], Any]] = {
        "batch_norm": lambda: F.batch_norm(x, mean, var, scale, bias, training=True, momentum=0.01),
        "layer_norm": lambda: F.layer_norm(x, (features,), scale, bias, eps=1e-6),
        "rms_norm": lambda: F.rms_norm(x, (features,), scale, eps=1e-6),
        "group_norm": lambda: F.group_norm(x, 8, scale, bias, eps=1e-6),
        "instance_norm": lambda: F.instance_norm(x, weight=scale, bias=bias, eps=1e-6),
    }
    wanted = (x, scale) if norm == "rms_norm" else (x, scale, bias)

    def call(num_steps: int) -> None:
        for _ in range(num_steps):
            y = F.relu(layers[norm]()) if relu else layers[norm]()
            if backward:
                torch.autograd.grad(y, wanted, dy)
        _synchronize()

    return call


def make_torch_resnet50(batch_size: int) -> Callable[[], None] | None:
    """Returns a function that takes a compiled training step; None without torchvision or a GPU.

    bfloat16 by autocast, channels last, SGD with momentum: as PyTorch's own recipes have it.
    """
    if not (HAS_TORCH and HAS_TORCHVISION):
        return None
    import torch
    import torchvision

    if not torch.cuda.is_available():
        return None
    model = torchvision.models.resnet50().cuda().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch_size, 3, 224, 224, device="cuda")
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(1000, (batch_size,), device="cuda")

    def loss_of(images: Any, labels: Any) -> Any:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            return torch.nn.functional.cross_entropy(model(images), labels)

    compiled = torch.compile(loss_of)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        compiled(images, labels).backward()
        optimizer.step()
        _synchronize()

    return step


def torch_version() -> dict[str, str]:
    """PyTorch's version, for the environment; empty without it."""
    if not HAS_TORCH:
        return {}
    import torch

    return {"torch": torch.__version__}


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
