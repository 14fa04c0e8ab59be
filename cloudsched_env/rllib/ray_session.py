"""Starting and stopping Ray: quietly, on this machine by default, on a cluster by its address."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ray_session", "silence_ray"]

_OBJECT_STORE_BYTES = 500 * 2**20


def silence_ray() -> None:
    """Keep Ray and RLlib from printing notices that a user can do nothing about; call before importing ray."""
    for name, value in {
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
        "OMP_NUM_THREADS": "1",
    }.items():
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    for name in ("ray", "ray.rllib", "ray.tune", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def ray_session(address: str | None = None, workers: int = 0) -> Iterator[None]:
    """A running Ray for the body; one that this call started is stopped afterwards.

    Args:
        address: of a cluster (``auto``, ``host:port`` or ``ray://…``); None starts Ray on this machine only. A local
            start never attaches to a cluster that happens to run here.
        workers: runners and learners that will each need a CPU slot; a local Ray gets enough slots for them, so that
            more runners than cores wait for the processor and not for ever.
    """
    silence_ray()
    import ray

    if ray.is_initialized():
        yield
        return
    package_parent = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package_parent, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"env_vars": {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore::DeprecationWarning"}}
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # nobody else reaches a Ray that listens on this machine
        environment["env_vars"]["PYTHONPATH"] = path
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, workers + 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
            runtime_env=environment,
        )
    else:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment)
    silence_ray()  # ray.init sets its loggers' levels anew
    try:
        yield
    finally:
        ray.shutdown()
