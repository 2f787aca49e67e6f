"""Sessions with an ensemble, and the verbs of ZooKeeper: see `port.py` first."""
