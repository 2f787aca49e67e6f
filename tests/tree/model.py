"""ZooKeeper's data model done in the plainest way: dicts, copies, and no thought of speed.

It knows the rules from ZooKeeper's documentation and source, and from zkcore's for what ZooKeeper does not have; of
zkcore's code it knows nothing. An operation is a tuple: its name and its arguments.
"""

from __future__ import annotations

import copy
from typing import Any

FIELDS = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion", "owner", "pzxid")
READ, WRITE, CREATE, DELETE, ADMIN, ALL = 1, 2, 4, 8, 16, 31
WORLD = (ALL, "world", "anyone")
SPECIAL = ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")
EXPIRED, BAD_ARGUMENTS, NO_NODE, NO_AUTH, BAD_VERSION = -112, -8, -101, -102, -103
NO_CHILDREN, EXISTS, NOT_EMPTY, INVALID_ACL = -108, -110, -111, -114
OVER_QUOTA, FORGOTTEN = -125, -126
LARGEST, REMEMBERED = 0xFFFFF, 16
QUOTA, LIMITS, STATS = "/zookeeper/quota", "/zookeeper_limits", "/zookeeper_stats"


class Refused(Exception):
    """The code of an error, and for a multi the number of the operation."""


def is_valid(path: str) -> bool:
    return path == "/" or (path.startswith("/") and all(name not in ("", ".", "..") for name in path[1:].split("/")))


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


