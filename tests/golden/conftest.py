"""The scripts that make the files import frameworks that the tests do without."""

collect_ignore_glob = ["make_*.py"]
