"""The `jbn` command, where its packages are installed; else what to install."""

import sys

_EXTRA = {"pydantic", "typer", "rich", "sklearn", "matplotlib", "jinja2"}


def main() -> None:
    """Runs the command line."""
    try:
        from jbn.cli import main as cli_main

        cli_main()
    except ModuleNotFoundError as error:
        if error.name not in _EXTRA:
            raise
        print(f"jbn: the command needs {error.name}: pip install 'jbn[run]'", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # while packages are imported; later on the command answers it
        sys.exit(130)


if __name__ == "__main__":
    main()
