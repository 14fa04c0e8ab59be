"""Playing suites of the leaderboard on a Ray cluster: one task a batch, on whichever node has a core."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ray

from cloudsched_env.leaderboard.units import Unit, UnitResult, play_unit
from cloudsched_env.rllib.ray_session import ray_session

__all__ = ["RayCluster"]


class RayCluster:
    """An executor (`cloudsched_env.leaderboard.execute.Executor`) on Ray.

    Every node needs this package, and traces and agents' files under the same paths, as on a shared file system.

    Args:
        address: ``host:port`` of the head node, ``auto`` for the cluster of this machine, ``local`` for a new one. A
            Ray that is already running in this process is used, and left running.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def run(self, units: Iterator[Unit]) -> Iterator[UnitResult]:
        """Results as they come; a unit is pulled whenever a core is about to become free.

        Raises:
            RuntimeError: there is no cluster at the address.
        """
        try:
            with ray_session(None if self.address == "local" else self.address):
                yield from self._run(units)
        except ConnectionError as error:
            raise RuntimeError(f"no Ray cluster at {self.address!r}: {error}") from error

    def _run(self, units: Iterator[Unit]) -> Iterator[UnitResult]:
        remote = ray.remote(num_cpus=1, max_retries=2)(play_unit)
        waiting: list[Any] = []
        more = True
        try:
            while more or waiting:
                room = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
                while more and len(waiting) < room:
                    unit = next(units, None)
                    if unit is None:
                        more = False
                    else:
                        waiting.append(remote.remote(unit))
                if waiting:
                    done, waiting = ray.wait(waiting, num_returns=1)
                    yield from ray.get(done)
        finally:
            for left in waiting:
                ray.cancel(left, force=True)
