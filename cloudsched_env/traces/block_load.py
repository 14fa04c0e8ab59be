"""Requests of disks to storage background load: what the block traces share.

Each reader stages its requests as ``requests`` (t_us, device, writes, bytes, latency_us); they are summed over
intervals of one device. Traffic of a request belongs to the interval in which the request begins.
"""

from __future__ import annotations

from cloudsched_env.traces.metadata import SyntheticColumn

__all__ = ["COLUMNS_FROM", "EMPTY", "ROW_COUNTS", "SPAN_SQL", "SYNTHETIC", "TABLE_SQL"]

# Sums of integers first, one division at the end: the same numbers for any number of threads.
TABLE_SQL = """
SELECT bin * $interval_us / 1e6 AS start_s,
       $interval_us / 1e6 AS interval_s,
       device,
       reads * 1e6 / $interval_us AS reads_per_s,
       writes * 1e6 / $interval_us AS writes_per_s,
       read_bytes::DOUBLE / $interval_us AS read_mb_per_s,
       write_bytes::DOUBLE / $interval_us AS write_mb_per_s,
       latency_us / 1e6 / timed AS latency_mean_s
FROM (
    SELECT t_us // $interval_us AS bin, device,
           count(*) FILTER (NOT writes) AS reads, count(*) FILTER (writes) AS writes,
           coalesce(sum(bytes) FILTER (NOT writes), 0) AS read_bytes,
           coalesce(sum(bytes) FILTER (writes), 0) AS write_bytes,
           sum(latency_us) AS latency_us, nullif(count(latency_us), 0) AS timed
    FROM requests GROUP BY bin, device)
"""
SPAN_SQL = "SELECT min(t_us) / 1e6, max(t_us) / 1e6 FROM requests"
ROW_COUNTS = {
    "devices": "SELECT count(DISTINCT device) FROM requests",
    "reads": "SELECT count(*) FROM requests WHERE NOT writes",
    "writes": "SELECT count(*) FROM requests WHERE writes",
    "megabytes_read": "SELECT coalesce(sum(bytes), 0) // 1000000 FROM requests WHERE NOT writes",
    "megabytes_written": "SELECT coalesce(sum(bytes), 0) // 1000000 FROM requests WHERE writes",
}
COLUMNS_FROM = {
    "a row": "a device and an interval in which it has at least one request (default 10 s; --interval)",
    "start_s": "start of the interval: a multiple of its length",
    "reads_per_s, writes_per_s": "requests that begin in the interval / its length",
    "read_mb_per_s, write_mb_per_s": "their bytes / 10^6 / its length",
}
SYNTHETIC = (SyntheticColumn("latency_mean_s", "response times are not in the trace", "null"),)
EMPTY = "these files hold no request"
