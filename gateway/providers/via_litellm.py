"""Every provider that does not speak OpenAI's protocol, through litellm's `acompletion`: the only import of litellm.

litellm translates requests and answers, nothing else: its Router, proxy, retries, callbacks, caches and downloads stay
out. What counts is what the wire said (see wiretap.py), not what litellm made of it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec
from msgspec import Raw

from fanin import Candidate
from gateway.domain import ChatRequest, Deadline, Failure, FailureKind, Outcome, Target
from gateway.providers import classify, litellm_shape
from gateway.providers.litellm_fields import Arguments, arguments
from gateway.providers.live import GRACE, EventStream
from gateway.providers.reading import read_answer, read_chunk
from gateway.providers.wiretap import Wiretap, tapped_session
from gateway.settings import ProviderSettings
from gateway.wires import legacy_functions

_encode = msgspec.json.Encoder().encode


@functools.cache
def _litellm() -> Any:
    """Import litellm, which takes seconds, and turn off whatever acts by itself."""
    os.environ.update(
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS="True",
        LITELLM_MODE="PRODUCTION",  # the other mode reads a .env file
    )
    import litellm  # noqa: PLC0415 -- only who configures such a provider pays for it
    from litellm.litellm_core_utils import url_utils  # noqa: PLC0415

    def never_fetch(_: str) -> None:
        raise litellm.ImageFetchError("This provider needs the data itself: send a data: URL instead of an address.")

    for hook in ("callbacks", "success_callback", "failure_callback", "service_callback", "input_callback"):
        setattr(litellm, hook, [])
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    litellm.drop_params = False
    litellm.modify_params = False
    litellm.cache = None
    litellm.disable_token_counter = True
    litellm.disable_hf_tokenizer_download = True
    # Images given by address are fetched by litellm for providers that want bytes. This is the one gate they pass.
    litellm.user_url_validation = True
    url_utils.validate_url = never_fetch
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router"):
        logging.getLogger(name).disabled = True  # its lines quote requests and keys
    return litellm


_NAMED_ONLY = {
    **dict.fromkeys(("gemini", "vertex_ai", "vertex_ai_beta"), frozenset({"parallel_tool_calls"})),
    **dict.fromkeys(("cohere", "cohere_chat", "ollama_chat"), frozenset({"tool_choice"})),
    "replicate": frozenset({"functions", "seed", "tool_choice", "tools"}),
}
"""What litellm says that it translates, and leaves out."""


@functools.lru_cache(maxsize=1024)
def _parameters(api: str, model: str) -> frozenset[str]:
    """Return the OpenAI parameters that litellm can translate for a model."""
    named = _litellm().get_supported_openai_params(model=f"{api}/{model}", custom_llm_provider=api) or ()
    return frozenset(named) - _NAMED_ONLY.get(api, frozenset())


class LitellmProvider:
    """One provider behind litellm. Calling it asks one target; it never raises but CancelledError.

    Cancelling a call closes its connection, which stops the upstream's work. The deadline is kept by the attempt policy
    around this call.
    """

    native: frozenset[str] = frozenset()

    def __init__(self, settings: ProviderSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._client: Any = None

    async def warm_up(self) -> None:
        """Import litellm now, in a thread, rather than at the first call."""
        if not _litellm.cache_info().currsize:
            await asyncio.to_thread(_litellm)

    async def aclose(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()

    async def __call__(self, target: Target, request: ChatRequest, deadline: Deadline) -> Outcome:
        """Ask one target."""
        tap: Wiretap | None = None
        try:
            await self.warm_up()
            prepared = arguments(target, request, _parameters(self._settings.api, target.model))
            if isinstance(prepared, Failure):
                return prepared
            with Wiretap(target.name, prepared.extra) as tap:
                prepared.keywords.update(self._controls(target, request, deadline))
                return await self._ask(target, request, prepared, tap)
        except Exception as exc:  # noqa: BLE001 -- litellm raises what it likes; nothing is hidden: it becomes the failure
            return _failure(target, exc, tap)

    async def _ask(self, target: Target, request: ChatRequest, prepared: Arguments, tap: Wiretap) -> Outcome:
        handed_over = False
        legacy = legacy_functions.asked(prepared.keywords)
        try:
            answer = await _litellm().acompletion(**prepared.keywords)
            if request.live:
                stream = LitellmStream(target, request, answer, tap)
                stream.dropped = prepared.dropped
                stream.legacy = legacy
                outcome = await stream.commit()
                handed_over = isinstance(outcome, Candidate)
                return outcome
            fields = litellm_shape.completion(answer.model_dump())
            outcome = read_answer(target, _encode(legacy_functions.answered(fields) if legacy else fields))
            if isinstance(outcome, Candidate):
                outcome.payload.dropped = prepared.dropped
            return tap.failure or outcome if isinstance(outcome, Failure) else outcome
        finally:
            if not handed_over:
                tap.close()  # nothing happens to the connection of an answer that was read to its end

    def _controls(self, target: Target, request: ChatRequest, deadline: Deadline) -> dict[str, Any]:
        """Return the keywords that are ours to give."""
        settings = self._settings
        controls = {
            # With the provider's name before it litellm leaves the model's name as it is, whatever it holds.
            "model": f"{settings.api}/{target.model}",
            "custom_llm_provider": settings.api,
            "api_key": settings.api_key.reveal() if settings.api_key else None,
            "api_base": settings.base_url,
            "extra_headers": {**settings.headers, **request.headers},
            "timeout": max(0.001, deadline - asyncio.get_running_loop().time()),
            "num_retries": 0,
            "max_retries": 0,
            "drop_params": False,
            "no-log": True,
            "stream": request.live,
            "_skip_mcp_handler": True,  # else a client's tool of type "mcp" starts litellm's own MCP gateway
            **settings.options,
        }
        if request.live:
            controls["stream_options"] = {"include_usage": True}
        return controls | self._connection()

    def _connection(self) -> dict[str, Any]:
        """Return the session under both names by which litellm takes one."""
        if self._session is None:
            self._session = tapped_session()
            self._client = _client(self._session)
        if self._settings.api in _litellm().openai_compatible_providers:
            return {"shared_session": self._session}  # there `client` would have to be one of the openai package
        return {"shared_session": self._session, "client": self._client}


def _client(session: aiohttp.ClientSession) -> Any:
    from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport  # noqa: PLC0415
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler  # noqa: PLC0415

    transport = LiteLLMAiohttpTransport(client=session, owns_session=False)
    return AsyncHTTPHandler(transport=transport, follow_redirects=False)


def _failure(target: Target, exc: Exception, tap: Wiretap | None) -> Failure:
    """Say what went wrong: the wire first, then the exceptions that led here, litellm's own opinion last."""
    if tap is not None and tap.failure is not None:
        return tap.failure
    if tap is not None and tap.status is not None:
        return Failure(target.name, FailureKind.MALFORMED, "the provider's answer cannot be read", status=tap.status)
    cause: BaseException | None = exc
    while cause is not None:
        failure = classify.from_exception(target.name, cause)
        if failure.kind in {FailureKind.TRANSIENT, FailureKind.TIMEOUT}:
            return failure  # of a connection that is not ours, such as the one that fetches Google's token
        cause = cause.__cause__ or cause.__context__
    status = getattr(exc, "status_code", None)
    if isinstance(status, int) and 400 <= status < 500:
        return classify.from_error_object(target.name, {"message": _sentence(exc)}, status)
    return classify.from_exception(target.name, exc)


