"""Takes a call from its first byte to its place in the ledger: read, checked against the provider's rules, played."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from email.message import Message
from email.parser import BytesParser
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from aiohttp import web

from gateway.providers.simulator import problems
from gateway.providers.simulator.asking import Ask, RefusedError, invalid
from gateway.providers.simulator.behaviour import Behaviour
from gateway.providers.simulator.journal import DISCONNECTED, RESET, RUNNING, Entry, Journal
from gateway.providers.simulator.player import Call, Dialect, Player
from gateway.providers.simulator.problems import CATALOGUE, Problem
from gateway.providers.simulator.replying import Composer
from gateway.providers.simulator.script import ScriptError, UnknownModelError
from gateway.providers.simulator.stage import Part, Stage, Turn
from gateway.providers.simulator.transmission import Transmission

_USUAL_CONTEXT = 8192
_SMALL = 4096  # bytes of a request that is worth remembering
_REFUSED = Turn(Part(()), 0, Behaviour(), "refused")


class Reception:
    """Receives calls and writes them into the journal; `epoch` is the monotonic time at which its clock starts."""

    def __init__(self, journal: Journal, epoch: float) -> None:
        self.closing = False
        self._journal = journal
        self._epoch = epoch
        self._connections: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._connected = 0

    async def receive(self, request: web.BaseRequest, dialect: Dialect, stage: Stage) -> web.StreamResponse:
        """Answer one call as the script wants it."""
        known = self._connections.get(request.transport)
        entry = Entry(request.path, known or self._new_connection(request), self.now(), request.raw_headers)
        turn, ask, refusal = _REFUSED, None, None
        try:
            entry.body = await _read(request)
            ask = _asked(dialect, entry.body) if len(entry.body) <= _SMALL else dialect.read(_decoded(entry.body))
            entry.model, entry.stream, entry.prompt_tokens = ask.model, ask.stream, ask.prompt_tokens
            turn = _enter(stage, ask.model)
            _enforce(ask, turn, request)
            if turn.behaviour.unsupported:
                _sift(turn.behaviour.unsupported, _decoded(entry.body))
        except RefusedError as refused:
            refusal = refused.problem
        line = Transmission(request, turn.behaviour, entry, self._epoch)
        call = Call(dialect, turn, entry, self._epoch, _scripted(ask, turn))
        player = Player(call, line)
        account = self._journal.open(entry)
        turn.part.running += 1
        try:
            await player.preamble(reused=known is not None)
            if refusal is not None or ask is None:
                await player.refuse(refusal or CATALOGUE["bad_request"])
            else:
                await _perform(player, ask, turn, call.problem)
        except BaseException as ended:
            self._broken(entry, ended)
            if line.response is None or not isinstance(ended, ConnectionError):
                raise
        finally:
            turn.part.running -= 1
            self._journal.close(entry, account, self.now())
        return line.response or web.Response()

    def _broken(self, entry: Entry, ended: BaseException) -> None:
        """Enter why a call did not come to its end, unless the script has entered it already."""
        if entry.outcome == RUNNING:
            gone = isinstance(ended, asyncio.CancelledError | ConnectionError) and not self.closing
            entry.outcome = DISCONNECTED if gone else RESET

    def _new_connection(self, request: web.BaseRequest) -> int:
        self._connected += 1
        self._connections[request.transport] = self._connected
        return self._connected

    def now(self) -> float:
        """Return the seconds on the journal's clock."""
        return time.monotonic() - self._epoch


async def _read(request: web.BaseRequest) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise RefusedError(CATALOGUE["too_large"]) from None


@lru_cache(maxsize=256)
def _asked(dialect: Dialect, body: bytes) -> Ask:
    # A benchmark sends the same request again and again: reading it must not become what is measured.
    return dialect.read(_decoded(body))


def _decoded(body: bytes) -> dict[str, Any]:
    if body.startswith(b"--"):
        return _form(body)
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise invalid("We could not parse the JSON body of your request.") from None
    if not isinstance(decoded, dict):
        raise invalid("Invalid request body: expected a JSON object.")
    return decoded


def _form(body: bytes) -> dict[str, Any]:
    """Read a form: texts, and the bytes of files."""
    boundary = body[2 : body.find(b"\r\n")]
    message = BytesParser().parsebytes(b'Content-Type: multipart/form-data; boundary="%b"\r\n\r\n%b' % (boundary, body))
    parts = message.get_payload() if message.is_multipart() else []
    fields: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Message):
            content = part.get_payload(decode=True)
            data = content if isinstance(content, bytes) else b""
            name = str(part.get_param("name", "", "content-disposition"))
            fields[name] = data if part.get_filename() else data.decode(errors="replace")
    return fields


def _enter(stage: Stage, model: str) -> Turn:
    try:
        return stage.enter(model)
    except ScriptError as fault:
        raise invalid(str(fault), "model", "unknown_behaviour") from None
    except UnknownModelError:
        raise RefusedError(_spoken(CATALOGUE["model_not_found"], model, 0, 0)) from None


def _enforce(ask: Ask, turn: Turn, request: web.BaseRequest) -> None:
    """Refuse a call that the provider's rules forbid: its key, its last message, its length, one too many."""
    behaviour = turn.behaviour
    if behaviour.key is not None and behaviour.key not in _keys(request):
        raise RefusedError(CATALOGUE["invalid_key"])
    if ask.prefilled and not behaviour.prefill:
        raise RefusedError(CATALOGUE["prefill"])
    if behaviour.context is not None and ask.prompt_tokens > behaviour.context:
        raise RefusedError(
            _spoken(CATALOGUE["context_length"], ask.model, limit=behaviour.context, used=ask.prompt_tokens)
        )
    if behaviour.concurrency is not None and turn.part.running >= behaviour.concurrency:
        raise RefusedError(_spoken(CATALOGUE["rate_limit"], ask.model, 0, 0))


def _sift(unsupported: tuple[str, ...], body: dict[str, Any]) -> None:
    """Refuse a request that has a field the model does not support, in OpenAI's words."""
    for name in unsupported:
        if name in body:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            raise invalid(message, name, "unsupported_parameter")


def _keys(request: web.BaseRequest) -> tuple[str, ...]:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
    return bearer, request.headers.get("x-api-key", ""), request.headers.get("api-key", "")


def _scripted(ask: Ask | None, turn: Turn) -> Problem | None:
    """Return the error that the script wants, in full words."""
    behaviour = turn.behaviour
    if ask is None or not behaviour.refuses:
        return None
    problem = problems.find(behaviour.error, behaviour.status)
    if behaviour.message is not None:
        return replace(problem, message=behaviour.message)
    limit = behaviour.context or _USUAL_CONTEXT
    return _spoken(problem, ask.model, limit, used=max(ask.prompt_tokens, limit + 1))


def _spoken(problem: Problem, model: str, limit: int, used: int) -> Problem:
    message = problem.message.replace("{model}", model).replace("{limit}", str(limit)).replace("{used}", str(used))
    return replace(problem, message=message)


async def _perform(player: Player, ask: Ask, turn: Turn, problem: Problem | None) -> None:
    """Play what the behaviour is about: a redirect, a page, an error or an answer."""
    behaviour = turn.behaviour
    if behaviour.redirect is not None:
        await player.redirect(behaviour.redirect)
    elif behaviour.html:
        await player.page()
    elif problem is not None and not (ask.stream and behaviour.error_in == "stream"):
        await player.refuse(problem)
    else:
        reply = Composer(ask, turn).compose(created=int(datetime.now(UTC).timestamp()))
        await (player.stream(reply) if ask.stream else player.whole(reply))
