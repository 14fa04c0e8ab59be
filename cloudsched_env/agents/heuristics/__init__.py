"""Rules that real schedulers and engines use: each a placement combined with a rule for the node knobs."""

from cloudsched_env.agents.heuristics.agent import HeuristicAgent
from cloudsched_env.agents.heuristics.data import BoundedLoadHash, DelayScheduling, Locality
from cloudsched_env.agents.heuristics.knobs import Knobs, RandomKnobs, ReactiveKnobs, StaticKnobs
from cloudsched_env.agents.heuristics.load import (
    Balanced,
    BestFit,
    LeastAllocated,
    MostAllocated,
    PowerOfTwo,
    RandomPlacement,
    RoundRobin,
)
from cloudsched_env.agents.heuristics.order import DominantResourceFairness, Tetris
from cloudsched_env.agents.heuristics.placement import FittedPlacement, Placement, ScoredPlacement

__all__ = [
    "Balanced",
    "BestFit",
    "BoundedLoadHash",
    "DelayScheduling",
    "DominantResourceFairness",
    "FittedPlacement",
    "HeuristicAgent",
    "Knobs",
    "LeastAllocated",
    "Locality",
    "MostAllocated",
    "Placement",
    "PowerOfTwo",
    "RandomKnobs",
    "RandomPlacement",
    "ReactiveKnobs",
    "RoundRobin",
    "ScoredPlacement",
    "StaticKnobs",
    "Tetris",
]