_CLASSES = re.compile(r"(?:(?:litellm\.)?[A-Z]\w*(?:Error|Exception)(?::| -) )+")


def _sentence(exc: Exception) -> str:
    """Return the first line of an exception of litellm's without the names of its classes."""
    return _CLASSES.sub("", str(exc).split("\n", 1)[0])


class LitellmStream(EventStream):
    """The chunks of one upstream stream in OpenAI's shape.

    litellm ends every stream with a `finish_reason`, also one that broke off: only one that it received counts.
    """

    legacy = False
    """Whether the client has `functions` and reads no `tool_calls`."""

    def __init__(self, target: Target, request: ChatRequest, chunks: Any, tap: Wiretap) -> None:
        super().__init__(target)
        self._chunks = chunks
        self._tap = tap
        self._wants_usage = _wants_usage(request.fields)

    @property
    def _complete(self) -> bool:
        """Whether the upstream said how its answer ended: on the wire, or in a dialect that only litellm can read."""
        return self._tap.finished or (bool(self._chunks.received_finish_reason) and self._tap.failure is None)

    async def _more(self) -> None:
        limit = asyncio.timeout(GRACE if self._complete else self._target.idle)
        # litellm keeps some last chunks back until the connection ends: do not wait long for that.
        self._tap.on_finish = lambda: limit.reschedule(asyncio.get_running_loop().time() + GRACE)
        try:
            async with limit:
                chunk = await anext(self._chunks)
            self._take(chunk.model_dump())
        except StopAsyncIteration:
            self._end(self._failed(FailureKind.TRUNCATED, "the stream ended before the answer did"))
        except Exception as exc:  # noqa: BLE001 -- as in LitellmProvider.__call__
            if limit.expired():
                self._end(self._failed(FailureKind.STALLED, f"the stream fell silent for {self._target.idle:g} s"))
            else:
                self._end(_failure(self._target, exc, self._tap))

    def _take(self, chunk: Mapping[str, Any]) -> None:
        if any(choice.get("finish_reason") for choice in chunk["choices"]) and not self._complete:
            raise StopAsyncIteration
        fields = litellm_shape.chunk(chunk)
        data = _encode(legacy_functions.answered(fields) if self.legacy else fields)
        reading = read_chunk(data)
        if reading is None:
            raise ValueError("litellm made a chunk that is none")
        if reading.usage is None or self._wants_usage:
            self._ready.append(data)
        self._note(reading)

    def _end(self, failure: Failure) -> None:
        """Note the end of the stream: after a finish the answer is complete, whatever the connection does."""
        self._over = True
        if not self._complete:
            self._failure = self._tap.failure or failure
        elif not self._finish:
            self._take(self._chunks.finish_reason_handler().model_dump())

    async def _disconnect(self) -> None:
        self._tap.close()
        await self._chunks.aclose()


def _wants_usage(fields: Mapping[str, Raw]) -> bool:
    options = msgspec.json.decode(fields.get("stream_options", Raw(b"null")))
    return isinstance(options, Mapping) and options.get("include_usage") is True
