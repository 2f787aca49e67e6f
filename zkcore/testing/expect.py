"""The one assertion of the contracts: they must run where no pytest rewrites `assert`, and with python -O."""

from __future__ import annotations

__all__ = ["expect"]


def expect(what: str, actual: object, expected: object) -> None:
    """AssertionError, with both values, unless they are equal."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")
