"""Running normalisation of returns."""

import pytest
import torch
from safetensors.torch import load, save

from cloudsched_env.rllib.not_finite import NotFiniteError
from cloudsched_env.rllib.value_normalisation import ValueNormaliser


def test_moments_converge_and_normalised_returns_are_standard():
    generator = torch.Generator().manual_seed(0)
    normaliser = ValueNormaliser(decay=0.99)
    for _ in range(500):
        normaliser.update(70 + 3 * torch.randn(4, 64, generator=generator))
    assert float(normaliser.mean) == pytest.approx(70, abs=0.1)
    assert float(normaliser.std) == pytest.approx(3, rel=0.02)
    out = normaliser.normalise(70 + 3 * torch.randn(10_000, generator=generator))
    assert out.dtype == torch.float32
    assert float(out.mean()) == pytest.approx(0, abs=0.05)
    assert float(out.std()) == pytest.approx(1, abs=0.05)


def test_the_first_update_counts_fully():
    """Without debiasing the mean would start near 0."""
    normaliser = ValueNormaliser(decay=0.999)
    normaliser.update(torch.tensor([9.0, 11.0]))
    assert float(normaliser.mean) == pytest.approx(10)
    assert float(normaliser.std) == pytest.approx(1)


def test_old_returns_are_forgotten():
    normaliser = ValueNormaliser(decay=0.9)
    for value in (0.0, 50.0):
        for _ in range(200):
            normaliser.update(torch.tensor([value - 1, value + 1]))
    assert float(normaliser.mean) == pytest.approx(50, abs=1e-3)
    assert float(normaliser.std) == pytest.approx(1, abs=1e-3)


def test_denormalise_inverts_normalise():
    normaliser = ValueNormaliser()
    normaliser.update(torch.tensor([100.0, 300.0, 800.0]))
    values = torch.linspace(-500, 1500, 11)
    torch.testing.assert_close(normaliser.denormalise(normaliser.normalise(values)), values)


def test_before_any_data_values_pass_through():
    values = torch.randn(5)
    assert torch.equal(ValueNormaliser().normalise(values), values)
    assert torch.equal(ValueNormaliser().denormalise(values), values)


def test_constant_returns_do_not_blow_up():
    normaliser = ValueNormaliser(minimum_variance=1e-2)
    normaliser.update(torch.full((10,), 1e4))
    assert normaliser.normalise(torch.tensor([1e4, 1e4 + 1])).tolist() == pytest.approx([0, 10], abs=1e-3)


def test_state_survives_a_checkpoint_bit_by_bit():
    first, second = ValueNormaliser(), ValueNormaliser()
    for seed in range(5):
        first.update(torch.randn(10, generator=torch.Generator().manual_seed(seed)))
    second.load_state_dict(load(save(first.state_dict())))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.std, second.std)
    for normaliser in (first, second):
        normaliser.update(torch.tensor([3.0, 4.0]))
    assert torch.equal(first.std, second.std)
    assert torch.equal(first.mean, second.mean)


def test_gradient_passes_through_to_the_values_only():
    normaliser = ValueNormaliser()
    normaliser.update(torch.tensor([0.0, 4.0]))
    values = torch.tensor([1.0], requires_grad=True)
    normaliser.denormalise(values).sum().backward()
    assert values.grad.tolist() == [2.0]


def test_bad_batches_and_settings_are_refused():
    with pytest.raises(NotFiniteError, match=r"compute\.returns is not finite in 1 of 2 numbers"):
        ValueNormaliser(name="compute.returns").update(torch.tensor([1.0, float("nan")]))
    with pytest.raises(ValueError, match="non-empty"):
        ValueNormaliser().update(torch.empty(0))
    with pytest.raises(ValueError, match="decay"):
        ValueNormaliser(decay=1.0)
    with pytest.raises(ValueError, match="minimum_variance"):
        ValueNormaliser(minimum_variance=0.0)
