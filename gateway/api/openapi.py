"""The OpenAPI document: every endpoint, what it takes, what it answers, how it refuses.

It says what the gateway itself demands. What stands in a message or an input is the upstream's matter.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any

from gateway.wires.operations import OPERATIONS, Operation

Document = dict[str, Any]

_ANY_LIST: Document = {"type": "array", "items": {}}
_FIELDS: dict[str, Document] = {
    "messages": _ANY_LIST,
    "documents": _ANY_LIST,
    "prompt": {"description": "A text, or what the upstream takes besides."},
    "query": {"description": "A text."},
    "input": {"description": "A text, a list of texts, or tokens."},
    "file": {"type": "string", "format": "binary"},
    "image": {"type": "string", "format": "binary"},
}
_HEDGEROW: Document = {
    "type": ["object", "null"],
    "description": "What this request wants of the gateway; it never reaches an upstream.",
    "properties": {"explain": {"type": "boolean"}, "select": {}, "launch": {}},
    "additionalProperties": False,
}
_HEADERS = {
    "x-request-id": "The request's id, the client's own where it sent one.",
    "x-hedgerow-route": "The route that answered.",
    "x-hedgerow-target": "The target whose answer it is.",
    "x-hedgerow-selector": "Who decided.",
    "x-hedgerow-branches": "How many targets answered, of how many that were asked.",
    "x-hedgerow-dropped": "The request's fields that the target was not sent.",
}
_ERRORS = {
    "400": "The request is at fault: a field, the route's selector, or what all targets say of it.",
    "401": "The key is missing or unknown.",
    "404": "There is no such route.",
    "413": "The body is too large.",
    "415": "The body is compressed in a way that is not understood.",
    "422": "The idempotency key belongs to another request, or all targets answered 422.",
    "429": "All targets limit their rate; see Retry-After.",
    "502": "No target answered, or the selector chose none of the answers.",
    "503": "All targets are overloaded, or the gateway is stopping; see Retry-After.",
    "504": "No target answered in time.",
}
_IDEMPOTENCY: Document = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x20-\x7e]+$"},
    "description": "The same key with the same body is carried out once.",
}
_CHAT = Operation(("messages",))
_DIALECTS = {"chat/completions": _CHAT, "messages": _CHAT, "messages/count_tokens": _CHAT}
_ANY = Operation(())
_STREAMING = ("chat/completions", "completions", "messages", "responses")


def document(
    endpoints: Iterable[str], routes: Sequence[str], version: str, *, adhoc: bool, unnamed: Container[str] = ()
) -> Document:
    """Return the document of the endpoints that are served, each a path below `/v1`.

    `routes` are the names that a request may have as its model, with `adhoc` among others; `unnamed` the endpoints that
    take a request without one.
    """
    known: Document = {"type": "string", "description": "A route; GET /v1/models lists them."}
    model = known if adhoc or not routes else known | {"enum": list(routes)}
    known_operations = {**_DIALECTS, **OPERATIONS}
    paths: Document = {
        f"/v1/{path}": {"post": _post(path, known_operations.get(path, _ANY), model, named=path not in unnamed)}
        for path in endpoints
    }
    named = {"name": "id", "in": "path", "required": True, "schema": model}
    paths["/v1/models"] = {"get": _get("listModels", "List the routes.", "ModelList")}
    paths["/v1/models/{id}"] = {
        "get": _get("getModel", "Describe one route.", "Model", "404") | {"parameters": [named]}
    }
    paths["/healthz"] = {"get": _get("isAlive", "Whether the process lives.", "Status", open_to_all=True)}
    paths["/readyz"] = {"get": _get("isReady", "Whether it takes requests.", "Status", open_to_all=True)}
    paths["/readyz"]["get"]["responses"]["503"] = _json("Not now.", "Status")
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hedgerow", "version": version, "description": "A redundant, OpenAI-compatible LLM gateway."},
        "paths": paths,
        "components": {"schemas": _SCHEMAS, "securitySchemes": _SECURITY},
        "security": [{}, *({name: []} for name in _SECURITY)],
    }


def _post(path: str, operation: Operation, model: Document, *, named: bool) -> Document:
    error = "AnthropicError" if path.startswith("messages") else "Error"
    needs = [*(["model"] if named else ()), *operation.needs]
    properties = {"model": model, **{name: _FIELDS[name] for name in operation.needs}}
    media = "multipart/form-data" if operation.form else "application/json"
    if not operation.form:
        properties |= {"stream": {"type": ["boolean", "null"]}, "hedgerow": _HEDGEROW}
    answers: Document = {"application/json": {"schema": {"type": "object"}}}
    if path in _STREAMING or path.startswith(("images", "audio")):
        answers["text/event-stream"] = {"schema": {}}
    if path.startswith("audio"):
        answers |= {
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
            "text/*": {"schema": {"type": "string"}},
        }
    headers = {name: {"schema": {"type": "string"}, "description": text} for name, text in _HEADERS.items()}
    responses: Document = {"200": {"description": "The winner's own answer.", "content": answers, "headers": headers}}
    responses |= {status: _json(text, error) for status, text in _ERRORS.items()}
    schema = {"type": "object", "required": needs, "properties": properties, "additionalProperties": True}
    return {
        "operationId": path.replace("/", "_"),
        "summary": f"POST /{path}, answered by the targets of a route.",
        "parameters": [_IDEMPOTENCY],
        "requestBody": {"required": True, "content": {media: {"schema": schema}}},
        "responses": responses,
    }


def _get(name: str, summary: str, schema: str, *errors: str, open_to_all: bool = False) -> Document:
    responses = {"200": _json(summary, schema)}
    responses |= {status: _json(_ERRORS[status], "Error") for status in (*errors, *(() if open_to_all else ("401",)))}
    described: Document = {"operationId": name, "summary": summary, "responses": responses}
    return described | {"security": []} if open_to_all else described


def _json(description: str, schema: str) -> Document:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _object(**properties: Any) -> Document:
    return {"type": "object", "required": list(properties), "properties": properties}


_TEXT: Document = {"type": "string"}
_PERHAPS: Document = {"type": ["string", "null"]}
_SECURITY: Document = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "xApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
}
_SCHEMAS: Document = {
    "Error": _object(error=_object(message=_TEXT, type=_TEXT, param=_PERHAPS, code=_PERHAPS)),
    "AnthropicError": _object(type={"const": "error"}, error=_object(type=_TEXT, message=_TEXT)),
    "Model": _object(id=_TEXT, object={"const": "model"}, created={"type": "integer"}, owned_by=_TEXT),
    "ModelList": _object(
        object={"const": "list"}, data={"type": "array", "items": {"$ref": "#/components/schemas/Model"}}
    ),
    "Status": _object(status=_TEXT),
}
