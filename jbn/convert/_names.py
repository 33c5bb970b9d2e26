"""Names of layers on both sides: each has its counterpart, or a sentence says which has none."""

import difflib
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike

Arrays = dict[str, np.ndarray]  # of one layer, by their own names: kernel, bias, …


def arrays_of_layers(
    argument: str, arrays: Mapping[str, ArrayLike], separator: str, known: Collection[str]
) -> dict[str, Arrays]:
    """The arrays of each layer; what stands before the last separator names the layer."""
    layers: dict[str, Arrays] = {}
    for name, array in arrays.items():
        layer, _, last = name.rpartition(separator)
        if last not in known:
            raise ValueError(
                f"{argument}: found {name!r}, wanted names that end in {listed(known)}; leave it "
                "out, and convert it by hand if the network needs it"
            )
        layers.setdefault(layer, {})[last] = np.asarray(array)
    return layers


def check_pairs(
    names: Mapping[str, str], side: Iterable[str], argument: str, held: Collection[str]
) -> None:
    """Every name on one side of `names` is held by the argument, and the other way round."""
    sources: dict[str, str] = {}
    for source, path in names.items():
        if path in sources:
            raise ValueError(
                f"names: found the path {path!r} for {sources[path]!r} and for {source!r}, wanted "
                "one of its own for each; give every layer once"
            )
        sources[path] = source
    named = set(side)
    unnamed = [name for name in held if name not in named]
    for name in sorted(named - set(held)):
        raise ValueError(
            f"names: found {name!r}, wanted a layer that {argument} has arrays of; "
            f"{suggestion(name, unnamed or held)} Correct it or take it out"
        )
    if unnamed:
        raise ValueError(
            f"{argument}: found arrays of {listed(map(repr, unnamed))}, wanted those in names "
            "alone; add the others to names, or leave their arrays out"
        )


def check_chosen(argument: str, chosen: Iterable[str], names: Collection[str]) -> None:
    """All that an argument speaks of is in names."""
    if isinstance(chosen, str):
        raise TypeError(f"{argument}: found {chosen!r}, wanted several names; make it a tuple")
    for name in chosen:
        if name not in names:
            raise ValueError(
                f"{argument}: found {name!r}, wanted a key of names; {suggestion(name, names)}"
            )


def check_transposed(transposed: Collection[str], names: Mapping[str, str]) -> None:
    """They are in names, and those are among them that Flax's own names say to be."""
    check_chosen("transposed", transposed, names)
    for name, path in names.items():
        # A kernel of as many inputs as outputs would fit, and be wrong.
        if path.rpartition("/")[2].startswith("ConvTranspose_") and name not in transposed:
            raise ValueError(
                f"transposed: found no {name!r}, whose path is {path!r}, wanted all transposed "
                "convolutions; add it"
            )


def suggestion(name: str, known: Collection[str]) -> str:
    """The nearest known name, or some of them."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there is {listed(map(repr, known))}."


def listed(words: Iterable[str]) -> str:
    """Words in a row, no more than can be read."""
    words = list(words)
    return ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
