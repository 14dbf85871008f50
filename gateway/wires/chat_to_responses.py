"""Chat completions → OpenAI's Responses: whole answers, and streams event by event with their sequence numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gateway.wires.words import Fields, written

_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it says where the request says nothing."""

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def envelope(completion: Mapping[str, Any], asked: Mapping[str, Any], model: str) -> Fields:
    """Return a response without its output: what is known when a stream begins."""
    return {
        "id": f"resp_{completion.get('id')}",
        "object": "response",
        "created_at": completion.get("created"),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "service_tier": completion.get("service_tier") or "default",
        "store": False,
        "usage": None,
        **{name: asked.get(name, default) for name, default in _ECHOED.items()},
    }


def response(completion: Mapping[str, Any], asked: Mapping[str, Any], model: str) -> Fields:
    """Return a whole chat completion as a response; each of several choices gives its own items."""
    made = envelope(completion, asked, model)
    choices: Sequence[Mapping[str, Any]] = completion["choices"]
    items = [item for choice in choices for item in _items(choice)]
    for place, item in enumerate(items):
        item["id"] = _id(item["type"], str(completion.get("id")), place)
    finishes = [choice.get("finish_reason") for choice in choices]
    return {**made, "output": items, **ended(finishes, completion.get("usage"))}


def ended(finishes: Sequence[object], usage_: Mapping[str, Any] | None) -> Fields:
    """Return the fields that say how a response ended."""
    cut = next((_INCOMPLETE[str(finish)] for finish in finishes if finish in _INCOMPLETE), None)
    return {
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "usage": usage(usage_) if usage_ else None,
    }


def usage(counts: Mapping[str, Any]) -> Fields:
    """Return OpenAI's counts under the names that Responses have for them."""
    prompt, completion = counts.get("prompt_tokens") or 0, counts.get("completion_tokens") or 0
    read = counts.get("prompt_tokens_details") or {}
    thought = counts.get("completion_tokens_details") or {}
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, **{k: v for k, v in read.items() if v is not None}},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": 0, **{k: v for k, v in thought.items() if v is not None}},
        "total_tokens": counts.get("total_tokens") or prompt + completion,
    }


_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}


def _id(kind: str, completion: str, place: int) -> str:
    return f"{_PREFIXES[kind]}_{completion}_{place}"


def _items(choice: Mapping[str, Any]) -> Iterator[Fields]:
    said: Mapping[str, Any] = choice.get("message") or {}
    thoughts = said.get("reasoning_content") or said.get("reasoning")
    if thoughts:
        yield {**_begun("reasoning"), "status": "completed", "content": [{"type": "reasoning_text", "text": thoughts}]}
    parts = [*_parts(said, choice.get("logprobs"))]
    if parts:
        yield {**_begun("message"), "status": "completed", "content": parts}
    calls = list(said.get("tool_calls") or ())
    if (said.get("function_call") or {}).get("name"):
        calls.append({"function": said["function_call"]})
    for place, call in enumerate(calls):
        yield _call(call, place) | {"status": "completed"}


def _begun(kind: str) -> Fields:
    extra: Fields = {"role": "assistant"} if kind == "message" else {"summary": []}
    return {"id": "", "type": kind, "status": "in_progress", **extra, "content": []}


def _parts(said: Mapping[str, Any], logprobs: Mapping[str, Any] | None) -> Iterator[Fields]:
    content = said.get("content")
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    if content:
        yield {
            "type": "output_text",
            "text": content,
            "annotations": cited(said.get("annotations")),
            "logprobs": (logprobs or {}).get("content") or [],
        }
    if said.get("refusal"):
        yield {"type": "refusal", "refusal": said["refusal"]}


def cited(given: Sequence[Mapping[str, Any]] | None) -> list[Fields]:
    """Return what a message cites; an annotation's details are one level higher there."""
    return [{"type": each.get("type"), **(each.get(str(each.get("type"))) or {})} for each in given or ()]


def _call(call: Mapping[str, Any], place: int) -> Fields:
    call_id = call.get("id") or f"call_{place}"
    custom = call.get("custom") or {}
    if custom.get("name"):
        named = {"name": custom.get("name"), "input": custom.get("input") or ""}
        return {"id": "", "type": "custom_tool_call", "status": "in_progress", "call_id": call_id, **named}
    function = call.get("function") or {}
    arguments = function.get("arguments") or ""
    told = arguments if isinstance(arguments, str) else written(arguments)
    named = {"name": function.get("name"), "arguments": told}
    return {"id": "", "type": "function_call", "status": "in_progress", "call_id": call_id, **named}


