"""Downloads published data sets into the user's cache folder."""

from pathlib import Path

from jbn.config import UserError
from jbn.data.published.find import cache_dir
from jbn.data.published.registry import REGISTRY


def download(name: str) -> Path:
    """Downloads the files of a set into the download cache, and returns their folder.

    It doesn't download a file that is there already and has the right SHA-256. A new file gets its
    name only after its SHA-256 is verified. So a failed download leaves no broken file behind.

    Raises:
        UserError: the set is unknown, pooch isn't installed, or a file can't be fetched or written.
    """
    if name not in REGISTRY:
        raise UserError(f"download: found {name!r}, wanted one of {', '.join(REGISTRY)}")
    try:
        from pooch.core import create
    except ModuleNotFoundError:
        raise UserError(
            f"download: {name} is fetched by pooch, which isn't installed; pip install "
            "'jbn[download]'"
        ) from None
    file_set = REGISTRY[name]
    folder = cache_dir() / name
    sums = {file: f"sha256:{file_set.sha256[file]}" for file in file_set.files}
    cache = create(path=folder, base_url=file_set.url, registry=sums)
    for file in file_set.files:
        try:
            cache.fetch(file)
        # The network and the folder raise OSError; a wrong checksum raises ValueError.
        except (OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"{file_set.url}{file}: can't be fetched into {folder}: {reason}"
            ) from None
    return folder
