"""The pointer's score as one differentiable operation that never holds all hidden units at once.

Written with ordinary layers, scoring P tasks on M nodes with H hidden units keeps several tensors of ``P x M x H``
numbers for the backward pass (50 MB each for a minibatch of 1024 steps), and most of the time goes into moving them
through memory. Here tasks are handled in blocks that fit the processor's cache, and the backward pass computes the
hidden units again instead of remembering them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["pointer_score"]

# Numbers in one block of hidden units: 512 KB of float32, which stays in the second-level cache.
_BLOCK = 1 << 17


def pointer_score(
    node_part: Tensor, rows: Tensor, task_part: Tensor, features: Tensor, weight: Tensor, score: Tensor
) -> Tensor:
    """``score · relu(node_part[rows] + task_part + weight features)``.

    Args:
        node_part: contribution of each node, ``[R, M, H]``.
        rows: row of each task, int64 ``[P]``.
        task_part: contribution of each task, ``[P, H]``.
        features: of each task on each node, ``[P, M, F]``; taken as constants, they get no gradient.
        weight: ``[H, F]``.
        score: ``[H]``.

    Returns:
        ``[P, M]``.
    """
    result = _PointerScore.apply(node_part, rows, task_part, features, weight, score)
    assert isinstance(result, Tensor)  # the stubs of `apply` promise Any
    return result


class _PointerScore(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        node_part: Tensor,
        rows: Tensor,
        task_part: Tensor,
        features: Tensor,
        weight: Tensor,
        score: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(node_part, rows, task_part, features, weight, score)
        out = features.new_empty(features.shape[:2])
        for block in _blocks(node_part, len(rows)):
            hidden = _hidden(node_part, rows[block], task_part[block], features[block], weight).relu_()
            out[block] = hidden @ score
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        node_part, rows, task_part, features, weight, score = ctx.saved_tensors
        node_gradient = torch.zeros_like(node_part)
        task_gradient = torch.empty_like(task_part)
        weight_gradient = torch.zeros_like(weight)
        score_gradient = torch.zeros_like(score)
        for block in _blocks(node_part, len(rows)):
            hidden = _hidden(node_part, rows[block], task_part[block], features[block], weight).relu_()
            size = hidden.shape[-1]
            upstream = gradient[block]
            score_gradient += hidden.view(-1, size).T @ upstream.reshape(-1)
            inner = (hidden > 0) * (upstream.unsqueeze(-1) * score)
            task_gradient[block] = inner.sum(1)
            node_gradient.index_add_(0, rows[block], inner)
            weight_gradient += inner.view(-1, size).T @ features[block].reshape(-1, features.shape[-1])
        return node_gradient, None, task_gradient, None, weight_gradient, score_gradient


def _blocks(node_part: Tensor, tasks: int) -> Iterator[slice]:
    """Ranges of tasks whose hidden units fit a block."""
    size = max(1, _BLOCK // max(1, node_part.shape[1] * node_part.shape[2]))
    for start in range(0, tasks, size):
        yield slice(start, start + size)


def _hidden(node_part: Tensor, rows: Tensor, task_part: Tensor, features: Tensor, weight: Tensor) -> Tensor:
    """Hidden units before the rectifier, ``[block, M, H]``."""
    hidden = features @ weight.T
    hidden += node_part.index_select(0, rows)
    hidden += task_part.unsqueeze(1)
    return hidden
