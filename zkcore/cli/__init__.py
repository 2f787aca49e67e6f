"""The command line of zkcore: see `main.py`."""
