"""ZooKeeper's client protocol: kazoo, zkCli.sh and the Java client can use a node."""
