"""zkcore for blocking code: `import zkcore.sync as zkcore`, and leave out every `await`.

The faces here mirror the client and the recipes file by file. There is one implementation: the same coroutines run on
the calling thread, over a Port that blocks (`zkcore.sync.port`).
"""

from zkcore.client.port import SessionState
from zkcore.sync.client import Client, LocalCluster, local_cluster
from zkcore.sync.lease import Lease
from zkcore.sync.lock import Lock

__all__ = ["Client", "Lease", "LocalCluster", "Lock", "SessionState", "local_cluster"]
