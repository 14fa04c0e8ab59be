"""Evaluation: the protocol, the metrics, their statistics and reports."""

from cloudsched_env.evaluation.metrics import METRICS, Metric, summarise

__all__ = ["METRICS", "Metric", "summarise"]
