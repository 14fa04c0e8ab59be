"""The leaderboard: fixed suites of episodes, runs that can be repeated, standings with intervals, a static page.

`suites` says what is played, `run` plays it into a `store`, `standings` and `compare` say what came out, `render` shows
it, `verify` plays a part of a submission again. Nothing here imports Ray or torch.
"""

from cloudsched_env.leaderboard.suites import Suite, load_suite, suite_ids

__all__ = ["Suite", "load_suite", "suite_ids"]
