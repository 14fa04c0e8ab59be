"""QMIX and VDN on games whose outcome is published."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from tests.rllib.matrix_games import Learned, OneStepGame, TwoStepGame


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_vdn_reaches_seven_in_the_two_step_game():
    vdn = Learned(TwoStepGame(), "sum")
    assert vdn.greedy_return() == 7.0
    # Under even play the best sum of two utilities is row mean + column mean - mean: the 8 looks like 6.5.
    np.testing.assert_allclose(vdn.values(2), [[-1.5, 2.5], [2.5, 6.5]], atol=0.05)
    np.testing.assert_allclose(vdn.values(1), 7.0, atol=0.05)
    np.testing.assert_allclose(vdn.values(0), [[7.0, 7.0], [6.5, 6.5]], atol=0.05)


def test_qmix_reaches_eight_in_the_two_step_game():
    qmix = Learned(TwoStepGame(), "monotonic")
    assert qmix.greedy_return() == 8.0 == TwoStepGame.optimum
    np.testing.assert_allclose(qmix.values(2), TwoStepGame.payoff_2b, atol=0.05)
    np.testing.assert_allclose(qmix.values(1), 7.0, atol=0.05)
    np.testing.assert_allclose(qmix.values(0), [[7.0, 7.0], [8.0, 8.0]], atol=0.05)


@pytest.mark.parametrize("mixing", ["sum", "monotonic"])
def test_neither_finds_an_optimum_that_no_monotonic_value_has(mixing):
    """The matrix of QTRAN (Son et al. 2019, arXiv 1905.05408): missing the partner costs more than the 8 is worth."""
    game = OneStepGame([[8, -12, -12], [-12, 0, 0], [-12, 0, 0]])
    learned = Learned(game, mixing, choices=3)
    assert learned.greedy_return() == 0.0 < game.optimum
    assert learned.values(0)[0, 0] < 0.0
