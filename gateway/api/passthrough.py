"""What the gateway does not serve itself (files, batches, stored answers, …), passed on to one provider as it comes.

Nobody looks into it, in either direction: bodies are streamed as they come in. What holds for every request holds here,
too: the client's key is asked for and goes no further, limits, timeouts, metrics and the log line, a client that
leaves ends the call, and a provider's error becomes one of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fanin import Candidate
from gateway.api import disclosure
from gateway.api.endpoint import patience
from gateway.api.envelope import OpenAIErrors, refuse
from gateway.api.exchange import ClientGone, Exchange
from gateway.domain import Caller, FailureKind, Target
from gateway.engine.events import Answered, Failed, Finished, Launched, Listener, Observer
from gateway.errors import AllTargetsFailed, HedgerowError, Refused, StreamBroken
from gateway.wires.passing import OPERATION, ROUTE, TAKEN, Passing, behind, below

LONGEST = 3600.0
"""Seconds until the answer begins, for a large file over a slow line."""


class Passthrough:
    """The handler. It asks `target` once: what changes something at the provider must not be done twice."""

    dialect = OpenAIErrors()

    def __init__(
        self, target: Target, call: Caller, observe: Callable[[str, str, str], Observer], largest: int
    ) -> None:
        self._target, self._call, self._observe, self._largest = target, call, observe, largest

    async def __call__(self, exchange: Exchange) -> None:
        """Serve one request."""
        say, status, told = self._observe(ROUTE, exchange.id, OPERATION).hear, 500, None
        try:
            upload = Upload(exchange, self._largest)
            with exchange.watched(upload.over):
                status = await self._serve(exchange, upload, say)
        except HedgerowError as error:
            status, told = error.status, error.code or error.type
            limits = disclosure.passed_on(error.failures[0].headers) if isinstance(error, AllTargetsFailed) else {}
            await refuse(exchange, error, self.dialect, {"x-hedgerow-route": ROUTE, **limits})
        except ClientGone:
            status = 499
        finally:
            say(Finished(status, exchange.elapsed, None, told))

    async def _serve(self, exchange: Exchange, upload: Upload, say: Listener) -> int:
        target, clock = self._target, asyncio.get_running_loop().time
        request = Passing(
            exchange.id,
            "",
            {},
            headers=exchange.given(TAKEN),
            listen=say,
            method=exchange.method,
            path=below(exchange.raw_path),
            query=behind(exchange.query),
            body=upload.body,
        )
        began = clock()
        deadline = began + min(patience(exchange), target.timeout)
        say(Launched(target.name, began))
        outcome = await self._call(target, request, deadline)
        now = clock()
        if not isinstance(outcome, Candidate):
            if upload.fault is not None:
                raise upload.fault  # the connection broke because we broke it
            say(Failed(outcome, now, now - began))
            raise Refused(outcome) if outcome.kind is FailureKind.CALLER_FAULT else AllTargetsFailed([outcome])
        say(Answered(target.name, now, now - began))
        answer = outcome.payload
        try:
            headers = {"x-hedgerow-route": ROUTE, "x-hedgerow-target": target.name}
            await exchange.begin_plain(answer.status, disclosure.of_file(answer.headers) | headers)
            async for data in answer:
                await exchange.write(data)
            await exchange.end()
        except StreamBroken:
            if upload.fault is not None:
                raise upload.fault from None
            raise
        finally:
            await answer.aclose()
        return int(answer.status)


class Upload:
    """The body of a request on its way through; `over` once nobody reads on, `fault` what was wrong with it."""

    def __init__(self, exchange: Exchange, largest: int) -> None:
        self.over = asyncio.Event()
        self.fault: HedgerowError | ClientGone | None = None
        self.body: bytes | Upload | None = exchange.sent
        self._exchange, self._largest = exchange, largest
        if self.body is None and (exchange.declared or b"transfer-encoding" in exchange.headers):
            self.body = self
        else:
            self.over.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give what comes in, once."""
        if self.over.is_set():
            raise ConnectionError("the body has been sent")  # on another connection that broke: nobody has it any more
        try:
            async for piece in self._exchange.pieces(self._largest):
                yield piece
        except (HedgerowError, ClientGone) as fault:
            self.fault = fault
            raise
        finally:
            self.over.set()
