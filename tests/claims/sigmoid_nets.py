"""The network of sigmoids in float64 NumPy: its loss and its gradient, from the formulas."""

import numpy as np

EPSILON = 1e-5


def loss_and_gradient(params, x, y):
    """The mean cross-entropy in training mode; the gradient, a tree as the parameters are."""
    params = {name: {k: np.asarray(v, float) for k, v in of.items()} for name, of in params.items()}
    has_norm = "BatchNorm_0" in params
    h, saved, n = np.asarray(x, float), [], len(x)
    for layer in range(3):
        dense = params[f"Dense_{layer}"]
        z = h @ dense["kernel"] + dense["bias"]
        inverse = 1 / np.sqrt(z.var(0) + EPSILON)
        normal = (z - z.mean(0)) * inverse
        norm = params.get(f"BatchNorm_{layer}")
        u = normal * norm["scale"] + norm["bias"] if has_norm else z
        out = 1 / (1 + np.exp(-u))
        saved.append((h, normal, inverse, out))
        h = out
    logits = h @ params["Dense_3"]["kernel"] + params["Dense_3"]["bias"]
    logits -= logits.max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss = -log_p[np.arange(n), y].mean()
    d = (np.exp(log_p) - np.eye(log_p.shape[-1])[y]) / n
    gradient = {"Dense_3": {"kernel": h.T @ d, "bias": d.sum(0)}}
    for layer in (2, 1, 0):
        d = d @ params[f"Dense_{layer + 1}"]["kernel"].T
        h, normal, inverse, out = saved[layer]
        d = d * out * (1 - out)
        if has_norm:
            gradient[f"BatchNorm_{layer}"] = {"scale": (d * normal).sum(0), "bias": d.sum(0)}
            d = d * params[f"BatchNorm_{layer}"]["scale"]
            d = inverse * (d - d.mean(0) - normal * (d * normal).mean(0))
        gradient[f"Dense_{layer}"] = {"kernel": h.T @ d, "bias": d.sum(0)}
    return loss, gradient


def stepped(params, gradient, rate):
    """The parameters after a step of gradient descent, in float64."""
    return {
        name: {k: np.asarray(v, float) - rate * gradient[name][k] for k, v in of.items()}
        for name, of in params.items()
    }
