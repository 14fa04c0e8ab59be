"""Fit the generator's profile to the train hours of an imported Google 2011 trace, and compare with held-out hours.

Run: python benchmarks/fit_google2011_profile.py TABLE.parquet [--report REPORT.json] [--figure FIT.png]

TABLE.parquet comes from `cloudsched traces import google2011`. Only tasks of the train split enter the fit; the
report compares generated windows with windows of the train hours and of the held-out hours.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy import optimize, stats

from cloudsched_env.workload import assumptions as a
from cloudsched_env.workload.generator import PROFILE_FAN_OUT_CAP, draw_job_arrivals, generate_window
from cloudsched_env.workload.index import TraceIndex
from cloudsched_env.workload.profile import Profile
from cloudsched_env.workload.splits import TraceSplits
from cloudsched_env.workload.tasks import RawTasks

WINDOW_S = 3900.0  # an episode of 65 s at 60 trace seconds per second
SESSION_LIMIT_S = 30.0  # a user's jobs closer than this are one session: their starts are then nearly Poisson
MODULATION_BINS_S = (300.0, 3600.0)
GENERATED_WINDOWS = 200
DISPERSION_SCALES_S = (1.0, 10.0, 60.0, 300.0, 3600.0)
STRATA = tuple((slo, several) for slo in range(3) for several in (False, True))
QUANTILES = np.concatenate(([0.001, 0.005], np.linspace(0.01, 0.99, 50), [0.995, 0.999]))
MOST_VALUES = 120  # popular values of a request that are kept apart


def job_table(tasks: RawTasks, span_s: tuple[float, float]) -> dict[str, np.ndarray]:
    """One row a job that arrives in the span, gaps filled as the environment fills them."""
    full = TraceIndex(tasks, len(tasks)).cut(span_s[0], span_s[1] - span_s[0])
    _, first, inverse, count = np.unique(full.job, return_index=True, return_inverse=True, return_counts=True)
    log_duration = np.log(full.duration_s)
    by_job = np.split(log_duration[np.argsort(inverse, kind="stable")], np.cumsum(count)[:-1])
    table = {
        "arrival_s": full.offset_s[first],
        "tasks": count.astype(float),
        "user": np.unique(full.user[first], return_inverse=True)[1],
        "name": np.unique(full.name[first], return_inverse=True)[1],
        "slo_class": full.slo_class[first],
        "cpu_request": full.cpu_request[first],
        "memory_gb": full.memory_gb[first],
        "duration_s": np.exp([np.median(x) for x in by_job]),
        "spread": np.array([x.std() for x in by_job]),
    }
    order = np.argsort(table["arrival_s"], kind="stable")
    return {name: column[order] for name, column in table.items()}


def discrete_marginal(values: np.ndarray) -> dict:
    """Popular values with their probabilities; rarer ones go to the nearest popular one."""
    rounded = np.array([float(f"{v:.4g}") for v in values])
    atoms, counts = np.unique(rounded, return_counts=True)
    kept = np.sort(atoms[np.argsort(-counts, kind="stable")[:MOST_VALUES]])
    if len(kept) > 1:
        borders = (kept[1:] + kept[:-1]) / 2
        counts = np.bincount(np.searchsorted(borders, rounded), minlength=len(kept))
    else:
        counts = np.array([len(values)])
    scores = stats.norm.ppf(np.cumsum(counts)[:-1] / counts.sum())
    return {"discrete": True, "scores": np.round(scores, 4).tolist(), "values": kept.tolist()}


def continuous_marginal(values: np.ndarray, floor: float) -> dict:
    """Quantiles on a grid of normal scores."""
    quantiles = np.maximum(np.quantile(values, QUANTILES), floor)
    rounded = [float(f"{v:.4g}") for v in quantiles]
    return {"discrete": False, "scores": np.round(stats.norm.ppf(QUANTILES), 4).tolist(), "values": rounded}


def normal_scores(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Normal scores of ranks; ties are broken at random, as a step function of a score does."""
    rank = np.empty(len(values))
    rank[np.lexsort((rng.random(len(values)), values))] = np.arange(len(values))
    return stats.norm.ppf((rank + 0.5) / len(values))


