"""The one place where zab, tree, storage and transport meet: see `replica.py` first."""
