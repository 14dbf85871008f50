"""What a live stream has said, as long as anybody may ask for it, and whether it says one thing over and over."""

from __future__ import annotations

from fanin import flaws

LOOP = 1024
"""Pieces of text; a stream in which so many say nothing but one thing over and over is in a loop."""
_BLOCK = 64
"""Pieces that are put together, as a string of its own costs ten times the word in it."""
_BLOCKS = LOOP // _BLOCK


class Spoken:
    """The text of one choice. It keeps all of it until `forget`, and from then on what a loop is recognised by."""

    __slots__ = ("_blocks", "_count", "_pieces", "_whole")

    def __init__(self) -> None:
        self._whole = True
        """Whether all is kept."""
        self._pieces: list[str] = []
        self._blocks: list[str] = []
        self._count = 0

    def add(self, piece: str) -> bool:
        """Take a piece in; return whether the stream is in a loop.

        It is long before that is said, as some repetition is asked for: a table of zeros, a rule of dashes.
        """
        pieces = self._pieces
        pieces.append(piece)
        return len(pieces) == _BLOCK and self._looped()

    def _looped(self) -> bool:
        blocks = self._blocks
        blocks.append("".join(self._pieces))
        self._pieces.clear()
        self._count += 1
        if not self._whole:
            del blocks[:-_BLOCKS]
        if self._count < _BLOCKS or self._count % (_BLOCKS // 2):
            return False
        lately = "".join(blocks[-_BLOCKS:])
        return flaws.repeats(lately, least=len(lately))

    def forget(self) -> None:
        """Keep the whole text no longer."""
        self._whole = False

    @property
    def text(self) -> str | None:
        """All that was said; None where it was not kept."""
        return "".join((*self._blocks, *self._pieces)) if self._whole else None
