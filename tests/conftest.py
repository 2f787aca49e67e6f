"""What the whole suite shares: the option that renews what golden scripts expect."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--zkcore-rewrite",
        action="store_true",
        help="write what the scripts in tests/scenarios print into them, to be reviewed as a diff",
    )
