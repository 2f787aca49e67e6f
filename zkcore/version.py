"""The version of zkcore."""

VERSION = "0.1.0"
