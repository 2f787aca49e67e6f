"""Apache ZooKeeper's coordination model as a library that an application imports."""

__version__ = "0.1.0"
