"""What makes a replica's state durable: the `Storage` protocol and its implementations."""

from zkcore.storage.file import FileStorage
from zkcore.storage.storage import MemoryStorage, Storage

__all__ = ["FileStorage", "MemoryStorage", "Storage"]
