"""Attention to the k most similar roles."""

import dataclasses

import pytest
import torch

from cloudsched_env.rllib.networks import ROLES, NetworkConfig, RoleAttention

CONFIG = NetworkConfig(embedding_size=8, context_size=8)


def attend(top_k, batch=6, **changes):
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, attention_top_k=top_k, **changes)
    attention = RoleAttention(ROLES, 8, config)
    generator = torch.Generator().manual_seed(1)
    embeddings = {role: torch.randn(batch, 4, 8, generator=generator, requires_grad=True) for role in ROLES}
    return attention, embeddings, attention(embeddings)


@pytest.mark.parametrize("similarity", ["scaled_dot", "additive", "bilinear"])
def test_a_head_gives_all_its_weight_to_the_k_most_similar_roles(similarity):
    _, _, dense = attend(0, attention_heads=1, similarity=similarity)
    for k in (1, 2):
        _, _, sparse = attend(k, attention_heads=1, similarity=similarity)
        for role in ROLES:
            kept = sparse.weights[role] > 0
            assert (kept.sum(-1) == k).all()
            order = dense.weights[role].argsort(-1, descending=True)[..., :k]
            assert kept.gather(-1, order).all()
            # Among those that are kept, proportions are those of dense attention.
            expected = dense.weights[role] * kept
            torch.testing.assert_close(sparse.weights[role], expected / expected.sum(-1, keepdim=True))


def test_as_many_as_there_are_roles_is_dense_attention():
    _, _, dense = attend(0)
    for k in (3, 7):
        for role, context in attend(k)[2].contexts.items():
            torch.testing.assert_close(context, dense.contexts[role])


def test_gradients_are_finite_and_reach_what_is_attended_to():
    attention, embeddings, out = attend(1)
    sum(context.square().sum() for context in out.contexts.values()).backward()
    for values in embeddings.values():
        assert values.grad.isfinite().all()
    assert any(
        layer.weight.grad is not None and layer.weight.grad.abs().max() > 0 for layer in attention.value.values()
    )
    assert all(entropy.isfinite().all() for entropy in out.entropy.values())


def test_a_negative_number_of_roles_is_refused():
    with pytest.raises(ValueError, match="attention_top_k"):
        dataclasses.replace(CONFIG, attention_top_k=-1)