def common_share(score: np.ndarray, group: np.ndarray) -> float:
    """Part of the variance of scores that members of a group have in common (one-way analysis of variance)."""
    count = np.bincount(group)
    within = score - (np.bincount(group, score) / np.maximum(count, 1))[group]
    free = max(1, len(score) - np.count_nonzero(count))
    return float(np.clip(1 - (within @ within) / free / score.var(), 0.0, 0.95))


def fit_stratum(jobs: dict[str, np.ndarray], rows: np.ndarray, slo: int, several: bool) -> dict:
    """Marginals, copula and the share of variance between users, of one stratum."""
    rng = np.random.default_rng(0)
    columns = ["cpu_request", "memory_gb", "duration_s"] + (["tasks"] if several else [])
    correlation = np.eye(4)
    # Mid-ranks for the correlation, so that ties count half: Pearson's r of the copula is 2 sin(pi rho / 6).
    rho = np.atleast_2d(stats.spearmanr(np.column_stack([jobs[c][rows] for c in columns])).statistic)
    correlation[: len(columns), : len(columns)] = 2 * np.sin(np.pi * rho / 6)
    values, vectors = np.linalg.eigh(correlation)
    correlation = vectors @ np.diag(np.maximum(values, 0.02)) @ vectors.T
    correlation /= np.sqrt(np.outer(np.diag(correlation), np.diag(correlation)))
    shares = []
    user = jobs["user"][rows]
    for column in columns:
        shares.append(common_share(normal_scores(jobs[column][rows], rng), user))
    return {
        "slo_class": slo,
        "several_tasks": several,
        "jobs": len(rows),
        "cpu_request": discrete_marginal(jobs["cpu_request"][rows]),
        "memory_gb": discrete_marginal(jobs["memory_gb"][rows]),
        "duration_s": continuous_marginal(jobs["duration_s"][rows], a.MINIMUM_DURATION_S),
        "tasks": discrete_marginal(jobs["tasks"][rows]) if several else _one_task(),
        "correlation": np.round(correlation, 4).tolist(),
        "user_share": round(float(np.mean(shares)), 3),
    }


def _one_task() -> dict:
    return {"discrete": True, "scores": [], "values": [1.0]}


def fit_sessions(jobs: dict[str, np.ndarray]) -> dict:
    """Split users' jobs into sessions; gaps, sizes and who has them."""
    order = np.lexsort((jobs["arrival_s"], jobs["user"]))
    user, time = jobs["user"][order], jobs["arrival_s"][order]
    gap = np.diff(time)
    new = np.concatenate(([True], (user[1:] != user[:-1]) | (gap > SESSION_LIMIT_S)))
    size = np.bincount(np.cumsum(new) - 1)
    owner = user[new]
    sessions = np.bincount(owner)
    mean = np.bincount(owner, size) / sessions
    # Size = 1 + Poisson(further x gamma): Var = further + further^2 / shape, summed over sessions.
    further = mean[owner] - 1
    excess = ((size - mean[owner]) ** 2).sum() - further.sum()
    inside = ~new[1:]
    gaps = np.maximum(gap[inside], 1e-3)
    session = (np.cumsum(new) - 1)[1:][inside]
    return {
        "count": len(size),
        "gap_share": common_share(normal_scores(gaps, np.random.default_rng(0)), session),
        "user_sessions": sessions,
        "user_session_jobs": mean,
        "shape": float((further**2).sum() / max(excess, 1e-9)),
        "gaps": gaps,
    }


