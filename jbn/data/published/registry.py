"""The published data sets: their addresses, their files, and the SHA-256 of each file."""

from collections.abc import Mapping
from typing import NamedTuple


class FileSet(NamedTuple):
    """The files of a data set, as published and unpacked."""

    url: str  # the address of a published file is this, then its name
    folders: tuple[str, ...]  # where the files may be in a place, in the order of the search
    files: Mapping[str, tuple[str, ...]]  # from a published name to the paths of its unpacked files
    sha256: Mapping[str, str]  # of each file, published or unpacked, by its name without folders


def _parse_sums(lines: str) -> dict[str, str]:
    """From file names to SHA-256, as the command `sha256sum` prints them."""
    return {name: digest for digest, name in (line.split() for line in lines.split("\n") if line)}


_MNIST = """
440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609  train-images-idx3-ubyte.gz
3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c  train-labels-idx1-ubyte.gz
8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6  t10k-images-idx3-ubyte.gz
f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6  t10k-labels-idx1-ubyte.gz
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  train-images-idx3-ubyte
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5  train-labels-idx1-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  t10k-images-idx3-ubyte
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2  t10k-labels-idx1-ubyte
"""

_FASHION_MNIST = """
3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84  train-images-idx3-ubyte.gz
a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845  train-labels-idx1-ubyte.gz
346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073  t10k-images-idx3-ubyte.gz
67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5  t10k-labels-idx1-ubyte.gz
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte
"""

# The MD5 of this archive is the one on the set's page, c32a1d4ab5d03f1284b67883e8d87530.
_CIFAR10 = """
c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd  cifar-10-binary.tar.gz
cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5  data_batch_1.bin
a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed  data_batch_2.bin
bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67  data_batch_3.bin
014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48  data_batch_4.bin
755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add  data_batch_5.bin
8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b  test_batch.bin
"""

_IDX_FILES = {
    f"{split}-{part}-ubyte.gz": (f"{split}-{part}-ubyte",)
    for split in ("train", "t10k")
    for part in ("images-idx3", "labels-idx1")
}
_CIFAR10_BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")

REGISTRY: dict[str, FileSet] = {
    "mnist": FileSet(
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        folders=("mnist", ".", "MNIST/raw"),  # the last is torchvision's
        files=_IDX_FILES,
        sha256=_parse_sums(_MNIST),
    ),
    "fashion_mnist": FileSet(
        url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        folders=("fashion_mnist", ".", "FashionMNIST/raw"),
        files=_IDX_FILES,
        sha256=_parse_sums(_FASHION_MNIST),
    ),
    "cifar10": FileSet(
        url="https://www.cs.toronto.edu/~kriz/",
        folders=("cifar10", "."),
        files={
            "cifar-10-binary.tar.gz": tuple(
                f"cifar-10-batches-bin/{name}" for name in _CIFAR10_BATCHES
            )
        },
        sha256=_parse_sums(_CIFAR10),
    ),
}
