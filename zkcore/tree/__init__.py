"""Znodes and what is asked of them: the requests that a replica takes, and what they are answered with."""

from zkcore.jute.records import Stat
from zkcore.tree.applied import EventType, WatchEvent
from zkcore.tree.requests import (
    Children,
    CloseSession,
    Create,
    Created,
    CreateSession,
    Delete,
    Exists,
    GetChildren,
    GetChildren2,
    GetData,
    NodeData,
    Request,
    SetData,
)
from zkcore.tree.tree import Tree
from zkcore.tree.znode import CreateMode

__all__ = [
    "Children",
    "CloseSession",
    "Create",
    "CreateMode",
    "CreateSession",
    "Created",
    "Delete",
    "EventType",
    "Exists",
    "GetChildren",
    "GetChildren2",
    "GetData",
    "NodeData",
    "Request",
    "SetData",
    "Stat",
    "Tree",
    "WatchEvent",
]
