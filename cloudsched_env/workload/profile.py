"""The numbers behind the generator: a fitted profile of one production trace."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.load_profile import LOAD_MODEL, load_profile_names
from cloudsched_env.workload.marginal import Marginal
from cloudsched_env.workload.stream_profile import MODEL, StreamProfile

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["Marginal", "Profile", "Stratum", "load_profile", "profile_names"]


@dataclass(frozen=True)
class Stratum:
    """Jobs of one SLO class, with one task or with several.

    Attributes:
        slo_class: 0 latency-critical, 1 normal, 2 batch.
        cpu_request: fraction of the largest machine.
        memory_gb: requested memory.
        duration_s: median run time of the job's tasks.
        tasks: tasks of the job.
        mixing: Cholesky factor of the correlation of the four scores, in the order above, ``[4, 4]``.
        user_share: part of the scores' variance that all jobs of a user have in common.
    """

    slo_class: int
    cpu_request: Marginal
    memory_gb: Marginal
    duration_s: Marginal
    tasks: Marginal
    mixing: NDArray[np.float64]
    user_share: float


@dataclass(frozen=True)
class Profile:
    """A calibrated description of a job stream; `docs/workload.md` has the model.

    Attributes:
        name: name of the profile.
        sessions_per_s: mean rate of user sessions, trace time.
        capped_tasks_per_session: mean tasks of a session when each job counts at most 16.
        modulation: ``(bin length in s, squared coefficient of variation)`` of each gamma factor of the session rate.
        session_gap_s: time between jobs of a session.
        session_gap_share: part of the gap scores' variance that a session has in common.
        session_shape: shape of the gamma mixture in the session size (small: heavy tail).
        user_share: part of all sessions that is a user's, ``[users]``.
        user_session_jobs: mean jobs of a user's sessions, ``[users]``.
        user_strata: cumulative probabilities of strata, ``[users, strata]``.
        fresh_name_probability: chance that a job has a logical name of its own.
        recurring_names: logical names of a user that recur.
        within_job_sigma: spread of log run time among the tasks of a job.
        strata: the strata.
        provenance: source, licence and what was fitted, for people and result files.
    """

    name: str
    sessions_per_s: float
    capped_tasks_per_session: float
    modulation: tuple[tuple[float, float], ...]
    session_gap_s: Marginal
    session_gap_share: float
    session_shape: float
    user_share: NDArray[np.float64]
    user_session_jobs: NDArray[np.float64]
    user_strata: NDArray[np.float64]
    fresh_name_probability: float
    recurring_names: int
    within_job_sigma: Marginal
    strata: tuple[Stratum, ...]
    provenance: dict[str, Any]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Profile:
        """From a profile's JSON.

        Raises:
            KeyError: for a missing entry.
        """
        shares = np.array(data["users"]["share"])
        mixes = np.array(data["users"]["strata"])
        return cls(
            name=data["name"],
            sessions_per_s=data["sessions"]["rate_per_s"],
            capped_tasks_per_session=data["sessions"]["capped_tasks"],
            modulation=tuple((m["bin_s"], m["squared_cv"]) for m in data["sessions"]["modulation"]),
            session_gap_s=Marginal.from_dict(data["sessions"]["gap_s"]),
            session_gap_share=data["sessions"]["gap_share"],
            session_shape=data["sessions"]["size_shape"],
            user_share=shares / shares.sum(),
            user_session_jobs=np.array(data["users"]["session_jobs"]),
            user_strata=np.cumsum(mixes / mixes.sum(axis=1, keepdims=True), axis=1),
            fresh_name_probability=data["names"]["fresh_probability"],
            recurring_names=data["names"]["recurring"],
            within_job_sigma=Marginal.from_dict(data["within_job_sigma"]),
            strata=tuple(
                Stratum(
                    slo_class=entry["slo_class"],
                    cpu_request=Marginal.from_dict(entry["cpu_request"]),
                    memory_gb=Marginal.from_dict(entry["memory_gb"]),
                    duration_s=Marginal.from_dict(entry["duration_s"]),
                    tasks=Marginal.from_dict(entry["tasks"]),
                    mixing=np.linalg.cholesky(np.array(entry["correlation"])),
                    user_share=entry["user_share"],
                )
                for entry in data["strata"]
            ),
            provenance=data["provenance"],
        )


def profile_names() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted(entry.name.removesuffix(".json") for entry in _folder().iterdir() if entry.name.endswith(".json"))


def load_profile(name: str = "google2011") -> Profile | StreamProfile:
    """Load a profile that comes with the package, or one that ``cloudsched traces fit`` wrote.

    Args:
        name: one of `profile_names`, or the path of a JSON file.

    Raises:
        ValueError: for an unknown name (the known ones are named), or a file that is no profile.
    """
    known = profile_names()
    if name in known:
        return _shipped(name)
    if name.endswith(".json") and os.path.isfile(name):
        return _parsed(name, Path(name).read_text(encoding="utf-8"))
    if name in load_profile_names():
        raise ValueError(_no_tasks(name, known))
    raise ValueError(
        f"unknown workload profile {name!r}: expected one of {', '.join(known)}, "
        "or the path of a .json file that `cloudsched traces fit` wrote"
    )


@functools.lru_cache(maxsize=8)
def _shipped(name: str) -> Profile | StreamProfile:
    """A shipped profile; unlike a file of the user's it cannot change while it is in use."""
    return _parsed(name, _folder().joinpath(f"{name}.json").read_text(encoding="utf-8"))


def _parsed(name: str, text: str) -> Profile | StreamProfile:
    """A profile from its JSON, of either model."""
    try:
        data = json.loads(text)
        if data.get("model") == LOAD_MODEL:
            raise ValueError(_no_tasks(name, profile_names()))
        return StreamProfile.from_dict(data) if data.get("model") == MODEL else Profile.from_dict(data)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"workload profile {name!r} cannot be read ({type(error).__name__}: {error}): expected a file that "
            "`cloudsched traces fit` wrote"
        ) from error


def _no_tasks(name: str, known: list[str]) -> str:
    return (
        f"profile {name!r} is a load profile, of requests of disks: expected a profile of tasks, one of "
        f"{', '.join(known)}, or one that `cloudsched traces fit` wrote from a task table"
    )


def _folder() -> Traversable:
    return resources.files("cloudsched_env.workload").joinpath("profiles")
