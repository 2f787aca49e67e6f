"""What the tests of recipes share: worlds are tidied up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scripted import made


@pytest.fixture(autouse=True)
def _tidy() -> Iterator[None]:
    yield
    while made:
        made.pop().end()
