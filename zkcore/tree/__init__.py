"""Znodes, sessions and watches: requests become transactions, transactions are applied. See `tree.py` first."""