def fit_names(jobs: dict[str, np.ndarray], window_s: float, length_s: float) -> dict:
    """Chance of a name of its own and recurring names of a user: those that match repetition in windows."""
    starts = np.arange(0, length_s - window_s, window_s / 2)
    users = int(jobs["user"].max()) + 1
    windows = [np.flatnonzero((jobs["arrival_s"] >= s) & (jobs["arrival_s"] < s + window_s)) for s in starts]
    wanted = np.mean([_repetition(jobs["name"][w]) for w in windows], axis=0)

    def error(fresh: float, recurring: int) -> tuple[float, np.ndarray]:
        rng = np.random.default_rng(0)
        found = []
        for w in windows:
            name = jobs["user"][w] * recurring + rng.integers(recurring, size=len(w))
            own = rng.random(len(w)) < fresh
            name[own] = users * recurring + np.arange(own.sum())
            found.append(_repetition(name))
        return float(np.abs(np.mean(found, axis=0) - wanted).sum()), np.mean(found, axis=0)

    grid = [(f, k) for f in np.arange(0.1, 0.6, 0.02) for k in (2, 3, 4, 6, 8, 10, 12, 16, 24, 32)]
    best = min(grid, key=lambda g: error(*g)[0])
    return {"fresh_probability": round(float(best[0]), 3), "recurring": best[1]}


def _repetition(name: np.ndarray) -> np.ndarray:
    """Names per job, jobs whose name occurs once, and jobs of the top 1, 5 and 20 names, as shares of jobs."""
    count = np.sort(np.unique(name, return_counts=True)[1])[::-1]
    total = count.sum()
    return np.array([len(count), (count == 1).sum(), count[:1].sum(), count[:5].sum(), count[:20].sum()]) / total


def dispersion(arrival_s: np.ndarray, length_s: float, scale_s: float) -> float:
    """Index of dispersion: variance / mean of counts in bins."""
    counts = np.histogram(arrival_s, np.arange(0, length_s + scale_s / 2, scale_s))[0]
    return float(counts.var() / counts.mean())


def generated_dispersion(profile: Profile, length_s: float, repeats: int = 8) -> dict[float, float]:
    """The same of generated streams, averaged."""
    streams = [draw_job_arrivals(profile, length_s, 1.0, np.random.default_rng(seed))[0] for seed in range(repeats)]
    return {s: float(np.mean([dispersion(x, length_s, s) for x in streams])) for s in DISPERSION_SCALES_S}


def fit_modulation(data: dict, jobs: dict[str, np.ndarray], length_s: float) -> None:
    """Variance of the two gamma factors from the jobs' dispersion at 300 and 3600 s, with the cluster's taken off.

    A factor of squared variation c over bins of T seconds adds c x (mean count) to the dispersion at scale T.
    """
    rate = len(jobs["arrival_s"]) / length_s
    real = [dispersion(jobs["arrival_s"], length_s, s) for s in MODULATION_BINS_S]
    base = generated_dispersion(Profile.from_dict(data), length_s)
    hour = max(0.0, (real[1] - base[3600.0]) / (rate * 3600.0))

    def remainder(short: float) -> float:
        data["sessions"]["modulation"][0]["squared_cv"] = short
        return generated_dispersion(Profile.from_dict(data), length_s)[300.0] - real[0]

    data["sessions"]["modulation"][1]["squared_cv"] = round(hour, 5)
    short = optimize.brentq(remainder, 0.0, 1.0, xtol=1e-3) if remainder(0.0) < 0 < remainder(1.0) else 0.0
    data["sessions"]["modulation"][0]["squared_cv"] = round(float(short), 5)


