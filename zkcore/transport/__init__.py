"""What carries messages between replicas: the `Transport` protocol and its implementations."""

from zkcore.transport.transport import Inbox, LocalNetwork, Relinking, Transport

__all__ = ["Inbox", "LocalNetwork", "Relinking", "Transport"]
