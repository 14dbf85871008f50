"""Plain text tables: a heading, a rule, aligned columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a table; the first column stands left, the others right."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    for row in [headings, ["-" * width for width in widths], *rows]:
        cells = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def percent(share: float | None) -> str:
    """Return a share as a percentage with two decimals; a dash where nobody knows it."""
    return "-" if share is None else f"{100 * share:.2f}"
