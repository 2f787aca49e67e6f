"""A ring drawn: who owns which part of the circle, and how much that is of what their weights entitle them to.

Open the file in a browser; nothing is needed to draw it or to see it. Here it goes to a temporary directory, and only
its shares are printed. It prints::

    ring.svg begins with <svg
    small owns 14.1%
    medium owns 28.1%
    large owns 57.8%
    over 10,000 keys: peak 1.007, least 0.982, spread 0.011 of the mean
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from zkcore.ring import HashRing, balance


def main() -> None:
    ring = HashRing({"small": 0.5, "medium": 1, "large": 2})
    with TemporaryDirectory() as folder:
        file = Path(folder) / "ring.svg"
        file.write_text(ring.plot(), encoding="utf-8")
        print(f"{file.name} begins with {file.read_text(encoding='utf-8')[:4]}")
    for node, share in ring.shares().items():
        print(f"{node} owns {share:.1%}")
    print("over 10,000 keys:", balance(ring, range(10_000)))


main()
