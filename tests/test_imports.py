"""Imports point down, and a name of `jbn` is imported when it is asked for."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jbn

pytestmark = pytest.mark.quick

PACKAGE = Path(__file__).parent.parent / "jbn"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each file or folder of jbn/, from the bottom up: the rooms it may import, then the libraries.
# The standard library is free. Imports inside functions count.
NORMS = {"functional", "_layers", "linen", "nnx"}
LEARNING = {*NORMS, "variables", "config", "models", "data", "train"}
SHELL = {*LEARNING, "environment", "processes", "store", "summary"}
ROOMS = {
    "functional": (set(), {"jax", "jaxtyping", "numpy"}),
    "_layers": ({"functional"}, {"jax", "jaxtyping"}),
    "linen": ({"functional", "_layers"}, {"jax", "jaxtyping", "flax"}),
    "nnx": ({"functional", "_layers"}, {"jax", "jaxtyping", "flax"}),
    "_npz": (set(), {"numpy"}),
    "convert": (set(), {"numpy"}),
    "variables": ({"functional", "_layers"}, {"jax", "jaxtyping", "flax"}),
    "export": (set(), {"jax", "jaxtyping", "flatbuffers"}),
    "diagnose": ({"variables"}, {"jax", "jaxtyping", "flax"}),
    "config": (set(), {"pydantic", "numpy"}),
    "models": ({*NORMS, "variables", "config"}, {"jax", "jaxtyping", "flax"}),
    "data": ({"_npz", "config", "functional"}, {"jax", "jaxtyping", "numpy", "pooch"}),
    "train": (LEARNING, {"jax", "jaxtyping", "numpy", "flax", "optax"}),
    "environment": ({"config"}, {"jax"}),
    "native_output": (set(), set()),
    "processes": ({"config", "native_output"}, {"jax", "numpy"}),
    "store": ({"_npz", "config"}, {"jax", "numpy", "flax", "pydantic", "orbax"}),
    "summary": ({"config", "store"}, {"numpy"}),
    "trained": (
        {"functional", "config", "models", "data", "store"},
        {"jax", "jaxtyping", "numpy", "flax"},
    ),
    "report": ({"config", "store", "summary"}, {"numpy", "matplotlib", "jinja2", "markupsafe"}),
    "run": ({*SHELL, "diagnose"}, {"jax", "numpy", "rich"}),
    "cli": ({*SHELL, "run", "report", "__init__"}, {"typer", "rich"}),
    "__main__": ({"cli"}, set()),
    "__init__": (
        {
            *("functional", "config", "convert", "data", "diagnose", "export", "linen"),
            *("models", "nnx", "train", "variables", "trained"),
        },
        set(),
    ),
}


def room_of(path):
    """The file or folder of jbn/ that the path is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(source):
    """Dotted names of all that is imported, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import, wanted an absolute one"
            inside = node.module == "jbn"
            yield from (f"jbn.{a.name}" for a in node.names) if inside else (node.module,)


def breaches(room, source):
    """A sentence for each import that the table doesn't allow."""
    if room not in ROOMS:
        yield f"jbn/{room} is in no row of ROOMS in {__file__}: say there what it may import"
        return
    rooms, libraries = ROOMS[room]
    for module in imported_modules(source):
        top, _, rest = module.partition(".")
        if top != "jbn":
            if top not in libraries | sys.stdlib_module_names:
                yield f"{room} imports the library {top}, and may import {sorted(libraries)}"
        else:
            below = rest.split(".")[0] if rest.split(".")[0] in ROOMS else "__init__"
            if below not in rooms | {room}:
                yield f"{room} imports jbn's {below}, and may import {sorted(rooms)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    assert list(breaches(room_of(path), path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("functional", "import flax.linen"),
        ("functional", "def f():\n    from jbn.linen import BatchNorm"),
        ("functional", "from jbn import linen"),
        ("functional", "import jbn"),
        ("linen", "from jbn.config import Config"),
        ("config", "if True:\n    from jbn.functional._batch import batch_norm"),
        ("models", "import jbn.train.loop"),
        ("train", "from jbn.run import run"),
        ("report", "import jbn.cli"),
        ("utils", "import os"),
    ],
)
def test_an_import_that_points_up_is_found(room, source):
    (sentence,) = breaches(room, source)
    assert room in sentence


def test_no_room_imports_one_that_imports_it():
    def reaches(room):
        return set().union(*({below} | reaches(below) for below in ROOMS[room][0] - {room}))

    for room in ROOMS:
        assert room not in reaches(room)


def loaded_by(statement):
    """Names of the packages outside the standard library that a fresh Python then holds."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    return set(output.split()) - sys.stdlib_module_names


def test_importing_jbn_loads_nothing_and_its_functions_load_jax_and_jaxtyping_only():
    assert loaded_by("import jbn") - loaded_by("pass") == {"jbn"}
    assert loaded_by("import jbn; jbn.batch_norm") - loaded_by("import jax, jaxtyping") == {"jbn"}


def test_the_command_says_something_before_it_loads_jax():
    assert "jax" not in loaded_by("import jbn.cli, jbn.config")


def test_the_table_of_a_run_loads_nothing_that_draws():
    loaded = loaded_by("from jbn.report import summary_table")
    assert not {"matplotlib", "jinja2", "scipy"} & loaded


def test_dir_lists_the_public_names_and_each_is_there():
    names = dir(jbn)
    assert {"batch_norm", "is_valid_batch", "data", "models", "config", "load_run"} <= set(names)
    assert not [name for name in names if name.startswith("_") or not hasattr(jbn, name)]
    assert not {"importlib", "TYPE_CHECKING", "Any", "functional"} & set(names)


def test_a_name_that_is_not_there_is_an_error_for_people_and_for_type_checkers():
    with pytest.raises(AttributeError, match="module 'jbn' has no attribute 'nope'"):
        # mypy, which checks this file too, says so where a comment ignores no error.
        _ = jbn.nope  # type: ignore[attr-defined]
