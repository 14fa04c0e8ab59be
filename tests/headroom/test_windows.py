from __future__ import annotations

import numpy as np
import pytest

from cloudsched_env.agents import load_agent
from cloudsched_env.evaluation.protocol import play
from cloudsched_env.headroom.windows import shorten
from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload import GeneratedSource


def test_a_window_plays_like_the_beginning_of_its_episode():
    full = load_scenario("tiny-v1")
    episode = GeneratedSource(full, "train").evaluation_episodes(1)[0]
    scenario, window = shorten(full, episode, 90)
    assert scenario.time.horizon_steps == 90
    assert window.arrival_s.max() <= 9.0
    assert (episode.arrival_s[window.tasks :] > 9.0).all()
    starts = []
    for cluster, work in ((full, episode), (scenario, window)):
        (record,), _ = play(load_agent("locality"), CloudSchedVectorEnv(cluster, 1), [work], 0)
        finished = np.nan_to_num(record.finish_s[: window.tasks], nan=np.inf)
        starts.append(np.where(finished < 9.0, finished, np.inf))
    assert np.isfinite(starts[0]).sum() > 20
    assert (starts[0] == starts[1]).all()


def test_a_window_of_the_whole_length_keeps_every_task():
    full = load_scenario("tiny-v1")
    episode = GeneratedSource(full, "train").evaluation_episodes(1)[0]
    scenario, window = shorten(full, episode, 210)
    assert scenario == full
    assert window.tasks == episode.tasks


@pytest.mark.parametrize("steps", [0, 10, 211])
def test_impossible_windows_are_refused(steps):
    full = load_scenario("tiny-v1")
    episode = GeneratedSource(full, "train").evaluation_episodes(1)[0]
    with pytest.raises(ValueError, match="expected more than the warm-up, 10, and at most the episode, 210"):
        shorten(full, episode, steps)


def test_a_window_too_short_for_the_flash_crowds_of_its_episode_keeps_their_arrivals():
    full = load_scenario("elastic-v1")  # three crowds of 5 s
    episode = GeneratedSource(full, "train").evaluation_episodes(1)[0]
    steps = full.time.warmup_steps + 20
    scenario, window = shorten(full, episode, steps)
    assert scenario.workload.flash_crowds == 0
    assert window.tasks == (episode.arrival_s <= steps * full.time.step_s).sum() > 0
    longer, _ = shorten(full, episode, full.time.warmup_steps + 100)
    assert longer.workload.flash_crowds == 2
