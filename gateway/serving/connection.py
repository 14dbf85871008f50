"""One client's connection: uvicorn's HTTP/1.1 protocol, and what a server at the edge needs beside it."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class Connection(HttpToolsProtocol):
    """A connection that can be asked to end after its next response."""

    def bid_farewell(self) -> None:
        """Let the response that is being made be the last one."""
        if self.cycle is not None:  # type: ignore[redundant-expr,unused-ignore]
            self.cycle.keep_alive = False
