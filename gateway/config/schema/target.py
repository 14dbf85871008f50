"""The shape of one target of a route in the configuration."""

from __future__ import annotations

from gateway.config.schema.terms import MODEL_NAME, NAME, NAME_TITLE, Schema, duration

_DOLLARS: Schema = {
    "type": "number",
    "minimum": 0,
    "title": "a number of dollars, 0 or more",
    "description": "Dollars for a million tokens.",
}

TARGET: Schema = {
    "title": "provider/model, or a mapping such as {model: openai/gpt-5-mini, weight: 2}",
    "anyOf": [
        MODEL_NAME,
        {
            "type": "object",
            "title": "a mapping such as {model: openai/gpt-5-mini, weight: 2}",
            "required": ["model"],
            "additionalProperties": False,
            "properties": {
                "model": MODEL_NAME,
                "name": {
                    "type": "string",
                    "pattern": NAME,
                    "title": NAME_TITLE,
                    "description": "What headers, logs and metrics call it; provider/model by default.",
                },
                "prompt": {"type": "string", "title": "text", "description": "A system prompt of this target's own."},
                "params": {
                    "type": "object",
                    "title": "a mapping such as {temperature: 0.2}",
                    "description": "Fields of the request body that this target gets instead of the client's.",
                },
                "drop": {
                    "type": "array",
                    "title": "a list of field names such as [logit_bias]",
                    "description": "Fields of the client's that this target is not sent; a response header names them.",
                    "items": {"type": "string", "title": "the name of a field of the request body"},
                },
                "rename": {
                    "type": "object",
                    "title": "a mapping of field names such as {max_tokens: max_completion_tokens}",
                    "description": "Fields of the client's that this target gets under another name.",
                    "additionalProperties": {"type": "string", "title": "the name of a field of the request body"},
                },
                "defaults": {
                    "type": "object",
                    "title": "a mapping such as {temperature: 0.2}",
                    "description": "Fields of the request body that this target gets where the client sent none.",
                },
                "on_unsupported": {
                    "type": "string",
                    "enum": ["fail", "drop"],
                    "title": "fail or drop",
                    "description": "What becomes of a field that the provider cannot do: the target fails, or it is"
                    " left out and a response header names it.",
                    "default": "fail",
                },
                "on_reasoning_only": {
                    "type": "string",
                    "enum": ["fail", "answer"],
                    "title": "fail or answer",
                    "description": "What reasoning without an answer is: an empty answer, which fails the target, or"
                    " an answer, as of servers that take all that a model says for reasoning.",
                    "default": "fail",
                },
                "same_as": {
                    "type": "string",
                    "pattern": NAME,
                    "title": NAME_TITLE,
                    "description": "The embedding model behind a name that does not say so, such as a deployment's.",
                },
                "timeout": duration("The limit of one attempt; by default the route's."),
                "prefill": {
                    "title": "true, or further fields of the message such as {prefix: true}",
                    "description": "That the model goes on with a last message of the assistant's, so that it can "
                    "continue a stream which another target broke off.",
                    "anyOf": [
                        {"type": "boolean", "title": "true or false"},
                        {"type": "object", "title": "fields of the message such as {prefix: true}"},
                    ],
                    "default": False,
                },
                "price": {
                    "type": "object",
                    "title": "a mapping such as {input: 0.15, output: 0.6}",
                    "description": "Dollars for a million tokens; by default what litellm's list says of the model.",
                    "required": ["input", "output"],
                    "additionalProperties": False,
                    "properties": dict.fromkeys(("input", "output"), _DOLLARS),
                },
                "first_token": duration("The limit until the first words of a stream; by default the route's."),
                "idle": duration("The longest silence between two events of a stream; by default the route's."),
                "context": {
                    "title": "a number of tokens such as 128k",
                    "description": "The model's context window: a prompt that was too long for another target goes to "
                    "the one with a larger window next, and to none whose window is no larger.",
                    "anyOf": [
                        {"type": "integer", "minimum": 1, "title": "a number of tokens such as 128k"},
                        {"type": "string", "pattern": "^[1-9][0-9]{0,8}k$", "title": "a number of tokens such as 128k"},
                    ],
                },
                "weight": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "title": "a number above 0",
                    "description": "What its vote weighs.",
                    "default": 1,
                },
            },
        },
    ],
}
