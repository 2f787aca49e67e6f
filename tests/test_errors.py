"""Errors travel between processes, as those of workers do, and say the same there."""

from __future__ import annotations

import inspect
import pickle

import pytest

from zkcore import errors
from zkcore.errors import MultiError, NoNodeError, NotLeadingError, ZkcoreError

KINDS = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, ZkcoreError)]

MADE_OF_MORE: dict[type[ZkcoreError], ZkcoreError] = {
    MultiError: MultiError(1, NoNodeError(path="/a"), codes=(0, -101, -2), path="/a"),
    NotLeadingError: NotLeadingError(3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_the_same_in_another_process(kind: type[ZkcoreError]) -> None:
    error = MADE_OF_MORE.get(kind) or kind("what to do next")
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is kind
    assert str(there) == str(error)
    assert there.args == error.args
    facts, seen = ({**vars(each), "error": str(vars(each).get("error"))} for each in (error, there))
    assert seen == facts
