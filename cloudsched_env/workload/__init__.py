"""From tasks to episodes: the calibrated generator, windows of imported traces, and the upper bound of an episode."""

from cloudsched_env.workload.episode import DataTag, Episode, Split, WorkloadSource
from cloudsched_env.workload.source import EvaluationSource, GeneratedSource, TraceSource, make_source
from cloudsched_env.workload.splits import TraceSplits
from cloudsched_env.workload.tasks import RawTasks
from cloudsched_env.workload.window import InfeasibleWindowError

__all__ = [
    "DataTag",
    "Episode",
    "EvaluationSource",
    "GeneratedSource",
    "InfeasibleWindowError",
    "RawTasks",
    "Split",
    "TraceSource",
    "TraceSplits",
    "WorkloadSource",
    "make_source",
]
