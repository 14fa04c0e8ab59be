"""Small task streams for tests, with users, repeated names, batches and gaps, and nothing of any trace."""

from __future__ import annotations

import numpy as np

from cloudsched_env.workload.tasks import RawTasks


def stream(hours: float = 6.0, seed: int = 0, jobs_per_s: float = 0.5, source: str = "test stream") -> RawTasks:
    """Jobs at random times; one in five is a batch, some of them larger than the fan-out cap."""
    rng = np.random.default_rng(seed)
    jobs = rng.poisson(jobs_per_s * hours * 3600)
    submitted = np.sort(rng.uniform(0, hours * 3600, jobs))
    sizes = np.where(rng.random(jobs) < 0.2, rng.integers(2, 40, jobs), 1)
    job = np.repeat(np.arange(jobs), sizes)
    first = np.cumsum(sizes) - sizes
    index = np.arange(len(job)) - first[job]
    tasks = len(job)
    # Most tasks of a job come at once; a few batches trickle in over minutes, across window borders.
    trickles = rng.random(jobs) < 0.05
    arrival = submitted[job] + np.where(trickles[job], 30.0 * index, 0.0)
    arrival = np.minimum(arrival, hours * 3600 - 1.0)
    user = rng.zipf(1.5, jobs) % 40
    cores = rng.choice([0.1, 0.2, 0.5, 1.0, 2.0, 8.0], size=jobs)[job]
    cores[rng.random(tasks) < 0.01] = np.nan
    memory = rng.lognormal(-1.0, 1.0, jobs)[job]
    memory[rng.random(tasks) < 0.01] = np.nan
    duration = rng.lognormal(5.5, 1.5, jobs)[job]
    duration[rng.random(tasks) < 0.02] = np.nan
    return RawTasks.from_columns(
        arrival_s=arrival,
        user=np.array([f"user {u}" for u in user])[job],
        name=np.array([f"name {u}-{n}" for u, n in zip(user, rng.integers(5, size=jobs), strict=True)])[job],
        job=job,
        task_index=index,
        slo_class=rng.integers(3, size=jobs)[job],
        cpu_cores=cores,
        memory_gb=memory,
        duration_s=duration,
        censored=rng.random(tasks) < 0.03,
        span_s=(0.0, hours * 3600.0),
        source=source,
    )
