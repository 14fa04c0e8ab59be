"""The ``rllib`` command that Ray removed (ray-project/ray#46724): ``rllib train file CONFIG``, as it was."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of the ``rllib`` script."""
    try:
        from cloudsched_env.cli.rllib_train import app
    except ModuleNotFoundError as error:
        print(f"The rllib command needs the package {error.name}: pip install 'cloudsched-env[rllib]'", file=sys.stderr)
        raise SystemExit(1) from None
    app()


if __name__ == "__main__":
    main()
