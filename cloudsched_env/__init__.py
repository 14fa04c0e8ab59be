"""Benchmark for multi-agent reinforcement learning on cloud-native database clusters."""

__version__ = "0.1.0"
