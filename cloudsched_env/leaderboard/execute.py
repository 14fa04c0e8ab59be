"""Where units are played: in this process, or in several processes of this machine.

An executor pulls units from an iterator as it has room for them, so that whoever makes the units can leave out those
of an agent that has failed meanwhile. `cloudsched_env.rllib.leaderboard_cluster` has one for a Ray cluster.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from cloudsched_env.leaderboard.units import Unit, UnitResult, play_unit

__all__ = ["Executor", "Here", "Processes"]


class Executor(Protocol):
    """Plays units in any order."""

    def run(self, units: Iterator[Unit]) -> Iterator[UnitResult]:
        """Results as they come; pulls units only as it has room for them."""
        ...


class Here:
    """One after the other, in this process."""

    def run(self, units: Iterator[Unit]) -> Iterator[UnitResult]:
        """See `Executor`."""
        for unit in units:
            yield play_unit(unit)


class Processes:
    """Several processes of this machine.

    Args:
        jobs: how many.
    """

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"jobs is {jobs}: expected at least 1")
        self.jobs = jobs

    def run(self, units: Iterator[Unit]) -> Iterator[UnitResult]:
        """See `Executor`.

        Raises:
            RuntimeError: a process was killed from outside.
        """
        # spawn: a fork would copy the locks of libraries that have threads.
        pool = ProcessPoolExecutor(self.jobs, multiprocessing.get_context("spawn"), initializer=_ignore_interrupts)
        waiting: set[Future[UnitResult]] = set()
        try:
            more = True
            while more or waiting:
                # One unit beyond those that are played keeps every process busy.
                while more and len(waiting) < 2 * self.jobs:
                    unit = next(units, None)
                    if unit is None:
                        more = False
                    else:
                        waiting.add(pool.submit(play_unit, unit))
                if waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process was killed from outside, probably for want of memory; finished episodes are kept: run the "
                "same command again, with fewer --jobs"
            ) from error
        finally:
            workers = list((pool._processes or {}).values())
            pool.shutdown(wait=not waiting, cancel_futures=True)
            if waiting:  # interrupted: what is being played is not waited for
                for process in workers:
                    process.terminate()


def _ignore_interrupts() -> None:
    """Ctrl-C ends the process that started the others; that one ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
