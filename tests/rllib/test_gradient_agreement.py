"""`benchmarks/gradient_agreement.py`: what its two figures say of gradients whose signal is known."""

import pytest

pytest.importorskip("ray")

import torch

from tests.scripts import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("gradient_agreement.py")


def noisy(signal, rows=400, size=2000, seed=0):
    """Rows of a fixed direction of length ``signal`` and noise of length about 1."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.zeros(size)
    direction[0] = signal
    return direction + torch.randn(rows, size, generator=generator) / size**0.5


@pytest.mark.parametrize("signal", [0.0, 0.5, 1.0, 3.0])
def test_agreement_is_the_share_of_the_signal(script, signal):
    assert script.agreement(noisy(signal)) == pytest.approx(signal**2 / (signal**2 + 1), abs=0.01)


def test_agreement_of_equal_rows_is_one(script):
    assert script.agreement(torch.ones(4, 3)) == pytest.approx(1.0)


def test_alignment_compares_halves_that_share_no_noise(script):
    rows = noisy(0.0, rows=8)
    assert abs(script.alignment(rows, rows)) < 0.1
    assert script.alignment(noisy(3.0), -noisy(3.0, seed=1)) == pytest.approx(-1.0, abs=0.01)
