"""What folding batch normalization away gains in evaluation: time, and bytes that XLA counts.

    python experiments/bench/folding.py

The article's network (a batch of 1024 digits) and ResNet-18 with the CIFAR stem (a batch of 32
images), float32, compiled, with its batch normalizations and without. Writes `folding.json` beside
this file.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
from in_turn import compared, environment, seconds_in_turn

import jbn.linen
from jbn.models import MLP, resnet18
from jbn.variables import fold_batch_norm

NUM_ROUNDS = 25
NORM = jbn.linen.BatchNorm
CASES = {
    "the article's network": (MLP((128, 64), 10, NORM), MLP((128, 64), 10, None), (1024, 64)),
    "ResNet-18": (
        resnet18(num_outputs=10, norm=NORM, stem="cifar"),
        resnet18(num_outputs=10, norm=None, stem="cifar"),
        (32, 32, 32, 3),
    ),
}


def main() -> None:
    """Measures in turn, prints, and writes the JSON."""
    cases = []
    for name, (model, plain, shape) in CASES.items():
        x = jax.random.normal(jax.random.key(0), shape)
        variables = jax.jit(functools.partial(model.init, train=True))(jax.random.key(1), x)
        _, updates = model.apply(variables, x, train=True, mutable=["batch_stats"])
        variables = {**variables, **updates}
        evaluate = functools.partial(model.apply, train=False)
        evaluate_plain = functools.partial(plain.apply, train=False)
        folded = fold_batch_norm(evaluate, evaluate_plain, variables, x)
        largest = jnp.max(jnp.abs(evaluate(variables, x)))
        programs, bytes_accessed = {}, {}
        for side, function, weights in (
            ("jbn", evaluate_plain, folded.variables),
            ("with its norms", evaluate, variables),
        ):
            compiled = jax.jit(function).lower(weights, x).compile()
            programs[side] = functools.partial(compiled, weights, x)
            bytes_accessed[side] = compiled.cost_analysis()["bytes accessed"]
        case = {
            "network": name,
            "shape": shape,
            "relative_difference": float(folded.largest_difference / largest),
            "bytes_accessed": bytes_accessed,
            **compared(seconds_in_turn(programs, NUM_ROUNDS)),
        }
        cases.append(case)
        print(case)
    result = {
        "command": "python experiments/bench/folding.py",
        "environment": environment(),
        "num_rounds": NUM_ROUNDS,
        "cases": cases,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
