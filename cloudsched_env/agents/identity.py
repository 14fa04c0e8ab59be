"""What tells one agent from another in stored results."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["agent_identity", "policy_digest"]


def agent_identity(spec: str) -> str:
    """A policy is known by its files, wherever they lie, and how it is asked to act; other agents by their spec."""
    folder, bracket, arguments = spec.partition("(")
    return policy_digest(Path(folder)) + bracket + arguments if Path(folder).is_dir() else spec


def policy_digest(folder: Path) -> str:
    """Of all files of a policy's folder, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]