class _Item:
    """One output item while it is being streamed; `part` is the one content part of it that grows."""

    def __init__(self, fields: Fields, place: int, key: tuple[int, str, int]) -> None:
        self.fields = fields
        self.place = place
        self.key = key
        self.part: Fields | None = None

    @property
    def where(self) -> Fields:
        """The members by which events name the item."""
        return {"item_id": self.fields["id"], "output_index": self.place}


_PARTS: Mapping[str, tuple[str, str, Fields]] = {
    "output_text": ("response.output_text", "text", {"annotations": [], "logprobs": []}),
    "refusal": ("response.refusal", "refusal", {}),
    "reasoning_text": ("response.reasoning_text", "text", {}),
}
"""A content part's type → the name of its events, the member that grows, and its other members."""

_CALLS = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}


class EventsOfChunks:
    """The events of a Responses stream that say what the chunks of one chat completion stream say."""

    def __init__(self, asked: Mapping[str, Any], model: str) -> None:
        self._asked, self._model = asked, model
        self._response: Fields = {}
        self._items: list[_Item] = []
        self._open: dict[int, _Item] = {}
        """The item that each choice is at."""
        self._finishes: dict[int, str] = {}
        self._usage: Mapping[str, Any] | None = None
        self._number = 0

    def feed(self, chunk: Mapping[str, Any]) -> Iterator[Fields]:
        """Yield the events of one chunk."""
        if not self._response:
            yield from self._start(chunk)
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices") or ():
            index = choice.get("index") or 0
            yield from self._said(index, choice.get("delta") or {}, choice.get("logprobs"))
            if choice.get("finish_reason"):
                self._finishes[index] = choice["finish_reason"]

    def end(self, further: Mapping[str, Any]) -> Iterator[Fields]:
        """Yield the events behind the last chunk; the response in the last one carries `further` fields."""
        yield from self._close_all()
        done = self._response | {"output": [item.fields for item in self._items]}
        done |= {**ended([*self._finishes.values()], self._usage), **further}
        yield self._event(f"response.{done['status']}", response=done)

    def fail(self, error: Mapping[str, Any]) -> Iterator[Fields]:
        """Yield the events that end a stream with an error."""
        if not self._response:
            yield from self._start({})
        yield self._event("error", **error)
        output = [item.fields for item in self._items]
        failed = {"code": "server_error", "message": error["message"]}
        told = {"status": "failed", "error": failed, "output": output}
        yield self._event("response.failed", response=self._response | told)

    def _event(self, kind: str, **members: Any) -> Fields:
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **members}

    def _start(self, chunk: Mapping[str, Any]) -> Iterator[Fields]:
        self._response = envelope(chunk, self._asked, self._model)
        yield self._event("response.created", response=self._response)
        yield self._event("response.in_progress", response=self._response)

    def _said(self, choice: int, delta: Mapping[str, Any], logprobs: Mapping[str, Any] | None) -> Iterator[Fields]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str) and thought:
            yield from self._grow(choice, "reasoning", "reasoning_text", thought)
        content = delta.get("content")
        if isinstance(content, list):
            content = "".join(part.get("text") or "" for part in content if part.get("type") == "text")
        if content:
            told = (logprobs or {}).get("content") or []
            yield from self._grow(choice, "message", "output_text", content, logprobs=told)
        if delta.get("refusal"):
            yield from self._grow(choice, "message", "refusal", delta["refusal"])
        for annotation in cited(delta.get("annotations")):
            yield from self._annotated(annotation)
        for call in delta.get("tool_calls") or ():
            yield from self._called(choice, call)

    def _grow(self, choice: int, kind: str, part: str, more: str, **members: Any) -> Iterator[Fields]:
        yield from self._turn_to((choice, kind, 0), _begun(kind))
        item = self._open[choice]
        if item.part is None or item.part["type"] != part:
            yield from self._close_part(item)
            name, grows, others = _PARTS[part]
            begun = {"type": part, grows: "", **others}
            item.part = {**begun, **{key: [*value] for key, value in others.items()}}
            item.fields["content"].append(item.part)
            index = len(item.fields["content"]) - 1
            yield self._event("response.content_part.added", **item.where, content_index=index, part=begun)
        name, grows, _ = _PARTS[part]
        item.part[grows] += more
        if members.get("logprobs"):
            item.part["logprobs"] += members["logprobs"]
        index = len(item.fields["content"]) - 1
        yield self._event(f"{name}.delta", **item.where, content_index=index, delta=more, **members)

    def _annotated(self, annotation: Fields) -> Iterator[Fields]:
        """Add an annotation to the text that is being written, or was last."""
        texts = [item for item in self._items if item.fields["type"] == "message" and item.fields["content"]]
        if texts and "annotations" in (part := texts[-1].fields["content"][-1]):
            part["annotations"].append(annotation)
            where = {**texts[-1].where, "content_index": len(texts[-1].fields["content"]) - 1}
            place = len(part["annotations"]) - 1
            kind = "response.output_text.annotation.added"
            yield self._event(kind, **where, annotation_index=place, annotation=annotation)

    def _called(self, choice: int, call: Mapping[str, Any]) -> Iterator[Fields]:
        number = call.get("index") or 0
        key = (choice, "call", number)
        known = next((item for item in self._items if item.key == key), None)
        begun = _call(call, number)
        if known is None:
            name, grows = _CALLS[begun["type"]]
            more, begun[grows] = begun[grows], ""
            yield from self._turn_to(key, begun)
            known = self._open[choice]
        else:
            name, grows = _CALLS[known.fields["type"]]
            given = call.get("custom" if grows == "input" else "function") or {}
            more = given.get(grows) or ""
        if more:
            known.fields[grows] += more
            yield self._event(f"{name}.delta", **known.where, delta=more)

    def _turn_to(self, key: tuple[int, str, int], fields: Fields) -> Iterator[Fields]:
        choice = key[0]
        if choice in self._open and self._open[choice].key == key:
            return
        yield from self._close(choice)
        place = len(self._items)
        fields["id"] = _id(fields["type"], self._response["id"].removeprefix("resp_"), place)
        item = self._open[choice] = _Item(fields, place, key)
        self._items.append(item)
        yield self._event("response.output_item.added", output_index=place, item=_copy(fields))

    def _close_part(self, item: _Item) -> Iterator[Fields]:
        if item.part is not None:
            name, grows, _ = _PARTS[item.part["type"]]
            where = {**item.where, "content_index": len(item.fields["content"]) - 1}
            told = {grows: item.part[grows]}
            if "logprobs" in item.part:
                told["logprobs"] = item.part["logprobs"]
            yield self._event(f"{name}.done", **where, **told)
            yield self._event("response.content_part.done", **where, part=item.part)
            item.part = None

    def _close(self, choice: int) -> Iterator[Fields]:
        item = self._open.pop(choice, None)
        if item is None:
            return
        yield from self._close_part(item)
        kind = item.fields["type"]
        if kind in _CALLS:
            name, grows = _CALLS[kind]
            told = {"name": item.fields["name"]} if kind == "function_call" else {}
            yield self._event(f"{name}.done", **item.where, **told, **{grows: item.fields[grows]})
        item.fields["status"] = "completed"
        yield self._event("response.output_item.done", output_index=item.place, item=item.fields)

    def _close_all(self) -> Iterator[Fields]:
        for choice in [*self._open]:
            yield from self._close(choice)


