"""Ray: whether a run needs it, how it is started or found, and that nothing of it stays."""

import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from iikata.config import Experiment
from iikata.core import signals
from iikata.core.errors import IikataError
from iikata.pipeline.events import OnEvent, Warned

INSTALL = "pip install 'iikata[ray]'"
CLUSTER = "Start one by hand, with the same RAY_AUTH_TOKEN on every node (docs/scaling.md): ray start --head"


def address(experiment: Experiment, emit: OnEvent) -> str | None:
    """Return the Ray address that the experiment's devices lie at, `local` for this machine's; None for one device."""
    wanted = experiment.devices
    if wanted in ("cpu", "1"):
        return None
    if wanted == "auto":
        count = gpus()
        if count < 2 or len(experiment.arms()) < 2:
            return None
        if find_spec("ray") is None:
            emit(Warned(f"this machine has {count} GPUs, and one is used: the others need Ray, {INSTALL}"))
            return None
        return "local"
    if find_spec("ray") is None:
        raise IikataError(f"{experiment.at('devices')}devices: {wanted} needs the package ray: {INSTALL}.")
    return "auto" if wanted == "ray" else wanted


def gpus() -> int:
    import torch

    return torch.cuda.device_count()  # asks the driver; the head itself computes nothing on them


def kinds(ray: Any, threads: int) -> tuple[dict[str, int], int]:
    """Return what a worker takes of a node, and how many fit: one a GPU, else one for every `threads` processors."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if count := sum(int(node.get("GPU", 0)) for node in nodes):
        return {"num_gpus": 1, "num_cpus": 0}, count
    count = sum(int(node.get("CPU", 0)) // threads for node in nodes)
    if not count:
        raise IikataError(f"devices: no node of the Ray cluster has a GPU, or {threads} processors as this one uses.")
    return {"num_cpus": threads}, count


@contextmanager
def connected(where: str) -> Iterator[Any]:
    """Start Ray on this machine or join the cluster at `where`; give its module, and leave nothing of it behind.

    Raises IikataError where there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
    # Of a lost worker iikata tells by itself; Ray's own pages of it would land on stdout, where results belong.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    if where == "local":  # its ports listen on all interfaces: nobody without this token is served
        if "ray" in sys.modules and os.environ.get("RAY_AUTH_MODE") != "token":  # read when it is imported
            raise IikataError("devices: set RAY_AUTH_MODE=token before `import ray`, or give devices: 1.")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    folder = tempfile.mkdtemp(prefix="iikata-")
    local: dict[str, Any] = {}
    if where == "local":
        # For every processor that it is told of Ray starts a process beforehand; the workers here are one a GPU.
        count = {"num_cpus": gpus()} if gpus() else {}
        local = {"include_dashboard": False, "_temp_dir": folder, "_node_ip_address": "127.0.0.1", **count}
    try:
        import ray

        with signals.kept():  # Ray puts its own ways to end in their place
            try:
                ray.init(where, log_to_driver=False, logging_level=logging.ERROR, **local)
            except Exception as error:  # each of its layers raises its own
                raise _refused(where, error) from None
        yield ray
    finally:
        with suppress(Exception):
            ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _refused(where: str, error: Exception) -> IikataError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")
    if where == "local":
        return IikataError(f"devices: Ray did not start on this machine: {said}. With one device: devices: 1")
    if "ray[client]" in said:
        return IikataError(
            f"devices: {where} is reached through Ray Client, which is missing here: pip install 'ray[client]'"
        )
    return IikataError(f"devices: no Ray cluster answers at {where}: {said}. {CLUSTER}.")