def fit(tasks: RawTasks, splits: TraceSplits) -> dict:
    """The whole profile, from the train split only."""
    start, end = splits.bounds("train")
    length = end - start
    jobs = job_table(tasks, (start, end))
    sessions = fit_sessions(jobs)
    several = jobs["tasks"] > 1
    strata, mixes = [], []
    for slo, many in STRATA:
        member = (jobs["slo_class"] == slo) & (several == many)
        strata.append(fit_stratum(jobs, np.flatnonzero(member), slo, many))
        mixes.append(np.bincount(jobs["user"], member, minlength=len(sessions["user_sessions"])))
    order = np.argsort(-sessions["user_sessions"], kind="stable")
    mix = np.array(mixes).T[order]
    capped = np.minimum(jobs["tasks"], PROFILE_FAN_OUT_CAP).sum()
    data = {
        "name": "google2011",
        "provenance": {
            "source": "Google clusterdata-2011-2, task_events and job_events parts 0-13 (t = 600 s to 70,756 s)",
            "authors": "C. Reiss, J. Wilkes, J. L. Hellerstein; Google Inc.",
            "url": "https://github.com/google/cluster-data",
            "licence": "CC-BY 4.0; this file holds fitted statistics, no rows of the trace",
            "fitted_on_s": [round(start, 3), round(end, 3)],
            "fitted_jobs": len(jobs["arrival_s"]),
            "fitted_tasks": int(jobs["tasks"].sum()),
            "script": "benchmarks/fit_google2011_profile.py",
        },
        "sessions": {
            "rate_per_s": round(sessions["count"] / length, 6),
            "capped_tasks": round(float(capped) / sessions["count"], 4),
            "gap_s": continuous_marginal(sessions["gaps"], 1e-3),
            "gap_share": round(sessions["gap_share"], 3),
            "size_shape": round(sessions["shape"], 4),
            "modulation": [{"bin_s": s, "squared_cv": 0.0} for s in MODULATION_BINS_S],
        },
        "users": {
            "share": np.round(sessions["user_sessions"][order] / sessions["count"], 6).tolist(),
            "session_jobs": np.round(sessions["user_session_jobs"][order], 3).tolist(),
            "strata": np.round(mix / mix.sum(axis=1, keepdims=True), 4).tolist(),
        },
        "names": fit_names(jobs, WINDOW_S, length),
        "within_job_sigma": continuous_marginal(jobs["spread"][several], 1e-4),
        "strata": strata,
    }
    fit_modulation(data, jobs, length)
    return data


def window_statistics(windows: list) -> dict[str, float]:
    """Means over windows of what shapes an episode."""

    def shares(key: np.ndarray, most: int) -> float:
        count = np.sort(np.bincount(np.unique(key, return_inverse=True)[1]))[::-1]
        return float(count[:most].sum() / count.sum())

    rows = []
    for w in windows:
        job, first = np.unique(w.job, return_index=True)
        rows.append(
            {
                "tasks": len(w.job),
                "jobs": len(job),
                "users": len(np.unique(w.user)),
                "top-1 user's share of tasks": shares(w.user, 1),
                "top-5 users' share of tasks": shares(w.user, 5),
                "jobs with a name that occurs once": float(_repetition(w.name[first])[1]),
                "top-20 names' share of jobs": float(_repetition(w.name[first])[4]),
                "latency-critical share of tasks": float(np.mean(w.slo_class == 0)),
                "batch share of tasks": float(np.mean(w.slo_class == 2)),
                "work-weighted mean request": float(np.average(w.cpu_request, weights=w.duration_s * w.cpu_request)),
                "rank correlation of request and run time": float(stats.spearmanr(w.cpu_request, w.duration_s)[0]),
                "rank correlation of request and memory": float(stats.spearmanr(w.cpu_request, w.memory_gb)[0]),
            }
        )
    return {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}


def pooled(windows: list) -> dict[str, np.ndarray]:
    """Marginals over all windows: one value a task, and batch sizes one a job."""
    columns = {
        key: np.concatenate([getattr(w, key) for w in windows]) for key in ("cpu_request", "memory_gb", "duration_s")
    }
    columns["tasks of a job (at most 16)"] = np.concatenate([np.unique(w.job, return_counts=True)[1] for w in windows])
    return columns


def parts(splits: TraceSplits) -> dict[str, tuple[float, float]]:
    """The hours that were fitted, and those that were not."""
    return {"train": splits.bounds("train"), "held-out": (splits.bounds("validation")[0], splits.bounds("test")[1])}


def cut_windows(tasks: RawTasks, splits: TraceSplits) -> dict[str, list]:
    """Windows of the trace that do not overlap, by part."""
    index = TraceIndex(tasks, PROFILE_FAN_OUT_CAP)
    return {
        part: [index.cut(s, WINDOW_S) for s in np.arange(first, last - WINDOW_S, WINDOW_S)]
        for part, (first, last) in parts(splits).items()
    }


def generate_windows(profile: Profile) -> list:
    """As many generated windows as `GENERATED_WINDOWS`."""
    return [
        generate_window(profile, WINDOW_S, 0.0, PROFILE_FAN_OUT_CAP, np.random.default_rng(seed))
        for seed in range(GENERATED_WINDOWS)
    ]


