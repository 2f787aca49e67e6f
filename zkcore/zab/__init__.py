"""The consensus core: election, discovery, synchronisation, broadcast. See `peer.py` first: it has the contract."""
