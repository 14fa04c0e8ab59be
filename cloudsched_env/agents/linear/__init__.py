"""Linear agents: features, parameters, compiled decisions."""

from cloudsched_env.agents.linear.agent import LinearKnobs, LinearPlacement, linear_agent
from cloudsched_env.agents.linear.parameters import LinearParameters

__all__ = ["LinearKnobs", "LinearParameters", "LinearPlacement", "linear_agent"]
