"""Proofs for plugs of your own: what every Storage and every Transport must do, as test classes to inherit.

Give a class the name that your test runner looks for, say how your plug is made, and run it::

    class TestRocksStorage(StorageContract):
        def make_storage(self):
            self.directory = tempfile.mkdtemp()
            return RocksStorage(self.directory)

        def reopen(self, storage):
            storage.close()
            return RocksStorage(self.directory)

The methods are plain ``test_*`` methods that raise AssertionError; each is one promise of the protocol's docstring, and
each begins with plugs of its own. They need pytest only for being found. What a crash leaves behind is not asked here:
it depends on how the plug is made, and its own tests must ask it. Damage is, where ``make_damaged_storage`` says how it
comes about.

The suites themselves are in `storage_contract.py` and `transport_contract.py`. This module must not know any particular
plug.
"""

from __future__ import annotations

from zkcore.testing.storage_contract import StorageContract
from zkcore.testing.transport_contract import RecordingInbox, TransportContract

__all__ = ["RecordingInbox", "StorageContract", "TransportContract"]
