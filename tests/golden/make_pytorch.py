"""Networks in evaluation, by PyTorch: pytorch_*.npz.

    python tests/golden/make_pytorch.py

with torch 2.13.0 (CPU) and NumPy 2.4.6, which nothing else here needs; each file has the versions
it was made by. A file holds the input `x`, the output `y` in evaluation, and the state dict with
`weights/` before each name. That of the MLP also has `train_x`, a further batch, and with `after/`
before each name the state dict after the statistics have moved by it.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent


class CNN(nn.Module):
    """Convolutions of all kinds and norms of all kinds; what is flattened is normed, too."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8, eps=1e-3, momentum=0.3)
        )
        self.grouped = nn.Conv2d(8, 12, (3, 2), groups=2, bias=False)
        self.group_norm = nn.GroupNorm(3, 12)
        self.depthwise = nn.Conv2d(12, 24, 3, padding=1, groups=12)
        self.instance_norm = nn.InstanceNorm2d(24, affine=True)
        self.up = nn.ConvTranspose2d(24, 6, (4, 3), stride=2, padding=1, output_padding=(0, 1))
        self.layer_norm = nn.LayerNorm(6)
        self.flat_norm = nn.BatchNorm1d(6 * 4 * 6)
        self.head = nn.Linear(6 * 4 * 6, 5)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.group_norm(self.grouped(x)))
        x = torch.relu(self.instance_norm(self.depthwise(x)))
        x = self.up(x)
        x = self.layer_norm(x.movedim(1, -1)).movedim(-1, 1)
        return self.head(self.flat_norm(x.flatten(1)))


class Tokens(nn.Module):
    """An embedding, a dense layer without bias, which looks like one, and convolutions in 1-D."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.norm = nn.RMSNorm(6, eps=1e-5)
        self.conv = nn.Conv1d(6, 8, 3)
        self.up = nn.ConvTranspose1d(8, 8, 3, stride=2, bias=False)
        self.head = nn.Linear(8, 3, bias=False)

    def forward(self, x):
        x = torch.relu(self.conv(self.norm(self.embed(x)).movedim(1, -1)))
        return self.head(torch.relu(self.up(x)).sum(-1))


def trained(model, *batches):
    """The model after a step of training for each batch, with scales that aren't all ones."""
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.5, 1.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for x in batches:
        loss = (model(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def arrays(prefix, model):
    return {prefix + name: value.numpy().copy() for name, value in model.state_dict().items()}


def save(name, model, x, **more):
    with torch.no_grad():
        y = model(x).numpy()
    versions = np.array(f"torch {torch.__version__}, numpy {np.__version__}")
    np.savez_compressed(
        FOLDER / f"pytorch_{name}.npz",
        x=x.numpy(),
        y=y,
        versions=versions,
        **arrays("weights/", model),
        **more,
    )


def main():
    torch.manual_seed(0)
    mlp = nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8, eps=1e-3, momentum=0.3),
        nn.ReLU(),
        nn.Linear(8, 4),
        nn.BatchNorm1d(4, affine=False),
        nn.Linear(4, 3),
    )
    trained(mlp, *(2 + 3 * torch.randn(5, 7, 6)))
    before = {name: value.clone() for name, value in mlp.state_dict().items()}
    train_x = 2 + 3 * torch.randn(7, 6)
    mlp.train()(train_x)
    after = arrays("after/", mlp)
    mlp.load_state_dict(before)
    save("mlp", mlp.eval(), torch.randn(5, 6), train_x=train_x.numpy(), **after)

    cnn = trained(CNN(), *torch.randn(5, 6, 3, 7, 8))
    save("cnn", cnn, torch.randn(4, 3, 7, 8))

    tokens = trained(Tokens(), *torch.randint(7, (3, 6, 9)))
    save("tokens", tokens, torch.randint(7, (4, 9)))


if __name__ == "__main__":
    main()
