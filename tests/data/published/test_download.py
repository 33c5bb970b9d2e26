"""Downloads from a server on this machine: verified, kept, and no trace of what failed."""

import functools
import http.server
import sys
import threading
from typing import Any

import pytest

from jbn.config import UserError
from jbn.data.published.download import download
from jbn.data.published.find import cache_dir, find_files

FILES = {"a.gz": b"a, zipped", "b.gz": b"b, zipped"}


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Any

    def log_message(self, format, *arguments):
        self.server.requests.append(self.path)


@pytest.fixture
def server(monkeypatch, places, publish, write):
    """Serves the folder `server.folder`, which has the set's files, and notes each request."""
    pytest.importorskip("pooch")
    requests = pytest.importorskip("requests")
    folder = places / "served"
    write(folder, FILES)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    responses, get = [], requests.get

    def remembered(*args, **options):
        responses.append(get(*args, **options))
        return responses[-1]

    monkeypatch.setattr(requests, "get", remembered)
    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        server: Any = found
        server.requests, server.folder = [], folder
        url = f"http://127.0.0.1:{server.server_port}/"
        publish("mnist", FILES, url=url, files={name: (name[0],) for name in FILES})
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    for response in responses:  # pooch leaves open what the server refuses
        response.close()


def kept():
    """What the set's folder in the cache holds."""
    return {path.name: path.read_bytes() for path in (cache_dir() / "mnist").iterdir()}


def test_files_are_fetched_once_to_where_they_are_found(server):
    folder = download("mnist")
    assert folder == cache_dir() / "mnist"
    assert kept() == FILES
    assert find_files("mnist", None)[0] == folder
    assert server.requests == ["/a.gz", "/b.gz"]
    download("mnist")
    assert len(server.requests) == 2


def test_a_damaged_or_missing_file_is_fetched_again(server):
    folder = download("mnist")
    (folder / "a.gz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="jbn download mnist"):
        find_files("mnist", None)
    download("mnist")
    assert kept() == FILES
    (folder / "b.gz").unlink()
    download("mnist")
    assert kept() == FILES
    assert server.requests == ["/a.gz", "/b.gz", "/a.gz", "/b.gz"]


def test_a_file_of_another_checksum_is_not_kept(server):
    (server.folder / "b.gz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"/b.gz: can't be fetched into .*b\.gz.* hash") as error:
        download("mnist")
    assert "\n" not in str(error.value)
    assert kept() == {"a.gz": FILES["a.gz"]}


def test_a_file_that_is_not_served_is_one_line(server):
    (server.folder / "a.gz").unlink()
    with pytest.raises(UserError, match=r"/a.gz: can't be fetched into .*404") as error:
        download("mnist")
    assert "\n" not in str(error.value)
    assert kept() == {}


def test_a_server_that_does_not_answer_is_one_line(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"/a.gz: can't be fetched into .*onnection") as error:
        download("mnist")
    assert "\n" not in str(error.value)


def test_a_folder_that_can_not_be_written_is_one_line(server, places, write):
    write(places, {"cache": b"a file where the folder would be"})
    with pytest.raises(UserError, match="can't be fetched into") as error:
        download("mnist")
    assert "\n" not in str(error.value)


def test_without_pooch_the_command_is_named(monkeypatch, places):
    monkeypatch.setitem(sys.modules, "pooch.core", None)
    with pytest.raises(UserError, match=r"pip install 'jbn\[download\]'$"):
        download("mnist")


def test_an_unknown_set_is_named_with_the_known_ones():
    with pytest.raises(UserError, match="found 'digits', wanted one of mnist, fashion_mnist, cif"):
        download("digits")