class Model:
    """`most_znodes` and `most_bytes` limit the whole of it."""

    def __init__(self, most_znodes: float = float("inf"), most_bytes: float = float("inf")) -> None:
        self.most_znodes, self.most_bytes = most_znodes, most_bytes
        self.nodes: dict[str, dict[str, Any]] = {}
        self.sessions: dict[int, int] = {}
        self.known: dict[int, dict[int, Any]] = {}
        self.floors: dict[int, int] = {}
        self.zxid = self.now = self.session = 0
        self.ids: tuple[tuple[str, str], ...] = ()
        for path, shown in (("/", -1), ("/zookeeper", -2), ("/zookeeper/quota", 0), ("/zookeeper/config", 0)):
            self.nodes[path] = {
                **dict.fromkeys(FIELDS, 0), "cversion": shown, "data": b"", "created": 0, "acl": [WORLD],
                "kind": "plain",
            }  # fmt: skip
        self.nodes["/zookeeper/config"].update(aversion=-1, acl=[(READ, "world", "anyone")])

    # --- asking

    def run(self, zxid: int, now: int, session: int, ids: tuple[tuple[str, str], ...], op: tuple[Any, ...]) -> Any:
        """The answer to `op`, which changes the model; or Refused, and it is as before."""
        before = copy.deepcopy(self.__dict__)
        self.zxid, self.now, self.session, self.ids = zxid, now, session, ids
        try:
            return getattr(self, op[0])(*op[1:])
        except Refused:
            self.__dict__.update(before)
            raise

    def children(self, path: str) -> list[str]:
        prefix = "/" if path == "/" else path + "/"
        below = [other[len(prefix) :] for other in self.nodes if other.startswith(prefix) and other != path]
        return sorted(name for name in below if "/" not in name)

    def below(self, path: str) -> list[str]:
        return [other for other in self.nodes if other == path or other.startswith(path.rstrip("/") + "/")]

    def stat(self, path: str) -> tuple[int, ...]:
        node = self.nodes[path]
        return (
            *(node[field] for field in FIELDS[:-1]), len(node["data"] or b""), len(self.children(path)), node["pzxid"]
        )

    def alive(self) -> None:
        if self.session not in self.sessions:
            raise Refused(EXPIRED)

    def may(self, path: str, perm: int, ids: tuple[tuple[str, str], ...] | None = None) -> bool:
        mine = self.ids if ids is None else ids
        if ("super", "") in mine:
            return True
        return any(
            perms & perm and ((scheme, name) == ("world", "anyone") or (scheme, name) in mine)
            for perms, scheme, name in self.nodes[path]["acl"]
        )

    def need(self, path: str, perm: int) -> None:
        if not self.may(path, perm):
            raise Refused(NO_AUTH)

    def existing(self, path: str) -> dict[str, Any]:
        if path not in self.nodes:
            raise Refused(NO_NODE)
        return self.nodes[path]

    def fixed(self, acl: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
        meant: list[tuple[int, str, str]] = []
        for perms, scheme, name in dict.fromkeys(acl):
            if scheme == "auth":
                mine = [(perms, *each) for each in self.ids if each[0] == "digest"]
                if not mine:
                    raise Refused(INVALID_ACL)
                meant += mine
            elif (scheme, name) == ("world", "anyone") or (scheme == "digest" and name.count(":") == 1):
                meant.append((perms, scheme, name))
            else:
                raise Refused(INVALID_ACL)
        if not meant:
            raise Refused(INVALID_ACL)
        return meant

    # --- how much there may be

    def usage(self, root: str) -> tuple[int, int]:
        nodes = [self.nodes[path] for path in self.below(root)]
        return len(nodes), sum(len(node["data"] or b"") for node in nodes)

    def limits(self, root: str) -> dict[str, int] | None:
        """What the quota of `root` says; None where it has none."""
        node = self.nodes.get(QUOTA + root + LIMITS)
        if node is None:
            return None
        pairs = [pair.split("=") for pair in node["data"].decode().replace(";", ",").split(",")]
        return {pair[0]: int(pair[1]) for pair in pairs}

    def may_grow(self, path: str, count: int, size: int) -> None:
        root = path
        while root != "/":
            limits = self.limits(root)
            if limits is not None:
                znodes, data = self.usage(root)
                most_znodes, most_bytes = limits.get("countHardLimit", -1), limits.get("byteHardLimit", -1)
                if (count and 0 <= most_znodes < znodes + count) or (size and 0 <= most_bytes < data + size):
                    raise Refused(OVER_QUOTA)
            root = parent_of(root)

    def has_room(self, count: int, size: int) -> None:
        if count > 0 and len(self.nodes) + count > self.most_znodes:
            raise Refused(OVER_QUOTA)
        if size > 0 and self.size() + size > self.most_bytes:
            raise Refused(OVER_QUOTA)

    def size(self) -> int:
        return sum(len(path.encode()) + len(node["data"] or b"") + 60 for path, node in self.nodes.items())

    def show_usage(self) -> None:
        """What stands beside the limits says at every time what there is."""
        for path, node in self.nodes.items():
            root = path[len(QUOTA) : -len(STATS)]
            if path.startswith(QUOTA + "/") and path.endswith(STATS) and self.limits(root) is not None:
                znodes, data = self.usage(root)
                node["data"] = f"count={znodes},bytes={data}".encode()

    # --- ZooKeeper's operations

    def create(self, path: str, data: bytes | None, mode: int, acl: Any, ttl: int | None = None) -> Any:
        if mode not in range(7) or (mode >= 5) != (ttl is not None):
            raise Refused(BAD_ARGUMENTS)
        self.alive()
        if "/" not in path or len(data or b"") > LARGEST:
            raise Refused(BAD_ARGUMENTS)
        acl = self.fixed(acl)
        parent = parent_of(path)
        self.existing(parent)
        self.need(parent, CREATE)
        if mode in (2, 3, 6):
            path += str(self.nodes[parent]["created"]).rjust(10, "0")
        if not is_valid(path):
            raise Refused(BAD_ARGUMENTS)
        if path in self.nodes:
            raise Refused(EXISTS)
        if self.nodes[parent]["owner"]:
            raise Refused(NO_CHILDREN)
        size = len(data or b"")
        self.may_grow(path, 1, size)
        self.has_room(1, len(path.encode()) + size + 60)
        self.nodes[path] = {
            "czxid": self.zxid, "mzxid": self.zxid, "pzxid": self.zxid, "ctime": self.now, "mtime": self.now,
            "version": 0, "cversion": 0, "aversion": 0, "owner": self.session if mode in (1, 3) else 0, "data": data,
            "created": 0, "acl": acl, "kind": {4: "container", 5: "ttl", 6: "ttl"}.get(mode, "plain"), "ttl": ttl,
        }  # fmt: skip
        self.nodes[parent]["created"] += 1
        self.nodes[parent]["cversion"] += 1
        self.nodes[parent]["pzxid"] = self.zxid
        self.show_usage()
        return path, self.stat(path)

    def plain_create(self, path: str, data: bytes | None, mode: int, acl: Any) -> str:
        made: str = self.create(path, data, mode, acl)[0]
        return made

    def create_container(self, path: str, data: bytes | None, mode: int, acl: Any) -> Any:
        made, _ = self.create(path, data, mode, acl)
        self.nodes[made].update(kind="container", owner=0)
        return made, self.stat(made)

    def remove(self, path: str) -> None:
        del self.nodes[path]
        parent = self.nodes[parent_of(path)]
        parent["cversion"] += 1
        parent["pzxid"] = self.zxid
        self.show_usage()

    def delete(self, path: str, version: int) -> None:
        self.alive()
        if "/" not in path or path in SPECIAL:
            raise Refused(BAD_ARGUMENTS)
        self.existing(parent_of(path))
        self.need(parent_of(path), DELETE)
        if version not in (-1, self.existing(path)["version"]):
            raise Refused(BAD_VERSION)
        if self.children(path):
            raise Refused(NOT_EMPTY)
        self.remove(path)

    def set(self, path: str, data: bytes | None, version: int) -> tuple[int, ...]:
        self.alive()
        if not is_valid(path) or len(data or b"") > LARGEST:
            raise Refused(BAD_ARGUMENTS)
        node = self.existing(path)
        self.need(path, WRITE)
        size = len(data or b"") - len(node["data"] or b"")
        self.may_grow(path, 0, size)
        if version not in (-1, node["version"]):
            raise Refused(BAD_VERSION)
        self.has_room(0, size)
        node.update(data=data, mzxid=self.zxid, mtime=self.now, version=node["version"] + 1)
        self.show_usage()
        return self.stat(path)

    def set_acl(self, path: str, acl: Any, version: int) -> tuple[int, ...]:
        self.alive()
        if not is_valid(path):
            raise Refused(BAD_ARGUMENTS)
        acl = self.fixed(acl)
        node = self.existing(path)
        self.need(path, ADMIN)
        if version not in (-1, node["aversion"]):
            raise Refused(BAD_VERSION)
        node.update(acl=acl, aversion=node["aversion"] + 1)
        return self.stat(path)

    def check(self, path: str, version: int) -> None:
        self.alive()
        if not is_valid(path):
            raise Refused(BAD_ARGUMENTS)
        node = self.existing(path)
        self.need(path, READ)
        if version not in (-1, node["version"]):
            raise Refused(BAD_VERSION)

    def multi(self, ops: list[tuple[Any, ...]]) -> list[Any]:
        answers = []
        for number, op in enumerate(ops):
            try:
                answers.append(getattr(self, op[0])(*op[1:]))
            except Refused as refused:
                raise Refused(refused.args[0], number) from refused
        return answers

    def get(self, path: str) -> Any:
        data = self.existing(path)["data"] or b""
        self.need(path, READ)
        return data, self.stat(path)

    def exists(self, path: str) -> Any:
        if "\x00" in path:
            raise Refused(BAD_ARGUMENTS)
        return self.get(path)[1] if path in self.nodes else None

    def names(self, path: str) -> list[str]:
        self.get(path)
        return self.children(path)

    def get_acl(self, path: str) -> Any:
        acl = self.existing(path)["acl"]
        self.need(path, READ | ADMIN)
        if not self.may(path, ADMIN):
            acl = [(perms, s, name.split(":")[0] + ":x" if s == "digest" else name) for perms, s, name in acl]
        return acl, self.stat(path)

    def page(self, path: str) -> Any:
        """The first two children whose names begin with an a, and whatever of them may be read."""
        _, stat = self.get(path)
        fitting = [name for name in self.children(path) if name.startswith("a")]
        shown = []
        for name in fitting[:2]:
            child = f"{path.rstrip('/')}/{name}"
            readable = self.may(child, READ)
            shown.append((name, self.stat(child), self.nodes[child]["data"] or b"") if readable else (name, None, None))
        return shown, stat, fitting[1] if len(fitting) > 2 else None

    def count(self, path: str) -> int:
        self.get(path)
        return len(self.below(path)) - 1

    def create_session(self) -> None:
        self.sessions[self.session] = 4000

    def close_session(self) -> None:
        self.alive()
        for path in [path for path, node in self.nodes.items() if node["owner"] == self.session]:
            self.remove(path)
        del self.sessions[self.session]

    # --- what only zkcore has

    def check_absent(self, path: str) -> None:
        self.alive()
        if not is_valid(path):
            raise Refused(BAD_ARGUMENTS)
        if path in self.nodes:
            raise Refused(EXISTS)

    def check_stat(self, path: str, conditions: list[tuple[int, int, int]]) -> None:
        self.alive()
        if not is_valid(path) or any(field > 10 or relation > 5 for field, relation, _ in conditions):
            raise Refused(BAD_ARGUMENTS)
        self.existing(path)
        self.need(path, READ)
        for field, relation, value in conditions:
            is_so = self.stat(path)[field]
            holds = [is_so == value, is_so != value, is_so < value, is_so <= value, is_so > value, is_so >= value]
            if not holds[relation]:
                raise Refused(BAD_VERSION)

    def create_if_absent(self, path: str, data: bytes | None, mode: int, acl: Any) -> Any:
        if mode not in (0, 1, 4):
            raise Refused(BAD_ARGUMENTS)
        try:
            return self.create(path, data, mode, acl)
        except Refused as refused:
            if refused.args[0] != EXISTS:
                raise
            self.need(path, READ)
            return path, self.stat(path)

    def delete_if_present(self, path: str, version: int) -> bool:
        try:
            self.delete(path, version)
        except Refused as refused:
            if refused.args[0] != NO_NODE:
                raise
            if not is_valid(path):
                raise Refused(BAD_ARGUMENTS) from refused
            return False
        return True

    def create_with_parents(self, path: str, data: bytes | None, mode: int, acl: Any) -> Any:
        self.alive()
        above = parent_of(path) if "/" in path else "/"
        missing = []
        while above not in self.nodes:
            missing.append(above)
            above = parent_of(above)
        for each in reversed(missing):
            self.create(each, b"", 0, acl)
        return self.create(path, data, mode, acl)

    def delete_tree(self, path: str, most: int) -> int:
        self.alive()
        if "/" not in path or path in SPECIAL:
            raise Refused(BAD_ARGUMENTS)
        self.existing(parent_of(path))
        self.need(parent_of(path), DELETE)
        self.existing(path)
        paths = self.below(path)
        if len(paths) > most:
            raise Refused(NOT_EMPTY)
        for inner in paths:
            if self.children(inner):
                self.need(inner, DELETE)
        for inner in sorted(paths, key=len, reverse=True):
            self.remove(inner)
        return len(paths)

    def once(self, client: int, number: int, op: tuple[Any, ...]) -> Any:
        self.alive()
        known = self.known.get(client, {})
        if number not in known:
            if number <= self.floors.get(client, 0):
                raise Refused(FORGOTTEN)
            answer = getattr(self, op[0])(*op[1:])
            known = self.known.setdefault(client, known)
            known[number] = answer
            if len(known) > REMEMBERED:
                self.floors[client] = max(self.floors.get(client, 0), min(known))
                del known[min(known)]
            return answer
        return known[number]

    def clean_up(self, path: str, mzxid: int) -> None:
        node = self.existing(path)
        if self.children(path):
            raise Refused(NOT_EMPTY)
        if node["kind"] == "plain" or node["mzxid"] != mzxid:
            raise Refused(BAD_VERSION)
        self.remove(path)

    def due(self, now: int) -> set[str]:
        return {path for path in self.nodes if not self.children(path) and self.is_over(self.nodes[path], now)}

    def is_over(self, node: dict[str, Any], now: int) -> bool:
        if node["kind"] == "container":
            return bool(node["created"])
        return node["kind"] == "ttl" and now > node["mtime"] + node["ttl"]
