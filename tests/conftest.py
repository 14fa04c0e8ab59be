from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Numba compiles in the first example of a property, and machines may be busy: no example has a deadline. Where the same
# commit must give the same verdict twice, examples are the same too; elsewhere every run looks at new ones.
settings.register_profile("explore", deadline=None)
settings.register_profile("repeat", deadline=None, derandomize=True)
settings.load_profile("repeat" if os.environ.get("CI") else "explore")


@pytest.fixture(scope="session")
def trace_dir() -> Path:
    """Folder of the published Google 2011 files; tests that need it are marked `real_trace`."""
    value = os.environ.get("CLOUDSCHED_TRACE_DIR")
    if not value:
        pytest.skip("set CLOUDSCHED_TRACE_DIR to the folder of clusterdata-2011-2 (docs/traces.md)")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"CLOUDSCHED_TRACE_DIR: no such folder: {folder}")
    return folder
