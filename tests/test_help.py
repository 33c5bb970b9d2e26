"""What the command says of itself, and what a shell completes."""

import os
import subprocess
import sys
from typing import get_args

import jax
import pytest

import jbn
from jbn.config.schema import PublishedName
from jbn.data.published.registry import REGISTRY

# As `jbn`, but it fails where it has imported JAX: a person waits for it.
LIGHT = """#!{python}
import sys
from typing import get_args
sys.path[:] = {path}
from jbn.__main__ import main
try:
    main()
finally:
    assert "jax" not in sys.modules
"""


def test_help_says_how_to_begin_and_has_the_commands_in_the_order_of_use(jbn_command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = jbn_command("--help")
    assert (code, err) == (0, "")
    begin = ["jbn run digits      learns handwritten digits, with batch norm and without"]
    begin += ["jbn init            writes jbn.toml, a config", "jbn run jbn.toml    trains what it"]
    commands = [f"│ {name} " for name in ("init", "download", "show", "run", "report", "merge")]
    places = [out.index(text) for text in begin + commands]
    assert places == sorted(places)


def test_the_options_of_a_run_are_in_panels(jbn_command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = jbn_command("run", "--help")
    panels = ["─ Options ─", "--set", "─ Where ─", "--out", "─ Many machines ─", "--part"]
    places = [out.index(text) for text in panels]
    assert places == sorted(places)


def test_version_names_what_a_result_depends_on(jbn_command):
    code, out, _ = jbn_command("--version")
    ours, *others = out.split(", ")
    assert (code, ours) == (0, f"jbn {jbn.__version__}")
    assert f"jax {jax.__version__}" in others


@pytest.fixture
def light(tmp_path, monkeypatch):
    """Puts a `jbn` on the path of programs that fails where it imports JAX; returns its folder."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "jbn"
    program.write_text(LIGHT.format(python=sys.executable, path=sys.path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program.parent


def completed(folder, *words):
    """What bash completes the last of the words to, in a folder."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        'eval "$(jbn --show-completion bash)"; complete -p jbn >&2\n'
        f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}\n"
        '_jbn_completion jbn; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.stderr == "complete -o default -F _jbn_completion jbn\n"
    return done.stdout.split()


def test_bash_completes_commands_configs_and_sets_without_jax(light, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("my.toml", "notes.txt"):
        (tmp_path / name).write_text("")
    assert completed(tmp_path, "jbn", "re") == ["report"]
    assert completed(tmp_path, "jbn", "run", "") == ["digits", "bin/", "data/", "my.toml"]
    assert completed(tmp_path, "jbn", "show", "d") == ["digits", "data/"]
    assert completed(tmp_path, "jbn", "run", "my") == []  # -o default: bash takes the paths
    assert completed(tmp_path, "jbn", "download", "mn") == ["mnist"]
    assert completed(tmp_path, "jbn", "run", "--device", "g") == ["gpu"]


def test_the_sets_that_are_completed_are_those_to_download():
    assert tuple(REGISTRY) == get_args(PublishedName)


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_other_shells_have_scripts_too(jbn_command, shell):
    code, script, _ = jbn_command("--show-completion", shell)
    assert code == 0
    assert "_JBN_COMPLETE" in script
    assert f"complete_{shell}" in script


def test_another_shell_is_refused(jbn_command):
    assert jbn_command("--show-completion", "tcsh")[0] == 2
