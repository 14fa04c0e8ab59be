from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cloudsched_env.agents.linear import LinearParameters
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.cross_entropy import CrossEntropySearch
from cloudsched_env.headroom.families import deviations, tune_linear
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.headroom.tuning import Search, tune
from cloudsched_env.scenario import load_scenario

OPTIMUM = np.array([1.5, -2.0, 0.25, 3.0])
SEARCH = Search(generations=30, population=40, elite_share=0.25, windows=4, pool=12, validate_every=5, seed=3)


def quadratic(vectors: np.ndarray) -> np.ndarray:
    return -((vectors - OPTIMUM) ** 2).sum(axis=1)


def noisy(vectors: np.ndarray, places: Sequence[int] | None, seed: int) -> np.ndarray:
    """Windows differ a lot from one another, and so do seeds: policies are compared on equal ones only."""
    windows = range(100, 106) if places is None else places
    offsets = np.array([10 * np.random.default_rng((seed, window)).normal() for window in windows])
    tilts = np.array([np.random.default_rng((1, window)).normal(size=4) for window in windows])
    return quadratic(vectors)[:, None] + offsets + 0.3 * vectors @ tilts.T


def exact(vectors: np.ndarray, places: Sequence[int] | None, seed: int) -> np.ndarray:
    return np.repeat(quadratic(vectors)[:, None], 6 if places is None else len(places), axis=1)


def test_the_method_finds_the_optimum_of_a_quadratic():
    method = CrossEntropySearch(np.zeros(4), np.full(4, 2.0), np.random.default_rng(0), generations=40)
    while not method.done:
        candidates = method.ask()
        method.tell(candidates, quadratic(candidates))
    assert method.mean == pytest.approx(OPTIMUM, abs=0.05)
    assert method.history[-1]["centre"] > method.history[0]["centre"]


def test_the_method_refuses_values_that_are_not_finite():
    method = CrossEntropySearch(np.zeros(2), np.ones(2), np.random.default_rng(0), population=4)
    with pytest.raises(ValueError, match="expected 4 finite values"):
        method.tell(method.ask(), np.array([0.0, np.nan, 0.0, 0.0]))


def test_tuning_finds_the_optimum_behind_noise_that_candidates_share():
    found = tune(np.zeros(4), np.full(4, 2.0), noisy, SEARCH, None)
    assert found.vector == pytest.approx(OPTIMUM, abs=0.5)
    assert found.curve[0][0] == 0
    assert [generation for generation, _ in found.curve] == [0, 5, 10, 15, 20, 25, 30]
    assert found.validation == max(value for _, value in found.curve)


def test_all_candidates_of_a_generation_meet_the_same_windows_and_generations_meet_others():
    met: list[tuple[tuple[int, ...], int, int]] = []

    def watched(vectors: np.ndarray, places: Sequence[int] | None, seed: int) -> np.ndarray:
        if places is not None:
            met.append((tuple(places), seed, len(vectors)))
        return exact(vectors, places, seed)

    tune(np.zeros(4), np.ones(4), watched, SEARCH, None)
    assert len(met) == SEARCH.generations
    assert all(count == SEARCH.population and len(set(places)) == SEARCH.windows for places, _, count in met)
    assert len({places for places, _, _ in met}) > SEARCH.generations / 2
    assert len({seed for _, seed, _ in met}) == SEARCH.generations
    assert {place for places, _, _ in met for place in places} == set(range(SEARCH.pool))


def test_the_best_centre_on_validation_windows_is_returned_not_the_last():
    def misleading(vectors: np.ndarray, places: Sequence[int] | None, seed: int) -> np.ndarray:
        """Train windows reward what validation windows punish beyond a first step."""
        x = vectors[:, :1]
        return np.repeat(x if places is not None else -((x - 1.0) ** 2), 6 if places is None else len(places), axis=1)

    search = Search(generations=20, population=20, elite_share=0.25, windows=1, pool=1, validate_every=1, seed=0)
    found = tune(np.zeros(1), np.ones(1), misleading, search, None)
    assert found.curve[-1][1] < found.validation - 1.0
    assert abs(found.vector[0] - 1.0) < 1.0
    start_is_best = tune(np.ones(1), np.full(1, 5.0), misleading, search, None)
    assert start_is_best.vector.tolist() == [1.0]


def test_entries_without_deviation_stay():
    found = tune(np.full(4, 0.5), np.array([1.0, 0.0, 1.0, 0.0]), exact, SEARCH, None)
    assert found.vector[[1, 3]].tolist() == [0.5, 0.5]
    assert found.vector[[0, 2]] == pytest.approx(OPTIMUM[[0, 2]], abs=0.1)


@pytest.mark.parametrize("break_after", [1, 2, 7, 13, 36])
def test_an_interrupted_search_ends_bit_for_bit_like_one_that_was_not(tmp_path: Path, break_after: int):
    whole = tune(np.zeros(4), np.full(4, 2.0), noisy, SEARCH, tmp_path / "whole")
    calls = 0

    def interrupted(vectors: np.ndarray, places: Sequence[int] | None, seed: int) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == break_after:
            raise KeyboardInterrupt
        return noisy(vectors, places, seed)

    with pytest.raises(KeyboardInterrupt):
        tune(np.zeros(4), np.full(4, 2.0), interrupted, SEARCH, tmp_path / "parts")
    resumed: list[int] = []
    found = tune(np.zeros(4), np.full(4, 2.0), noisy, SEARCH, tmp_path / "parts", resumed.append)
    assert found.vector.tobytes() == whole.vector.tobytes()
    assert found.curve == whole.curve
    assert found.history == whole.history
    # One call measured the start, and each generation is one call and sometimes a second on validation windows.
    lost = (break_after - 2) - (resumed[0] if resumed else 0)
    assert lost <= (resumed[0] if resumed else 0) // SEARCH.validate_every + 1


def test_a_folder_with_another_search_is_refused(tmp_path: Path):
    short = Search(generations=1, population=4, elite_share=0.5, windows=1, pool=1, validate_every=1, seed=0)
    tune(np.zeros(4), np.ones(4), exact, short, tmp_path)
    with pytest.raises(ValueError, match="another start or size"):
        tune(np.ones(4), np.ones(4), exact, short, tmp_path)


def test_the_number_of_threads_does_not_change_what_is_found():
    scenario = load_scenario("tiny-v1", {"time.warmup_steps": 5, "time.horizon_steps": 40})
    settings = HeadroomSettings(
        train_windows=3, windows=2, validation_windows=2, population=6, validate_every=1, elite_share=0.4
    )
    start = LinearParameters.packaged("static")
    found = []
    for threads in (1, 3):
        with Bench(scenario, None, 0, threads) as bench:
            found.append(tune_linear(bench, "t", start, deviations(start, settings), settings, 3, None))
    (first, one), (second, three) = found
    assert first.to_vector().tobytes() == second.to_vector().tobytes()
    assert one.curve == three.curve
    assert one.history == three.history
    assert len({value for _, value in one.curve}) > 1, "the search did not move: the comparison would show nothing"
