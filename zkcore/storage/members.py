"""Which ensemble a storage belongs to: as text, to keep it, and which other ensemble may take its place.

Promises and acknowledgements count for the voters among whom they were made. Beside other voters two halves of what was
one ensemble could each find a quorum, so a storage is not opened for those. Observers promise nothing: they may come
and go.

This module must not know files. It is pure.
"""

from __future__ import annotations

from hashlib import sha256

from zkcore.errors import ConfigurationError
from zkcore.zab.quorum import EnsembleConfig

__all__ = ["differences", "ensemble_text", "name_of", "parse_ensemble"]


def ensemble_text(ensemble: EnsembleConfig) -> str:
    """All of it, a line for each kind of member."""
    lines = [f"voters {_words(ensemble.voters)}"]
    if ensemble.observers:
        lines.append(f"observers {_words(ensemble.observers)}")
    if ensemble.groups:
        lines.append("groups " + " ".join(",".join(map(str, group)) for group in ensemble.groups))
    if ensemble.weights:
        lines.append("weights " + " ".join(f"{voter}:{weight}" for voter, weight in ensemble.weights))
    return "\n".join(lines)


def parse_ensemble(text: str) -> EnsembleConfig | None:
    """What `ensemble_text` was given; None where this is not from there."""
    kinds = {line.partition(" ")[0]: line.split()[1:] for line in text.splitlines()}
    weights = [pair.partition(":") for pair in kinds.get("weights", ())]
    try:
        return EnsembleConfig(
            map(int, kinds["voters"]),
            observers=map(int, kinds.get("observers", ())),
            groups=[map(int, group.split(",")) for group in kinds.get("groups", ())],
            weights=[(int(voter), int(weight)) for voter, _, weight in weights],
        )
    except (KeyError, ValueError, ConfigurationError):
        return None


def differences(old: EnsembleConfig, new: EnsembleConfig) -> str:
    """In words, why a storage of `old` cannot be opened for `new`; empty where it can."""
    told = []
    if gone := set(old.voters) - set(new.voters):
        told.append(f"voters {_words(sorted(gone))} are missing")
    if come := set(new.voters) - set(old.voters):
        told.append(f"voters {_words(sorted(come))} are new")
    if not told and (old.groups, old.weights) != (new.groups, new.weights):
        told.append("its voters have other groups or weights")
    return ", ".join(told)


def name_of(ensemble: EnsembleConfig) -> str:
    """A name for a cluster that was given none: eight bytes of a digest of its voters, as hexadecimal digits."""
    voters = ensemble_text(EnsembleConfig(ensemble.voters, groups=ensemble.groups, weights=ensemble.weights))
    return sha256(voters.encode()).hexdigest()[:16]


def _words(numbers: tuple[int, ...] | list[int]) -> str:
    return " ".join(map(str, numbers))
