"""The lines of jbn that refuse something, and which of them are reached."""

import ast
import functools
import sys
import threading
from pathlib import Path

import jbn

PACKAGE = Path(jbn.__file__).parent
# Where configs, data and folders are read. The other rooms are not looked at here.
ROOMS = ("_npz.py", "config", "data", "store", "run")


def _files():
    for room in ROOMS:
        path = PACKAGE / room
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


@functools.cache
def refusing_lines():
    """Where an error is raised or a mistake is told: (file, line) -> function and source.

    Such as "load_csv: raise UserError(...)".
    """
    found = {}
    for path in _files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = str(path.relative_to(PACKAGE))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        # A function comes before those inside of it.
        within = {node: function.name for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            is_raise = isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
            if isinstance(node, ast.stmt | ast.expr) and (is_raise or _tells(node, name)):
                found[name, node.lineno] = f"{within[node]}: {ast.unparse(node)}"
    return found


def _tells(node, name):
    """Whether the mistake that a line of text names is handed to who raises it."""
    if name not in ("config/schema.py", "config/check.py"):
        return False
    if isinstance(node, ast.Return):
        return isinstance(node.value, ast.JoinedStr) or (
            isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
    return isinstance(node, ast.Yield)


class Reached:
    """As a context: notes the lines that refuse something, as they are executed."""

    def __init__(self):
        self.lines = set()
        self._names = {str(path): str(path.relative_to(PACKAGE)) for path in _files()}
        self._refusing = {}
        for name, line in refusing_lines():
            self._refusing.setdefault(name, set()).add(line)

    def __enter__(self):
        self._before = sys.gettrace()
        threading.settrace(self._of_call)
        sys.settrace(self._of_call)
        return self

    def __exit__(self, *_):
        sys.settrace(self._before)
        threading.settrace(self._before)

    def _of_call(self, frame, event, argument):
        name = self._names.get(frame.f_code.co_filename)
        lines = self._refusing.get(name)
        if not lines:
            return None

        def of_line(frame, event, argument):
            if frame.f_lineno in lines:
                self.lines.add((name, frame.f_lineno))
            return of_line

        return of_line
