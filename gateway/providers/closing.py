"""What has an end that others wait for: a stream whose target has room again when it is over, for one."""

from __future__ import annotations

from collections.abc import Callable


class Closing:
    """Keeps who wants to know that it is over, and tells them once."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[], None]] = []

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `callback` called once when it is over, however it ends."""
        self._callbacks.append(callback)

    def _closed(self) -> None:
        """Tell whoever wanted to know; a second time nobody is left to be told."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
