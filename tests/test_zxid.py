"""Zxids order everything: as integers, and as what may stand after what in a log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkcore.zxid import MAX_COUNTER, MAX_EPOCH, counter_of, epoch_of, follows, format_zxid, make_zxid

u32 = st.integers(0, 2**32 - 1)
zxids = st.builds(make_zxid, u32, u32)


@given(u32, u32)
def test_a_zxid_holds_its_epoch_and_its_counter(epoch: int, counter: int) -> None:
    zxid = make_zxid(epoch, counter)
    assert (epoch_of(zxid), counter_of(zxid)) == (epoch, counter)
    assert 0 <= zxid < 1 << 64


@given(zxids, zxids)
def test_zxids_compare_by_epoch_and_then_by_counter(one: int, other: int) -> None:
    assert (one < other) == ((epoch_of(one), counter_of(one)) < (epoch_of(other), counter_of(other)))


@pytest.mark.parametrize(("epoch", "counter"), [(-1, 0), (0, -1), (MAX_EPOCH + 1, 0), (0, MAX_COUNTER + 1)])
def test_what_does_not_fit_into_32_bits_is_no_zxid(epoch: int, counter: int) -> None:
    with pytest.raises(ValueError, match="32-bit"):
        make_zxid(epoch, counter)


@pytest.mark.parametrize(
    ("previous", "zxid", "allowed"),
    [
        ((0, 0), (1, 1), True),  # the first record of all
        ((0, 0), (1, 0), False),  # a phantom
        ((0, 0), (1, 2), False),
        ((1, 7), (1, 8), True),
        ((1, 7), (1, 9), False),  # a gap
        ((1, 7), (1, 7), False),  # again
        ((1, 7), (1, 6), False),
        ((1, 7), (2, 1), True),
        ((1, 7), (5, 1), True),  # epochs may be skipped
        ((1, 7), (2, 0), False),
        ((1, 7), (2, 2), False),
        ((2, 1), (1, 1), False),  # back into an old epoch
        ((1, MAX_COUNTER), (2, 0), False),  # the next integer, but a phantom
        ((1, MAX_COUNTER), (2, 1), True),
    ],
)
def test_what_may_follow_what_in_a_log(previous: tuple[int, int], zxid: tuple[int, int], allowed: bool) -> None:
    assert follows(make_zxid(*zxid), make_zxid(*previous)) is allowed


@pytest.mark.parametrize(
    ("zxid", "text"), [((0, 0), "0x0_00000000"), ((3, 10), "0x3_0000000a"), ((16, 0xFFF00000), "0x10_fff00000")]
)
def test_zxids_print_as_people_read_them(zxid: tuple[int, int], text: str) -> None:
    assert format_zxid(make_zxid(*zxid)) == text
