"""The ensemble that a storage belongs to: its text, its two copies, and which other may take its place."""

from __future__ import annotations

import pytest
from file_crashes import open_sim
from hypothesis import given
from hypothesis import strategies as st

from zkcore.errors import StorageError
from zkcore.storage import FileStorage
from zkcore.storage.members import differences, ensemble_text, name_of, parse_ensemble
from zkcore.testing.sim_files import SimFiles
from zkcore.zab.quorum import EnsembleConfig

TRIO = EnsembleConfig([1, 2, 3])
GROUPED = EnsembleConfig([1, 2, 3, 4], observers=[7, 9], groups=[[1, 2], [3, 4]], weights={1: 3, 4: 0})
EVERYBODY = range(1, 256)
LARGEST = EnsembleConfig(EVERYBODY, groups=[[me] for me in EVERYBODY], weights=dict.fromkeys(EVERYBODY, 1000))


@pytest.mark.parametrize("ensemble", [TRIO, GROUPED, LARGEST], ids=["trio", "grouped", "largest"])
def test_the_text_of_an_ensemble_is_read_back_from_either_copy(ensemble: EnsembleConfig) -> None:
    assert parse_ensemble(ensemble_text(ensemble)) == ensemble
    for copy in (12288, 20480):
        files = SimFiles()
        opened(files, ensemble, new=True).close()
        files.flip("records", 8 * (copy + 9))
        with pytest.raises(StorageError, match="are missing"):
            opened(files, EnsembleConfig([1])).close()
        opened(files, ensemble).close()  # and writes it again
        files.flip("records", 8 * (32768 - copy + 9))
        with pytest.raises(StorageError, match="are missing"):
            opened(files, EnsembleConfig([1])).close()


def test_an_ensemble_that_cannot_be_written_down_is_refused() -> None:
    with pytest.raises(StorageError, match="too long"):
        opened(SimFiles(), EnsembleConfig(range(1, 90), weights=dict.fromkeys(range(1, 90), 10 ** 100)), new=True)


def opened(files: SimFiles, ensemble: EnsembleConfig, *, new: bool = False) -> FileStorage:
    return FileStorage(files, node=1, cluster="test", ensemble=ensemble, new=new, segment_bytes=4096)


@given(st.text())
def test_what_is_no_text_of_an_ensemble_is_none(text: str) -> None:
    parsed = parse_ensemble(text)
    assert parsed is None or parse_ensemble(ensemble_text(parsed)) == parsed


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (TRIO, ""),
        (EnsembleConfig([1, 2, 3], observers=[4]), ""),
        (EnsembleConfig([1, 2]), "voters 3 are missing"),
        (EnsembleConfig([1, 2, 3, 4]), "voters 4 are new"),
        (EnsembleConfig([1, 2, 4], observers=[3]), "voters 3 are missing, voters 4 are new"),
        (EnsembleConfig([1, 2, 3], weights={1: 2}), "its voters have other groups or weights"),
    ],
)
def test_which_ensemble_may_take_the_place_of_another(other: EnsembleConfig, says: str) -> None:
    assert differences(TRIO, other) == says
    assert (name_of(other) == name_of(TRIO)) == (says == "")


def test_a_storage_without_an_ensemble_takes_the_first_that_is_named() -> None:
    files = SimFiles()
    open_sim(files, new=True).close()
    opened(files, TRIO).close()
    open_sim(files).close()
    with pytest.raises(StorageError, match="voters 3 are missing"):
        opened(files, EnsembleConfig([1, 2]))


def test_a_crash_leaves_the_ensemble_before_or_the_one_after() -> None:
    files = SimFiles()
    opened(files, TRIO, new=True).close()
    more = EnsembleConfig([1, 2, 3], observers=[4])
    seen = []

    def look(step: str) -> None:
        for image in files.crash_images():
            opened(image, TRIO).close()
            with pytest.raises(StorageError, match="voters 3 are missing"):
                opened(image, EnsembleConfig([1, 2]))
            seen.append(step)

    files.before_step = look
    opened(files, more).close()
    assert len(seen) > 10
