"""ZooKeeper's records as bytes, and back: see `codec.py` first."""
