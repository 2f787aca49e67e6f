"""Ensembles simulated from a seed, and suites that prove plugs against their contracts."""
