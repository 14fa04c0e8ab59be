"""The numbers behind generated storage load: a fitted profile of a block trace.

Each disk has a mean rate and belongs to a class of disks of about the same rate. The requests of a disk's intervals are
the quantiles of its class at ranks that follow from a Gaussian series (`workload.latent`), or from two: one says when
the busiest intervals come and how busy they are, another one how busy the rest is, if bursts last longer. How requests
split into reads and writes, and how large they are, has a distribution for each range of these ranks, and a series of
its own. Disks are independent.
"""

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

from cloudsched_env.workload.latent import LatentSeries

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = [
    "LOAD_MODEL",
    "QUANTITIES",
    "DeviceClass",
    "LoadProfile",
    "QuantileFunction",
    "RankedQuantity",
    "is_load_profile",
    "load_profile_names",
    "read_load_profile",
]

LOAD_MODEL = "storage load"
"""Value of ``model`` in a profile's JSON."""

QUANTITIES = ("read_share", "read_bytes", "write_bytes", "latency_s")
"""What is drawn for an interval beside its requests: reads / requests, mean bytes of a read and of a write, mean
response time in s."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class QuantileFunction:
    """A distribution as its quantiles, linear between corners.

    Attributes:
        probabilities: ascending from 0 to 1, ``[corners]``.
        values: ascending, ``[corners]``.
    """

    probabilities: Floats
    values: Floats

    def at(self, probability: Floats) -> Floats:
        """Quantiles, same shape."""
        return np.interp(probability, self.probabilities, self.values)

    @property
    def mean(self) -> float:
        """Mean of the distribution."""
        return float(np.diff(self.probabilities) @ (self.values[1:] + self.values[:-1]) / 2.0)

    @classmethod
    def from_list(cls, corners: list[list[float]]) -> QuantileFunction:
        """From a profile's JSON: pairs of probability and value."""
        array = np.array(corners, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != 2 or (np.diff(array, axis=0) < 0).any():
            raise TypeError("a quantile function is ascending pairs of probability and value")
        return cls(array[:, 0], array[:, 1])


@dataclass(frozen=True)
class RankedQuantity:
    """A quantity whose distribution depends on how busy the interval is.

    Attributes:
        edges: ranks, among intervals with requests, at which the next distribution begins; the first is 0,
            ``[ranges]``.
        quantiles: distribution in each range of ranks, ``[ranges]``.
        series: Gaussian series of its ranks within its distribution.
    """

    edges: Floats
    quantiles: tuple[QuantileFunction, ...]
    series: LatentSeries

    def at(self, busy_rank: Floats, probability: Floats) -> Floats:
        """Values for ranks of the interval's requests and for probabilities, both ``[intervals]``."""
        place = np.searchsorted(self.edges, busy_rank, side="right") - 1
        values = np.empty(len(busy_rank))
        for number, quantiles in enumerate(self.quantiles):
            inside = place == number
            values[inside] = quantiles.at(probability[inside])
        return values


@dataclass(frozen=True)
class DeviceClass:
    """Disks of about the same mean rate.

    Attributes:
        share: part of all disks.
        mean_per_s: distribution over its disks of the mean requests per second.
        silent: part of the intervals without a request.
        relative: distribution of an interval's requests / the mean of its disk, over the other intervals.
        burst_share: part of the intervals, the busiest ones, that `bursts` places; 1: all.
        bursts: Gaussian series whose highest values are these intervals, in order.
        calm: Gaussian series of the ranks of the others.
        quantities: the `QUANTITIES`; without ``latency_s`` if the trace has no response times.
    """

    share: float
    mean_per_s: QuantileFunction
    silent: float
    relative: QuantileFunction
    burst_share: float
    bursts: LatentSeries
    calm: LatentSeries
    quantities: dict[str, RankedQuantity]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DeviceClass:
        """From a profile's JSON."""
        found = {
            name: RankedQuantity(
                np.array([entry["from_rank"] for entry in quantity["ranges"]]),
                tuple(QuantileFunction.from_list(entry["quantiles"]) for entry in quantity["ranges"]),
                _series(quantity["series"]),
            )
            for name, quantity in data["quantities"].items()
        }
        missing = set(QUANTITIES[:3]) - set(found)
        if missing:
            raise KeyError(", ".join(sorted(missing)))
        return cls(
            share=float(data["share"]),
            mean_per_s=QuantileFunction.from_list(data["mean_per_s"]),
            silent=float(data["silent"]),
            relative=QuantileFunction.from_list(data["relative"]),
            burst_share=float(data["burst_share"]),
            bursts=_series(data["bursts"]),
            calm=_series(data["calm"]),
            quantities=found,
        )


@dataclass(frozen=True)
class LoadProfile:
    """A calibrated description of the requests of disks.

    Attributes:
        name: name of the profile.
        interval_s: length of an interval.
        devices: disks of the trace that it was fitted to.
        classes: in ascending order of mean rates.
        provenance: source, licence and what was fitted, for people and result files.
    """

    name: str
    interval_s: float
    devices: int
    classes: tuple[DeviceClass, ...]
    provenance: dict[str, Any]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LoadProfile:
        """From a profile's JSON.

        Raises:
            KeyError: for a missing entry.
            TypeError: for an entry of another form.
        """
        return cls(
            name=data["name"],
            interval_s=float(data["interval_s"]),
            devices=int(data["devices"]),
            classes=tuple(DeviceClass.from_dict(entry) for entry in data["classes"]),
            provenance=data["provenance"],
        )


def _series(data: dict[str, list[float]]) -> LatentSeries:
    return LatentSeries(np.array(data["scales"], dtype=np.float64), np.array(data["weights"], dtype=np.float64))


def load_profile_names() -> list[str]:
    """Names of the load profiles that come with the package."""
    return sorted(entry.name.removesuffix(".json") for entry in _folder().iterdir() if entry.name.endswith(".json"))


def is_load_profile(name: str) -> bool:
    """Whether a shipped profile or a JSON file is a load profile; what is wrong with any other is for its reader."""
    if name in load_profile_names():
        return True
    if not (name.endswith(".json") and os.path.isfile(name)):
        return False
    try:
        data = json.loads(Path(name).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(data, dict) and data.get("model") == LOAD_MODEL


def read_load_profile(name: str) -> LoadProfile:
    """Read a load profile that comes with the package, or one that ``cloudsched traces fit`` wrote.

    Args:
        name: one of `load_profile_names`, or the path of a JSON file.

    Raises:
        ValueError: for an unknown name (the known ones are named), or a file that is no load profile.
    """
    if name in load_profile_names():
        return _shipped(name)
    if not is_load_profile(name):
        raise ValueError(
            f"{name!r} is no load profile: expected one of {', '.join(load_profile_names())}, or the path of a .json "
            "file that `cloudsched traces fit` wrote from a load table"
        )
    return _parsed(name, Path(name).read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=8)
def _shipped(name: str) -> LoadProfile:
    """A shipped profile; unlike a file of the user's it cannot change while it is in use."""
    return _parsed(name, _folder().joinpath(f"{name}.json").read_text(encoding="utf-8"))


def _parsed(name: str, text: str) -> LoadProfile:
    try:
        return LoadProfile.from_dict(json.loads(text))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"load profile {name!r} cannot be read ({type(error).__name__}: {error}): expected a file that "
            "`cloudsched traces fit` wrote"
        ) from error


def _folder() -> Traversable:
    # A folder of its own: what scenarios can draw tasks from is all that lies beside it.
    return resources.files("cloudsched_env.workload").joinpath("profiles", "load")