def _copy(fields: Fields) -> Fields:
    return {**fields, **({"content": []} if "content" in fields else {})}


def told(place: int, item: Mapping[str, Any]) -> Iterator[Fields]:
    """Yield the events, without their numbers, by which a stream would have told one whole item."""
    where = {"item_id": item.get("id"), "output_index": place}
    begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
    calls = _CALLS.get(str(item.get("type")))
    parts = item.get("content") or ()
    if calls:
        begun[calls[1]] = ""
    elif parts:
        begun["content"] = []
    yield {"type": "response.output_item.added", "output_index": place, "item": begun}
    for index, part in enumerate(parts):
        if part.get("type") in _PARTS:
            name, grows, others = _PARTS[part["type"]]
            at = {**where, "content_index": index}
            extra = {"logprobs": part.get("logprobs") or []} if "logprobs" in others else {}
            yield {"type": "response.content_part.added", **at, "part": {**part, grows: "", **others}}
            yield {"type": f"{name}.delta", **at, "delta": part.get(grows) or "", **extra}
            yield {"type": f"{name}.done", **at, grows: part.get(grows) or "", **extra}
            yield {"type": "response.content_part.done", **at, "part": part}
    if calls:
        name, grows = calls
        named = {"name": item.get("name")} if item["type"] == "function_call" else {}
        yield {"type": f"{name}.delta", **where, "delta": item.get(grows) or ""}
        yield {"type": f"{name}.done", **where, **named, grows: item.get(grows) or ""}
    yield {"type": "response.output_item.done", "output_index": place, "item": item}
