"""A picture of a circle as SVG text: who owns which part, and how much. No library is needed to draw or to see it.

This module knows arcs and weights, and no algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi, sin
from xml.sax.saxutils import escape

from zkcore.ring.arcs import Arcs

__all__ = ["picture"]

_CELLS = 1440
"""The circle is drawn in so many parts, each in the colour of who owns its middle: a ring has more arcs than pixels."""
_OUTER, _INNER, _CENTRE = 190.0, 120.0, 210.0
_LINE = 18


def picture(arcs: Arcs, weights: Mapping[str, float], *, title: str = "") -> str:
    """The owners around the circle, clockwise from the top, and a list of shares beside it, with the ratio of each to
    what its weight entitles it to."""
    colours = {node: _colour(number, len(weights)) for number, node in enumerate(sorted(weights))}
    height = max(2 * _CENTRE, _LINE * (len(weights) + 3))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * _CENTRE + 330:.0f}" height="{height:.0f}" '
        'font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        *(_sector(start, stop, colours[node]) for start, stop, node in _runs(arcs)),
    ]
    shares, total = arcs.shares(), sum(weights.values())
    for row, node in enumerate(sorted(weights)):
        share, due = shares.get(node, 0.0), weights[node] / total
        y = _LINE * (row + 2)
        lines.append(
            f'<rect x="{2 * _CENTRE + 10:.0f}" y="{y - 11}" width="12" height="12" fill="{colours[node]}"/>'
            f'<text x="{2 * _CENTRE + 28:.0f}" y="{y}">{escape(node)}: {share:.2%}, {share / due:.2f} of its due</text>'
        )
    return "\n".join([*lines, "</svg>\n"])


def _runs(arcs: Arcs) -> list[tuple[int, int, str]]:
    """First cell, cell after the last, and owner, for neighbouring cells of one owner."""
    runs: list[tuple[int, int, str]] = []
    for cell in range(_CELLS):
        owner = arcs.at(((2 * cell + 1) << arcs.hash.bits) // (2 * _CELLS))[0]
        if runs and runs[-1][2] == owner:
            runs[-1] = (runs[-1][0], cell + 1, owner)
        else:
            runs.append((cell, cell + 1, owner))
    return runs


def _sector(begin: int, end: int, colour: str) -> str:
    if end - begin == _CELLS:  # an arc that ends where it begins would be none
        middle = (_OUTER + _INNER) / 2
        return (
            f'<circle cx="{_CENTRE}" cy="{_CENTRE}" r="{middle}" fill="none" stroke="{colour}" '
            f'stroke-width="{_OUTER - _INNER}"/>'
        )
    wide = int(end - begin > _CELLS // 2)
    return (
        f'<path fill="{colour}" d="M{_point(_OUTER, begin)} A{_OUTER} {_OUTER} 0 {wide} 1 {_point(_OUTER, end)} '
        f'L{_point(_INNER, end)} A{_INNER} {_INNER} 0 {wide} 0 {_point(_INNER, begin)} Z"/>'
    )


def _point(radius: float, cell: int) -> str:
    angle = 2 * pi * cell / _CELLS
    return f"{_CENTRE + radius * sin(angle):.2f} {_CENTRE - radius * cos(angle):.2f}"


def _colour(number: int, count: int) -> str:
    """Hues all around, every second one darker so that neighbours can be told apart."""
    return f"hsl({360 * number / count:.1f},65%,{(62, 45)[number % 2]}%)"
