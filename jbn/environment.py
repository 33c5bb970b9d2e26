"""Where a run runs: the device, the versions, the commit."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from jbn.config import UserError

_PACKAGES = ("jbn", "jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn")


def select_device(name: str | None) -> jax.Device:
    """The device that JAX computes on from here: the first of that name, or of JAX's own choice.

    Raises:
        UserError: JAX sees no device of that name.
    """
    if name is None:
        try:
            return jax.local_devices()[0]
        except (RuntimeError, AssertionError) as error:
            wanted = os.environ.get("JAX_PLATFORMS")
            because = f" with JAX_PLATFORMS={wanted}" if wanted else ""
            reason = f": {error}" if str(error) else ""
            raise UserError(f"JAX finds no device{because}{reason}".splitlines()[0]) from None
    try:
        device = jax.local_devices(backend=name)[0]
    except RuntimeError:
        extra = {"gpu": "pip install 'jbn[cuda13]'", "tpu": "pip install 'jbn[tpu]'"}.get(name)
        raise UserError(
            f"--device {name}: JAX sees no {name} here, only {jax.default_backend()}"
            + (f"; for one you have, {extra}" if extra else "")
        ) from None
    jax.config.update("jax_default_device", device)
    return device


def use_all_cores() -> None:
    """Makes a CPU device of every core it may use, up to 8, unless JAX was told how many to make.

    The lanes of a program are shared out among them: a small network's operations are too small to
    be shared out themselves. Without effect where JAX has made its devices already.
    """
    config: Any = jax.config
    if config.jax_num_cpu_devices < 0:
        with contextlib.suppress(RuntimeError):
            config.update("jax_num_cpu_devices", min(_num_cores(), 8))


def unused_accelerator() -> str | None:
    """What accelerator this machine has and JAX, on the CPU, can't use; None if there is none."""
    if jax.default_backend() != "cpu":
        return None
    if Path("/dev/nvidiactl").exists() or Path("/proc/driver/nvidia/version").exists():
        return "an NVIDIA GPU is here, but this JAX can't use it (pip install 'jbn[cuda13]')"
    if Path("/dev/accel0").exists() or "TPU_NAME" in os.environ:
        return "a TPU is here, but this JAX can't use it (pip install 'jbn[tpu]')"
    return None


def enable_compilation_cache() -> Path | None:
    """Keeps compiled programs in the user's cache folder, or wherever JAX was told to.

    Returns:
        The folder; None if it is no folder of this machine.

    Raises:
        OSError: it can't be written to. Then nothing is kept.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if not folder:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = str(home / "jbn" / "compiled")
    if "://" not in folder:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            jax.config.update("jax_enable_compilation_cache", False)  # which would warn each time
            raise OSError(error.errno, error.strerror, folder) from None
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return None if "://" in folder else Path(folder)


@contextlib.contextmanager
def without_compilation_cache() -> Iterator[None]:
    """Compiles anew what is compiled within, and leaves JAX's cache folder alone."""
    config: Any = jax.config
    before = config.jax_enable_compilation_cache
    config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # or JAX goes on as it began
    try:
        yield
    finally:
        config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def describe_environment(device: jax.Device) -> dict[str, Any]:
    """What a reader needs to run it again: versions, device, git commit of the working folder."""
    return {
        "versions": package_versions(),
        "device": describe_device(device),
        "platform": platform.platform(),
        "num_cpus": _num_cores(),
        "git_commit": _git_commit(),
    }


def _num_cores() -> int:
    """The cores that this process may use: a cluster gives a job some of a machine's."""
    if hasattr(os, "sched_getaffinity"):  # on Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def package_versions() -> dict[str, str | None]:
    """The version of Python and of each package that a result may depend on."""
    versions = {package: _version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), **versions}


def describe_device(device: jax.Device) -> str:
    """Platform, kind and number, e.g. "cpu, 1 device" or "gpu (NVIDIA H100), 2 devices"."""
    count = len(jax.devices(device.platform))
    kind = "" if device.device_kind == device.platform else f" ({device.device_kind})"
    return f"{device.platform}{kind}, {count} device{'s' if count > 1 else ''}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit, with "-dirty" where files differ from it; None outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
