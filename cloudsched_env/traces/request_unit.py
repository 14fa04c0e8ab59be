"""What a request of 1.0 is: the one place that says how cores of a traced cluster become cores of a scenario.

The task table holds cores, as published or (where a trace publishes fractions only) under the assumption of its format.
Nothing scales them on import. A scenario wants fractions instead, of which 1.0 becomes its own
`WorkloadConfig.cores_of_largest_machine`. The divisor between the two is declared once for each format, is kept in the
metadata of every table, and goes from there into episodes, fitted profiles and generated files; it depends neither on
which optional files were imported nor on which machines they list.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloudsched_env.scenario import WorkloadConfig

__all__ = ["RequestUnit"]


@dataclass(frozen=True)
class RequestUnit:
    """A request of 1.0 in the units of the task table.

    Attributes:
        cores: cores of the table that become `WorkloadConfig.cores_of_largest_machine` cores of a scenario.
        memory_gb: GB of the table that stand for all memory of a machine, where a trace publishes shares of it.
            Scenarios scale memory to their load; this is for files that are written in the published layout.
        because: why, for the page of the format.
    """

    cores: float = WorkloadConfig().cores_of_largest_machine
    memory_gb: float = 32.0
    because: str = "a core of the trace is a core of the scenario"

    def __str__(self) -> str:
        """As the page of the format has it."""
        return (
            f"A request of 1.0 is {self.cores:g} cores: scenarios divide `cpu_cores` by that and multiply by their "
            f"`workload.cores_of_largest_machine` ({self.because})."
        )
