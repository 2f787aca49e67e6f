"""Bad input is answered as ZooKeeper does, and stops nothing; `bad_input.py` has what is said, and by whom to whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_input import alike, ask_all, ours, recorded
from live import MISSING, Server


def test_bad_input_is_answered_as_the_record_says() -> None:
    expected = recorded()
    with ours() as server:
        answers = ask_all(int(server.hosts.rpartition(":")[2]))
    assert answers.keys() == expected.keys()
    others = {name: answer for name, answer in answers.items() if not alike(name, answer, expected[name].ours)}
    assert others == {}
    assert all(each.why for each in expected.values() if each.ours != each.apache)


@pytest.mark.zookeeper
@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_the_record_is_what_an_apache_zookeeper_answers(tmp_path: Path) -> None:
    with Server(tmp_path) as live:
        if live.version != (3, 8, 0):
            pytest.skip(f"this is {live.version}, and the record of 3.8.0")
        apache = ask_all(live.port)
    expected = recorded()
    assert {name: answer for name, answer in apache.items() if not alike(name, answer, expected[name].apache)} == {}
