"""What old and lost telemetry costs: the delay of snapshots and the loss of deliveries, with policies as they are."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from cloudsched_env.agents import load_agent
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.families import make_linear
from cloudsched_env.headroom.play import MakeAgent
from cloudsched_env.headroom.policies import KUBE_DEFAULT, RANDOM, parameters_of
from cloudsched_env.headroom.settings import HeadroomSettings

__all__ = ["sweep"]


def sweep(
    bench: Bench, settings: HeadroomSettings, static: Mapping[str, Any], feedback: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure four policies at each delay and at each loss; they are not tuned anew.

    The first point of the delays is a cluster without staleness: a snapshot in every step, delivered at once.

    Returns:
        ``delay`` and ``loss``: points with the overrides, the mean age of what a scheduler sees of a node in steps (of
        delivered snapshots), and J of each policy on the test windows.
    """
    makers: dict[str, MakeAgent] = {
        "random": partial(load_agent, RANDOM),
        "kube_default": partial(load_agent, KUBE_DEFAULT),
        "static": make_linear("static", parameters_of(static)),
        "feedback": make_linear("feedback", parameters_of(feedback)),
    }
    telemetry = bench.scenario.telemetry
    fresh = {"telemetry.publish_every_steps": 1, "telemetry.delay_steps": 0}
    delays = [fresh, *({"telemetry.delay_steps": delay} for delay in settings.delays)]
    losses = [{"telemetry.loss_probability": loss} for loss in settings.losses]
    if telemetry.loss_burst_length > 1:
        # Bursts of this mean length cannot make up every share of losses: longer ones where they must be.
        losses = [
            {**point, "telemetry.loss_burst_length": max(telemetry.loss_burst_length, loss / max(1e-9, 1 - loss))}
            for point, loss in zip(losses, settings.losses, strict=True)
        ]

    def measure(axis: str, changes: dict[str, Any]) -> dict[str, Any]:
        with bench.variant(changes) as variant:
            label = f"{axis} {list(changes.values())[-1]:g}"
            played = variant.rewards(label, list(makers.values()), "test", settings.episodes)
            seen = variant.scenario.telemetry
            return {
                "overrides": changes,
                "mean_age_steps": seen.delay_steps + (seen.publish_every_steps - 1) / 2,
                "team_reward": {name: row.tolist() for name, row in zip(makers, played, strict=True)},
            }

    return {
        "delay": [measure("delay", changes) for changes in delays],
        "loss": [measure("loss", changes) for changes in losses],
    }
