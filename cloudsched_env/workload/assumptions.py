"""What no trace of the supported formats holds, and the numbers with which it is filled.

Everything here is declared as synthetic in `Episode.details` and in `docs/workload.md`. *Calibrated* means: chosen in
a parameter study of the simulator so that no role is trivial; not measured on any production system.
"""

from __future__ import annotations

__all__ = [
    "CENSORED_FACTOR",
    "DEADLINE_OFFSET_S",
    "DEADLINE_SLOWDOWN",
    "INGEST",
    "MEMORY_MAXIMUM_SHARE",
    "MEMORY_MINIMUM_GB",
    "MEMORY_PHASE_FACTOR",
    "MISSING_CPU_REQUEST",
    "MISSING_DURATION_S",
    "MISSING_MEMORY_GB",
    "READ_PHASE_FACTOR",
    "READ_SIGMA",
    "SCAN",
    "SCAN_SHARE",
    "SYNTHETIC_COLUMNS",
    "WRITE_PHASE_FACTOR",
    "WRITE_SIGMA",
]

# Phases: index into the pairs below.
INGEST, SCAN = 0, 1

# Response-time limit = slowdown x base time + offset, by SLO class (latency-critical, normal, batch). Calibrated.
DEADLINE_SLOWDOWN = (1.5, 2.0, 4.0)
DEADLINE_OFFSET_S = (0.5, 1.0, 2.0)

# Reads: work x lognormal(sigma) x phase factor, then scaled to `read_load`. Calibrated.
READ_SIGMA = 0.7
READ_PHASE_FACTOR = (0.5, 1.6)
# Part of a task's reads that no cache saves. Calibrated.
SCAN_SHARE = (0.05, 0.5)

# Writes: work x lognormal(sigma), scaled to one total storage bandwidth over all replicas, x phase factor x
# `write_load`. Calibrated: ingest phases write 24 % of the storage bandwidth, scan phases 1 %.
WRITE_SIGMA = 0.5
WRITE_PHASE_FACTOR = (0.24, 0.01)

# Memory: the trace's request x phase factor, scaled to `memory_load`, then limited. Calibrated.
MEMORY_PHASE_FACTOR = (0.6, 1.6)
MEMORY_MINIMUM_GB = 0.05
MEMORY_MAXIMUM_SHARE = 0.45  # of the smallest node, so that every node can run every task

# Gaps of the trace. Google 2011 lacks requests for 0.01 % of tasks; 0.03 is near the median of both requests
# (of the largest machine: 16 cores, 32 GB). A run that the trace's end cut off has seen at least half of its
# time on average (inspection paradox of a uniformly placed end), hence the factor 2. 500 s is near the median
# run time of finished attempts (460 s).
MISSING_CPU_REQUEST = 0.03
MISSING_MEMORY_GB = 0.96
MISSING_DURATION_S = 500.0
CENSORED_FACTOR = 2.0
MINIMUM_DURATION_S = 1e-3
MINIMUM_MEMORY_REQUEST_GB = 1e-4

SYNTHETIC_COLUMNS = {
    "cacheable_read_mb, scan_read_mb": "work x lognormal, read and write phases, scaled to workload.read_load",
    "write_mb": "work x lognormal, read and write phases, scaled to workload.write_load",
    "deadline_s": "slowdown x base time + offset of the SLO class",
    "estimated_time_s, estimated_read_mb": "true value x lognormal error, workload.estimate_error",
    "shard": "hash of the logical job name within the tenant, workload.shard_skew and hot_shift_interval_s",
    "shard_hot_set_mb, shard_replicas, shard_homes": "drawn for each episode",
    "arrival_s": "compressed in time, warped towards even work and drawn into flash crowds, workload.time_compression, "
    "arrival_warp and flash_crowds",
    "base_time_s, memory_gb": "the trace's run times and requests, scaled to workload.cpu_load and memory_load",
}
