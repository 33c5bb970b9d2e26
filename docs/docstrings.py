"""What Sphinx shows of docstrings and signatures: hooks of autodoc, which conf.py connects."""

import inspect
import re
import types
from collections.abc import Iterable, Iterator
from typing import Any

_SECTION = re.compile(r"(Args|Attributes|Example|Raises|References|Returns|Warns):$")
_FIELD = re.compile(r"    (\w+): [^#]*  # (?!type:)(.*)$")
_NAMES = re.compile(r"    \w+(, \w+)+,$")
_NAMED = re.compile(r"<function (?:\S+<locals>\.)?(\w+)(?: at \w+)?>|<class '([\w.]+)'>")
_FLAXS_OWN = re.compile(r", parent=<[^>]*>, name=None")
_OBJECT = re.compile(r"<[\w.]+ object[^>]*>")


def as_restructured_text(
    app: Any, what: str, name: str, what_is: Any, options: Any, lines: list[str]
):
    """Makes reStructuredText of plain text, with the sections that napoleon knows."""
    if isinstance(what_is, types.UnionType):  # whose docstring is Python's, of all unions
        lines[:] = [f"alias of ``{' | '.join(map(_name_of, what_is.__args__))}``"]
        return
    lines += _lines_of_fields(what_is) if what == "class" else []
    lines[:] = _with_formulas_marked(_plain(_with_results_listed(_with_names_joined(lines))))


def shorten_signature(
    app: Any, what: str, name: str, what_is: Any, options: Any, signature: Any, returned: Any
):
    """Names what is a default, and leaves out what every Linen module takes."""
    if signature is None:
        return None
    signature = _NAMED.sub(r"\1\2", _FLAXS_OWN.sub("", signature))
    return _OBJECT.sub("...", signature), returned


def _name_of(one: Any) -> str:
    return one.__name__ if isinstance(one, type) else str(one)


def _lines_of_fields(record: type) -> list[str]:
    """The comments that a NamedTuple or a dataclass has beside its fields, as a section."""
    if not hasattr(record, "_fields") and "__dataclass_fields__" not in vars(record):
        return []
    fields = [_FIELD.match(line) for line in inspect.getsource(record).splitlines()]
    said = [f"    {field[1]}: {field[2]}" for field in fields if field]
    return ["", "Attributes:", *said, ""] if said else []


def _with_names_joined(lines: Iterable[str]) -> Iterator[str]:
    """Names of arguments that share a meaning, and go on in a second line, in one line."""
    start = ""
    for line in lines:
        if start or _NAMES.match(line):
            start += line if not start else " " + line.strip()
            if start.endswith(","):
                continue
            line, start = start, ""
        yield line


def _with_results_listed(lines: Iterable[str]) -> list[str]:
    """Several results, each with its name, as a list."""
    lines = list(lines)
    if "Returns:" not in lines:
        return lines
    start = lines.index("Returns:") + 1
    end = lines.index("", start) if "" in lines[start:] else len(lines)
    results = lines[start:end]
    heads = [line for line in results if not line.startswith("     ")]
    if len(heads) > 1 and all(re.match(r"    \w+: ", line) for line in heads):
        listed = [f"    - {line[4:]}" if line in heads else line[2:] for line in results]
        lines[start:end] = ["    A tuple of", "", *listed]
    return lines


def _plain(lines: Iterable[str]) -> Iterator[str]:
    r"""The lines of prose with \* and \| for * and |, which mean something to Sphinx."""
    in_example = False
    for line in lines:
        in_example = line == "Example:" or (in_example and not _SECTION.match(line))
        if in_example or line.lstrip().startswith(">>>"):
            yield line
            continue
        parts = re.split(r"(`[^`]*`)", line)
        parts[::2] = [re.sub(r"([*|])", r"\\\1", part) for part in parts[::2]]
        yield "".join(parts)


def _with_formulas_marked(lines: Iterable[str]) -> Iterator[str]:
    """Indented lines before the first section as literal blocks: they are formulas or code."""
    in_formula = in_sections = False
    before = ""
    for line in lines:
        in_sections |= bool(_SECTION.match(line))
        is_indented = line.startswith("    ")
        if is_indented and not in_sections and not in_formula and not before:
            yield from ("::", "")
        in_formula = not in_sections and (is_indented or (in_formula and not line))
        yield re.sub(r"\\([*|])", r"\1", line) if in_formula else line
        before = line
