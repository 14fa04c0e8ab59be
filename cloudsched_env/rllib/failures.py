"""Failures in the middle of a run, in words: what happened, what is safe, how to go on."""

from __future__ import annotations

import errno
from pathlib import Path

from cloudsched_env.rllib.role_learner import TrainingDivergedError
from cloudsched_env.rllib.run_folder import RunFolder

__all__ = ["describe_failure"]

_NO_ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up", errno.EFBIG: "file too large"}


def describe_failure(error: BaseException, folder: Path) -> str | None:
    """One line on an error that a user can act on; None for one that is a fault of the program.

    Args:
        error: what ended the run; errors of remote learners arrive as Ray's subclasses of the original ones.
        folder: of the run.
    """
    if isinstance(error, TrainingDivergedError):
        cause = getattr(error, "cause", error)  # Ray's own text is a traceback
        return f"{cause} {_what_is_left(folder)}"
    if isinstance(error, OSError):
        reason = _NO_ROOM.get(error.errno or 0) or error.strerror or str(error)
        return f"cannot write to {folder}: {reason}. {_what_is_left(folder)}"
    return None


def _what_is_left(folder: Path) -> str:
    try:
        _, state = RunFolder(folder).last_checkpoint()
    except (OSError, ValueError):
        return "The run has no checkpoint yet."
    return f"The checkpoint of epoch {state.epoch} is whole: go on from it with --resume {folder}"
