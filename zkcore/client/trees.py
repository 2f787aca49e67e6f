"""Whole parts of the tree: deleting a znode with all below it, however many they are.

This module must not know what kind of Port it has.
"""

from __future__ import annotations

from zkcore.client.port import Port
from zkcore.errors import NoNodeError, NotEmptyError
from zkcore.tree.paths import join
from zkcore.tree.requests import DeleteTree, ListChildren

__all__ = ["delete_tree"]


async def delete_tree(port: Port, path: str) -> None:
    """Delete `path` and all below it: in one transaction where that is not too much for one, else from the bottom up in
    several. Raises NoNodeError where there is nothing, and what else the requests do; what was deleted by then is."""
    while not await _delete_at_once(port, path):
        page = await port.request(ListChildren(path))
        for child in page.children:
            try:
                await delete_tree(port, join(path, child.name))
            except NoNodeError:
                pass  # somebody else was faster


async def _delete_at_once(port: Port, path: str) -> bool:
    try:
        await port.request(DeleteTree(path))
    except NotEmptyError:
        return False
    return True
