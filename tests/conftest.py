"""What the whole suite shares: the option that renews what golden scripts expect, and Ctrl-C as everybody has it."""

from __future__ import annotations

import signal

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--zkcore-rewrite",
        action="store_true",
        help="write what the scripts in tests/scenarios print into them, to be reviewed as a diff",
    )


def pytest_configure() -> None:
    """What a shell runs in the background ignores SIGINT, and so do all its children, which tests send one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
