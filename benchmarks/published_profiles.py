"""Write the profiles of traces whose rows are not at hand, from published figures; and of Alibaba 2017, from its rows.

Run: python benchmarks/published_profiles.py [--alibaba2017 TABLE.parquet] [--output FOLDER]

Every figure below stands beside its source. What no source tells is an assumption and is called so in the profile's
``provenance``. The profile of Google 2011 is not made here but by ``cloudsched traces fit``.

TABLE.parquet is what ``cloudsched traces import alibaba2017`` wrote from the published batch_task; without it that
profile is left as it is. Requests are in the unit that the readers declare (`cloudsched_env.traces.request_unit`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from cloudsched_env.traces.formats import find_format
from cloudsched_env.traces.request_unit import RequestUnit
from cloudsched_env.workload.fit import FitConfig, fit_profile, job_table
from cloudsched_env.workload.marginal import discrete_marginal, interpolated_marginal
from cloudsched_env.workload.normal import normal_quantile
from cloudsched_env.workload.stream_profile import MODEL, StreamProfile
from cloudsched_env.workload.tasks import RawTasks

GOOGLE_TOP_USERS = {1: 0.1463, 5: 0.4173, 10: 0.5543, 50: 0.8847}  # of all job_events of clusterdata-2011-2
GOOGLE_USERS = (
    "assumed: 100 users, the top 1, 5, 10 and 50 with the shares they have in Google 2011; the trace has none"
)
SLO_SHARES = (0.15, 0.63, 0.22)  # latency-critical, normal, batch: train hours of the Google 2011 excerpt
SPANS_S = (0.05, 10.0, 60.0, 300.0)  # of these levels, in seconds
GOOGLE_LEVELS = (1.46, 1.04, 1.53, 1.70)  # mean children of the nested clusters fitted to these hours
ASSUMED_SLO = (
    "assumed: drawn independently of all else with the shares of Google 2011 (0.15 latency-critical, 0.63 normal, "
    "0.22 batch), so that deadlines are as tight as those of paper-v1"
)
ASSUMED_NAMES = "assumed: every second job repeats one of three names of its user and kind"
ASSUMED_BURSTS = "assumed: nested clusters as fitted to Google 2011"
DAY_S = 86_400.0


def zipf_shares(users: int, exponent: float = 1.2) -> np.ndarray:
    """Shares of users whose rank-frequency slope is given."""
    share = np.arange(1, users + 1) ** -exponent
    return share / share.sum()


def shares_through(points: dict[int, float], users: int) -> np.ndarray:
    """Shares of ranked users such that the top k hold what is published; log-linear in between, descending."""
    ranks = np.array([0, *points, users], dtype=float)
    held = np.array([0.0, *points.values(), 1.0])
    steps = np.interp(np.arange(users + 1), ranks, held)
    return np.sort(np.diff(steps))[::-1] / steps[-1]


def quantile_sample(probabilities: list[float], values: list[float], size: int = 4000) -> np.ndarray:
    """A sample with given quantiles, log-linear in the normal score between them."""
    grid = (np.arange(size) + 0.5) / size
    return np.exp(np.interp(normal_quantile(grid), normal_quantile(np.array(probabilities)), np.log(values)))


def tasks_marginal(probabilities: list[float], values: list[float]) -> dict:
    """Whole numbers of tasks from quantiles."""
    return discrete_marginal(np.maximum(np.rint(quantile_sample(probabilities, values)), 1.0))


def kind(
    slo_class: int,
    requests: list[tuple[float, float, float]],
    tasks: dict,
    duration_s: dict,
    *,
    machine_cores: float = RequestUnit.cores,
    name_share: float = 0.3,
    job_share: float = 0.4,
    priority: int = 0,
    scan_mb: dict | None = None,
) -> dict:
    """One kind; requests are (cores, GB, weight)."""
    return {
        "slo_class": slo_class,
        "requests": {
            "cpu": [round(cores / machine_cores, 6) for cores, _, _ in requests],
            "memory_gb": [float(f"{memory:.6g}") for _, memory, _ in requests],
            "weight": [round(weight, 6) for _, _, weight in requests],
        },
        "tasks": tasks,
        "duration_s": duration_s,
        "name_share": name_share,
        "job_share": job_share,
        "priorities": {"priority": [priority], "scheduling_class": [-1], "weight": [1]},
        "scan_mb": scan_mb,
    }


QUERY_CORES = ((0.25, 0.35), (0.5, 0.3), (1.0, 0.25), (2.0, 0.1))  # assumed, with their shares
ONE_TASK = {"discrete": True, "scores": [], "values": [1.0]}


def profile(
    name: str,
    provenance: dict,
    kinds: list[dict],
    kind_weights: tuple[float, ...],
    user_share: np.ndarray,
    jobs_per_s: float,
    *,
    levels: tuple[float, ...] = GOOGLE_LEVELS,
    spans_s: tuple[float, ...] = SPANS_S,
    slow_squared_cv: float = 0.0,
    hour_factors: list[float] | None = None,
    alone: float = 0.1,
    names: tuple[float, int] = (0.5, 3),
    kind_persistence: float = 0.15,
    unit: RequestUnit | None = None,
) -> dict:
    """A whole profile whose users all have the same mix of kinds."""
    unit = unit or RequestUnit()
    mix = [[k, round(w, 5)] for k, w in enumerate(kind_weights) if w > 0]
    return {
        "model": MODEL,
        "name": name,
        "provenance": {**provenance, "script": "benchmarks/published_profiles.py"},
        "machine": {"cores": float(unit.cores), "memory_gb": float(unit.memory_gb)},
        "arrivals": {
            "jobs_per_s": float(f"{jobs_per_s:.6g}"),
            "levels": [{"span_s": s, "mean_children": m} for s, m in zip(spans_s, levels, strict=True)],
            "other_user_probability": 0.0,
            "slow_factor": {"bin_s": 3600.0, "squared_cv": round(slow_squared_cv, 5)},
            "hour_factors": hour_factors,
        },
        "users": {
            "share": [float(f"{s:.4g}") for s in user_share],
            "alone": [alone] * len(user_share),
            "kinds": [mix] * len(user_share),
        },
        "kind_persistence": kind_persistence,
        "names": {"fresh_probability": names[0], "recurring": names[1]},
        "kinds": kinds,
    }


def alibaba2018() -> dict:
    """Alibaba cluster-trace-v2018, batch jobs with dependencies."""
    # Histograms of the whole trace by Tian et al. (SoCC 2019), github.com/All-less/trace-generator,
    # spar/data/distributions: 2,857,851 jobs, 9,673,063 tasks, 416,476,935 instances in 8 days. The library draws and
    # rounds up; bins are one wide, so half is added here.
    unit = find_format("alibaba2018").request_unit
    jobs, tasks, days = 2_857_851, 9_673_063, 8
    at = [0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999]
    instances = [v + 0.5 for v in (0.076, 0.151, 0.378, 0.756, 3.732, 46.16, 175.2, 843.7, 3526.0)]
    duration = [max(v + 0.5, 0.2) for v in (-0.349, 0.141, 1.120, 4.779, 21.03, 95.69, 227.0, 603.0, 2032.0)]
    memory_percent = [0.191, 0.193, 0.197, 0.296, 0.387, 0.475, 0.582, 0.589, 0.784]
    # Hourly means of CPU use over the 8 days of machine_usage (github.com/DamianUS/alibaba-traces-processing).
    cpu_by_hour = [43.87, 52.5, 48.08, 44.54, 45.49, 45.31, 50.07, 44.35, 43.58, 41.63, 38.01, 37.0, 37.22, 35.17]
    cpu_by_hour += [35.39, 34.7, 36.2, 33.06, 30.96, 33.75, 36.46, 34.8, 38.82, 41.17]
    memory = quantile_sample(at, memory_percent, 20)
    # Requests lie between half a core and one; the mean of 0.644 cores makes 0.712 of them half a core if none is
    # between. 100 % of memory is taken as 384 GB, 4 GB a core of the 96.
    requests = [(cores, m * unit.memory_gb / 100.0, w) for m in memory for cores, w in ((0.5, 0.712), (1.0, 0.288))]
    batch, run_time = tasks_marginal(at, instances), interpolated_marginal(at, duration)
    return profile(
        "alibaba2018",
        {
            "source": "Alibaba cluster-trace-v2018, batch jobs that are DAGs, through the histograms of Tian et al.",
            "authors": "H. Tian, Y. Zheng, W. Wang, SoCC 2019; Alibaba Group (trace)",
            "url": "https://github.com/All-less/trace-generator, https://github.com/alibaba/clusterdata",
            "licence": "figures with source, no rows; histograms MIT, the trace is published for research",
            "marginals": {
                "rate of jobs": "published: 9,673,063 tasks in 8 days; a task with its instances is a job here",
                "bursts": "assumed: as Google 2011, but 3.38 tasks (published mean) within five minutes make a DAG",
                "hour of the day": "published: mean CPU use of the cluster by hour; phase approximate",
                "instances of a task, run time": "published quantiles",
                "CPU request": "published mean; values of half a core and one core are an assumption",
                "memory request": "published quantiles in per cent of a machine; 384 GB a machine is an assumption",
                "dependence of requests, run time and instances": "assumed: independent",
                "users": GOOGLE_USERS,
                "SLO class": ASSUMED_SLO,
                "logical names": ASSUMED_NAMES,
            },
        },
        [kind(c, requests, batch, run_time, machine_cores=unit.cores) for c in range(3)],
        SLO_SHARES,
        shares_through(GOOGLE_TOP_USERS, 100),
        tasks / (days * DAY_S),
        levels=(1.1, 1.0, 1.0, tasks / jobs / 1.1),
        alone=0.0,
        unit=unit,
        hour_factors=[round(v / float(np.mean(cpu_by_hour)), 4) for v in cpu_by_hour],
    )


def azure() -> dict:
    """Azure Public Dataset V1: virtual machines."""
    # General statistics and plots of "Azure Public Dataset - Trace Analysis.ipynb" in github.com/Azure/
    # AzurePublicDataset (curves "Azure Public Dataset"), read to about 2 percentage points.
    unit = find_format("azure-v1").request_unit
    machines, days, subscriptions = 2_013_767, 30, 5_958
    sizes = [(1, 0.75, 0.02), (1, 1.75, 0.48), (2, 3.5, 0.245), (2, 7.0, 0.005), (4, 7.0, 0.11), (8, 14.0, 0.105)]
    sizes += [(8, 56.0, 0.035)]
    hours_at = [0.30, 0.50, 0.65, 0.75, 0.80, 0.85, 0.88, 0.905, 0.92, 0.93, 0.999]
    hours = [1 / 12, 1.0, 2.0, 6.0, 10.0, 16.0, 24.0, 50.0, 100.0, 200.0, 720.0]
    size_at = [0.20, 0.43, 0.60, 0.71, 0.83, 0.90, 0.94, 0.99, 0.999]
    size = [1, 2, 5, 10, 20, 30, 50, 200, 1000]
    by_class = {0: 0.30, 1: 0.08, 2: 0.62}  # Interactive, Unknown, Delay-insensitive, of core hours
    run_time = interpolated_marginal(hours_at, [3600.0 * h for h in hours])
    batch = tasks_marginal(size_at, size)
    mean_batch = float(np.maximum(np.rint(quantile_sample(size_at, size)), 1).mean())
    return profile(
        "azure",
        {
            "source": "Azure Public Dataset V1 (2017): figures of its trace analysis notebook",
            "authors": "E. Cortez et al., Resource Central, SOSP 2017; Microsoft",
            "url": "https://github.com/Azure/AzurePublicDataset",
            "licence": "CC-BY 4.0 (data set); figures read off published plots, no rows",
            "marginals": {
                "rate": "published: 2,013,767 virtual machines in 30 days",
                "bursts": ASSUMED_BURSTS,
                "hour of the day": "none: not published as numbers",
                "machines of a deployment": "published curve up to 50, assumed beyond; a deployment comes at once "
                "(assumption)",
                "cores and memory": "published shares; pairs are the sizes A0 to A4 and D, which fit both",
                "host": "assumed: 64 cores, 256 GB; a request is a fraction of it",
                "lifetime": "published curve up to 209 h, assumed beyond",
                "category as SLO class": "published shares of core hours: interactive 0, unknown 1, insensitive 2",
                "dependence of size, lifetime and category": "assumed: independent",
                "users": f"published: {subscriptions:,} subscriptions; 400 with slope 1.2 are assumed",
                "logical names": ASSUMED_NAMES,
            },
        },
        [kind(c, sizes, batch, run_time, machine_cores=unit.cores) for c in by_class],
        tuple(by_class.values()),
        zipf_shares(400, 1.2),
        machines / (days * DAY_S) / mean_batch,
        unit=unit,
    )


def snowset() -> dict:
    """Snowset: queries of Snowflake warehouses."""
    # github.com/resource-disaggregation/snowset: 69,182,074 queries, 2,051 warehouses, 14 days; coefficient of
    # variation of hourly counts 0.14. Quantiles of the 363 busy slots of 30 s in the five one-hour windows of
    # github.com/mikegeo98/PBench, src/Workloads/Snowset: means of run time (s), memory and bytes scanned (GiB) a slot.
    queries, days = 69_182_074, 14
    at = [0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99]
    seconds = [0.722, 1.409, 1.999, 2.730, 4.219, 7.654, 47.49, 116.8, 177.5]
    memory_gib = [0.0657, 0.154, 0.228, 0.283, 0.364, 0.508, 1.269, 7.3, 16.64]
    scan_gib = [0.0004, 0.0746, 0.529, 1.827, 10.76, 16.71, 18.73, 20.15, 22.16]
    memory = quantile_sample(at, memory_gib, 20) * 1.0737
    requests = [(cores, m, w) for m in memory for cores, w in QUERY_CORES]
    scan = interpolated_marginal(at, [1073.7 * g for g in scan_gib])
    run_time = interpolated_marginal(at, seconds)
    return profile(
        "snowset",
        {
            "source": "Snowset (Snowflake, 2018): counts of the whole data set, and aggregates of five hours of it",
            "authors": "M. Vuppalapati et al., Building an elastic query engine, NSDI 2020; PBench (aggregates)",
            "url": "https://github.com/resource-disaggregation/snowset, https://github.com/mikegeo98/PBench",
            "licence": "open for research and education; figures with source, no rows",
            "marginals": {
                "rate": "published: 69,182,074 queries in 14 days",
                "bursts": "assumed: 1.2 queries at an instant, no slower clusters; hourly variation as published",
                "hour of the day": "none: not published as numbers",
                "run time, memory, bytes scanned": "quantiles of means of slots of 30 s, five databases: a query is "
                "more variable than a mean of several",
                "cores": "assumed: 0.25, 0.5, 1 or 2 of 16",
                "dependence of requests and run time": "assumed: independent",
                "users": "published: 2,051 warehouses; 480 with slope 1.2 are assumed",
                "SLO class": ASSUMED_SLO,
                "logical names": ASSUMED_NAMES,
            },
        },
        [kind(c, requests, ONE_TASK, run_time, scan_mb=scan) for c in range(3)],
        SLO_SHARES,
        zipf_shares(480, 1.2),
        queries / (days * DAY_S),
        levels=(1.2, 1.0, 1.0, 1.0),
        unit=find_format("snowset").request_unit,
        slow_squared_cv=0.14**2,
        alone=0.0,
    )


def redset() -> dict:
    """Redset: queries of provisioned Redshift clusters."""
    # Aggregates by instance and hour of all 433,107,811 queries of 200 provisioned clusters, 1 March to 30 May 2024,
    # from the published Redset (CC BY-NC 4.0): figures only.
    queries, days, instances = 433_107_811, 91, 200
    at = [0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.999]
    milliseconds = [3.5, 70.0, 173.5, 909.5, 5028.5, 18077.7, 60594.2, 120585.0, 554509.9, 3364668.0]
    scan_mb = [0.001, 1.167, 37.17, 98.65, 358.2, 2916.1, 44730.6, 153950.2, 811538.1, 3170622.3]
    hours = [
        0.818,
        0.786,
        0.786,
        0.74,
        0.801,
        0.875,
        0.811,
        0.89,
        0.87,
        0.842,
        0.862,
        0.879,
        0.899,
        0.913,
        1.326,
        1.617,
    ]
    hours += [1.675, 1.51, 1.417, 1.084, 1.043, 0.933, 0.827, 0.8]
    top = {1: 0.1355, 5: 0.3597, 10: 0.5079, 20: 0.6974, 50: 0.9389}
    fleet_cv = 0.379
    memory = np.exp(np.linspace(np.log(0.1), np.log(8.0), 12))
    requests = [(cores, m, w) for m in memory for cores, w in QUERY_CORES]
    scan, run_time = interpolated_marginal(at, scan_mb), interpolated_marginal(at, [m / 1000.0 for m in milliseconds])
    return profile(
        "redset",
        {
            "source": "Redset (Amazon Redshift, 2024), provisioned clusters: aggregates by instance and hour",
            "authors": "A. van Renen et al., Why TPC is not enough, VLDB 2024; Amazon",
            "url": "https://github.com/amazon-science/redset",
            "licence": "Redset is CC BY-NC 4.0: only figures are given here, with their source, no rows",
            "marginals": {
                "rate": "published: 433,107,811 queries of 200 clusters in 91 days",
                "bursts": "assumed: 1.2 queries at one instant, no slower clusters; hourly variation of the fleet as "
                "published (0.379), less that of the hour of the day",
                "hour of the day": "published shape; phase shifted by one or two hours",
                "run time, bytes scanned": "published quantiles of means by instance and hour: a query varies more",
                "cores, memory": "assumed: 0.25, 0.5, 1 or 2 of 16 cores, 0.1 to 8 GB log-uniform",
                "dependence of requests and run time": "assumed: independent",
                "users": "published: shares of the top 1, 5, 10, 20 and 50 of 200 clusters",
                "SLO class": ASSUMED_SLO,
                "logical names": "assumed: three of four queries repeat one of eight names of their cluster and kind",
            },
        },
        [kind(c, requests, ONE_TASK, run_time, scan_mb=scan) for c in range(3)],
        SLO_SHARES,
        shares_through(top, instances),
        queries / (days * DAY_S),
        levels=(1.2, 1.0, 1.0, 1.0),
        slow_squared_cv=max(0.0, fleet_cv**2 - float(np.var(hours))),
        hour_factors=hours,
        alone=0.0,
        names=(0.25, 8),
    )


def alibaba2017_tasks(table: Path) -> RawTasks:
    """The batch tasks as the reader imports them, with users and SLO classes, which the trace does not have.

    A row, a task with its instances, is a job here, because the tasks of a published job come at different times and
    ask for different things; those of one published job share a name.

    Args:
        table: what ``cloudsched traces import alibaba2017`` wrote.

    Raises:
        ValueError: if it is the table of another trace.
    """
    tasks = RawTasks.from_file(table)
    if tasks.source != "alibaba2017" or tasks.row is None:
        raise ValueError(f"{table}: expected a task table of alibaba2017, found one of {tasks.source}")
    rng = np.random.default_rng(2017)
    rows, row = np.unique(tasks.row, return_inverse=True)
    slo = rng.choice(3, size=len(rows), p=SLO_SHARES).astype(np.int32)
    jobs, job = np.unique(tasks.job, return_inverse=True)
    user = rng.choice(100, size=len(jobs), p=shares_through(GOOGLE_TOP_USERS, 100)).astype(np.uint64)
    return replace(tasks, user=user[job.reshape(-1)], slo_class=slo[row.reshape(-1)], job=tasks.row)


def alibaba2017(table: Path) -> dict:
    """Alibaba cluster-trace-v2017, fitted to all of its batch tasks."""
    tasks = alibaba2017_tasks(table)
    span = (tasks.span_s[0], float(np.nextafter(tasks.span_s[1], np.inf)))
    declared = find_format("alibaba2017")
    memory_gb = declared.request_unit.memory_gb
    provenance = {
        "source": f"{declared.title}, the whole batch_task table",
        "authors": declared.citation,
        "url": declared.url,
        "licence": "published for research; this file holds fitted statistics, no rows of the trace",
        "marginals": {
            "rate, bursts, instances of a task": "fitted to rows; times are whole seconds, as published",
            "run time": "fitted to rows: a task with all its instances, waiting included, so above an instance's own; "
            "500 s for a task that never ran",
            "CPU request": "fitted to rows, 100 is a core",
            "memory request": f"fitted to rows; {memory_gb:g} GB for the published unit is an assumption",
            "dependence of requests, run time and instances": "fitted to rows",
            "hour of the day": "none: less than a day",
            "names": "fitted to rows: tasks of one published job share a name (assumption)",
            "users": GOOGLE_USERS,
            "SLO class": ASSUMED_SLO,
        },
        "command": "cloudsched traces import alibaba2017 batch_task.csv -o alibaba2017.parquet && "
        "python benchmarks/published_profiles.py --alibaba2017 alibaba2017.parquet",
        "script": "benchmarks/published_profiles.py",
    }
    config = FitConfig(kinds=36, machine_memory_gb=memory_gb)
    return fit_profile(job_table(tasks, span), "alibaba2017", provenance, config)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[1] / "cloudsched_env" / "workload" / "profiles"
    parser.add_argument("--alibaba2017", type=Path, default=None, metavar="TABLE.parquet", help="imported batch_task")
    parser.add_argument("--output", type=Path, default=default, help="folder to write the profiles into")
    arguments = parser.parse_args()
    made = [alibaba2018(), azure(), snowset(), redset()]
    if arguments.alibaba2017:
        made.append(alibaba2017(arguments.alibaba2017))
    for data in made:
        drawn_from = StreamProfile.from_dict(data)
        text = json.dumps(data, separators=(",", ":")).replace('},{"slo_class"', '},\n{"slo_class"') + "\n"
        (arguments.output / f"{data['name']}.json").write_text(text, encoding="utf-8")
        rate = drawn_from.jobs_per_s * drawn_from.tasks_per_job(16)
        print(f"{data['name']}: {len(text):,} bytes, {rate:.4g} tasks/s with at most 16 a job")


if __name__ == "__main__":
    main()