def plot(path: Path, tasks: RawTasks, splits: TraceSplits, profile: Profile, dispersions: dict) -> None:
    """Distributions and burstiness of generated, fitted and held-out windows, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = {part: pooled(w) for part, w in cut_windows(tasks, splits).items()}
    columns["generated"] = pooled(generate_windows(profile))
    style = {"train": ("C0", "-"), "held-out": ("C1", "--"), "generated": ("k", ":")}
    titles = {
        "cpu_request": "CPU request (of the largest machine)",
        "memory_gb": "memory request (GB)",
        "duration_s": "run time (trace s)",
        "tasks of a job (at most 16)": "tasks of a job (at most 16)",
    }
    figure, axes = plt.subplots(2, 3, figsize=(11, 6), constrained_layout=True)
    for axis, (key, title) in zip(axes.flat, titles.items(), strict=False):
        for part, (colour, line) in style.items():
            values = np.sort(columns[part][key])
            axis.step(values, np.arange(1, len(values) + 1) / len(values), color=colour, linestyle=line, label=part)
        axis.set(xscale="log", xlabel=title, ylabel="share of jobs" if title == key else "share of tasks")
        axis.set_xlim(left=max(np.quantile(columns["train"][key], 0.01), 1e-4))
    for part, (colour, line) in style.items():
        found = dispersions[part]
        scales = [float(scale.split()[0]) for scale in found]
        axes[1, 1].plot(scales, list(found.values()), color=colour, linestyle=line, marker=".")
    axes[1, 1].set(xscale="log", yscale="log", xlabel="bin (trace s)", ylabel="variance / mean of job counts")
    axes[1, 2].axis("off")
    axes[1, 2].legend(*axes[0, 0].get_legend_handles_labels(), loc="center")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def report(tasks: RawTasks, splits: TraceSplits, profile: Profile) -> dict:
    """Generated windows beside windows of the train hours and of the held-out hours."""
    windows = {**cut_windows(tasks, splits), "generated": generate_windows(profile)}
    columns = {part: pooled(w) for part, w in windows.items()}
    result: dict = {"windows": {part: len(w) for part, w in windows.items()}, "ks": {}, "dispersion": {}}
    for key in columns["train"]:
        result["ks"][key] = {
            f"{one} vs {two}": round(float(stats.ks_2samp(columns[one][key], columns[two][key]).statistic), 4)
            for one, two in (("generated", "train"), ("generated", "held-out"), ("train", "held-out"))
        }
    for part, (first, last) in parts(splits).items():
        arrival = job_table(tasks, (first, last))["arrival_s"]
        result["dispersion"][part] = {
            f"{s:g} s": round(dispersion(arrival, last - first, s), 2) for s in DISPERSION_SCALES_S
        }
    first, last = splits.bounds("train")
    made = generated_dispersion(profile, last - first, repeats=20)
    result["dispersion"]["generated"] = {f"{s:g} s": round(v, 2) for s, v in made.items()}
    result["statistics"] = {part: window_statistics(w) for part, w in windows.items()}
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="canonical task table of Google 2011 (Parquet)")
    default = Path(__file__).parents[1] / "cloudsched_env" / "workload" / "profiles" / "google2011.json"
    parser.add_argument("--output", type=Path, default=default, help="profile to write")
    parser.add_argument("--report", type=Path, default=None, help="where to write the comparison (JSON)")
    parser.add_argument("--figure", type=Path, default=None, help="where to draw the comparison (PNG)")
    arguments = parser.parse_args()
    tasks = RawTasks.from_file(arguments.table)
    splits = TraceSplits.by_share(tasks.span_s)
    data = fit(tasks, splits)
    arguments.output.write_text(
        json.dumps(data, separators=(",", ":")).replace('},"', '},\n"') + "\n", encoding="utf-8"
    )
    profile = Profile.from_dict(data)
    found = report(tasks, splits, profile)
    comparison = json.dumps(found, indent=1)
    print(comparison)
    if arguments.figure:
        plot(arguments.figure, tasks, splits, profile, found["dispersion"])
    if arguments.report:
        arguments.report.write_text(comparison + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
