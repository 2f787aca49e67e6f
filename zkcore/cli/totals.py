"""What many simulated seeds add up to: sums, medians of the seeds, and which rare paths were taken or never were."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import Any

from attrs import Factory, define

from zkcore.testing.sightings import SOMETIMES
from zkcore.testing.world import Report

__all__ = ["Totals"]


@define
class Totals:
    """The sum of many reports. Seeds that are 0 modulo `keep_digests` keep their digest."""

    keep_digests: int = 0
    seeds: int = 0
    events: int = 0
    committed: int = 0
    virtual_ns: int = 0
    slowest_converge_ns: int = 0
    cpu_s: float = 0.0
    node_faults: Counter[str] = Factory(Counter)
    message_faults: Counter[str] = Factory(Counter)
    sometimes: Counter[str] = Factory(Counter)
    digests: dict[int, int] = Factory(dict)
    _node_faults_each: list[int] = Factory(list)
    _message_faults_each: list[int] = Factory(list)

    def add(self, reports: list[Report], cpu_s: float) -> None:
        """Add seeds that took `cpu_s` seconds of CPU time together."""
        self.cpu_s += cpu_s
        for report in reports:
            self.seeds += 1
            self.events += report.events
            self.committed += report.committed
            self.virtual_ns += report.virtual_ns
            self.slowest_converge_ns = max(self.slowest_converge_ns, report.converge_ns)
            self.node_faults.update(report.node_faults)
            self.message_faults.update(report.message_faults)
            self.sometimes.update(report.sometimes)
            self._node_faults_each.append(sum(report.node_faults.values()))
            self._message_faults_each.append(sum(report.message_faults.values()))
            if self.keep_digests and report.seed % self.keep_digests == 0:
                self.digests[report.seed] = report.digest

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON knows it."""
        cpu_s = max(self.cpu_s, 1e-9)
        return {
            "seeds": self.seeds,
            "events": self.events,
            "committed": self.committed,
            "virtual_seconds": round(self.virtual_ns / 1e9, 1),
            "slowest_recovery_seconds": round(self.slowest_converge_ns / 1e9, 1),
            "cpu_seconds": round(self.cpu_s, 2),
            "seeds_per_cpu_second": round(self.seeds / cpu_s, 1),
            "events_per_cpu_second": round(self.events / cpu_s),
            "median_node_faults": median(self._node_faults_each or [0]),
            "median_message_faults": median(self._message_faults_each or [0]),
            "node_faults": dict(sorted(self.node_faults.items())),
            "message_faults": dict(sorted(self.message_faults.items())),
            "sometimes": {name: self.sometimes[name] for name in SOMETIMES},
        }

    def __str__(self) -> str:
        lines = []
        for name, value in self.as_dict().items():
            words = name.replace("_", " ")
            if isinstance(value, dict):
                lines.append(f"{words}:")
                lines += [f"  {what + ':':50}{count or 'never'}" for what, count in value.items()]
            else:
                lines.append(f"{words + ':':28}{value}")
        return "\n".join(lines)
