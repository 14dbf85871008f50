"""The shape of one route in the configuration: whom to ask, in what rhythm, and who decides."""

from __future__ import annotations

from gateway.config.durations import PATTERN, written
from gateway.config.schema.target import TARGET
from gateway.config.schema.terms import (
    DEADLINE,
    FIRST_TOKEN,
    HEDGE_AFTER,
    IDLE,
    LONGEST_DEADLINE,
    MOST_PARTS,
    MOST_RETRIES,
    MOST_TARGETS,
    RETRIES,
    TIMEOUT,
    Schema,
    count,
    duration,
)
from gateway.domain import Learn, Map

_PARTS = Map()
_MAP: Schema = {
    "type": "object",
    "title": "a mapping such as {by: paragraphs, size: 4000}",
    "description": "Ask a long last message part by part, each from another target on.",
    "additionalProperties": False,
    "properties": {
        "by": {
            "type": "string",
            "enum": ["paragraphs", "characters"],
            "title": "paragraphs or characters",
            "description": "Where a part may end.",
            "default": _PARTS.by,
        },
        "size": count(1_000_000, _PARTS.size, "The most characters of one part."),
        "parallel": count(MOST_PARTS, _PARTS.parallel, "How many parts are asked at once."),
        "most": count(MOST_PARTS, _PARTS.most, "How many parts a message may have; a longer one is refused."),
    },
}

_LAUNCH_TITLE = "all, hedge, fallback or a mapping such as {initial: 2, stagger: 800ms}"

LAUNCH: Schema = {
    "title": _LAUNCH_TITLE,
    "description": "Who is asked when. A failure always starts the next target at once.",
    "default": "all",
    "anyOf": [
        {
            "type": "string",
            "enum": ["all", "hedge", "fallback"],
            "title": _LAUNCH_TITLE,
            "description": "hedge: the next starts when the first is slower than usual, or fails ({initial: 1, "
            "stagger: auto}); fallback: when it fails.",
        },
        {
            "type": "object",
            "title": "a mapping such as {initial: 2, stagger: 800ms}",
            "additionalProperties": False,
            "minProperties": 1,
            "properties": {
                "initial": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MOST_TARGETS,
                    "title": f"a whole number from 1 to {MOST_TARGETS}",
                    "description": "How many targets start at once.",
                    "default": 1,
                },
                "stagger": {
                    **duration(
                        "After how long the next target starts by itself: a hedge, which its provider's budget must "
                        "have room for. auto: after the 95th percentile of the target's own times, "
                        f"{written(HEDGE_AFTER)} until it is known; for 1 request in 20 at most."
                    ),
                    "title": 'a duration such as "800ms", auto or never',
                    "pattern": f"^never$|^auto$|{PATTERN}",
                    "default": "never",
                },
                "hedges": count(MOST_TARGETS, None, "The most hedges of one request; 1 with auto, else any number."),
                "map": _MAP,
            },
        },
    ],
}

SELECT: Schema = {
    "title": "a selector such as majority, {majority: {agree: 2}} or a list of them",
    "description": "Who decides: a name, a name with options, or a list in which the next decides if one abstains.",
    "default": "first",
    "anyOf": [
        {"type": "string", "title": "the name of a selector"},
        {
            "type": "object",
            "title": "one selector with its options such as {majority: {agree: 2}}",
            "minProperties": 1,
            "maxProperties": 1,
        },
        {"type": "array", "title": "a list of selectors", "minItems": 1, "items": {"$ref": "#/$defs/select"}},
    ],
}

_LEARN = Learn()
_RELIABILITY_TITLE = "off, learn or a mapping such as {half_life: 500}"

RELIABILITY: Schema = {
    "title": _RELIABILITY_TITLE,
    "description": "learn: how often each target is right, from the votes alone. It is in the metrics, and in use "
    "where the selector has `calibration: learned`.",
    "default": "off",
    "anyOf": [
        {"type": "string", "enum": ["off", "learn"], "title": _RELIABILITY_TITLE},
        {
            "type": "object",
            "title": "a mapping such as {half_life: 500}",
            "additionalProperties": False,
            "properties": {
                "choices": count(
                    1000, _LEARN.choices, "Among how many answers a wrong one is drawn; near 3 for models.", least=2
                ),
                "half_life": count(1_000_000, round(_LEARN.half_life), "After how many votes one counts half."),
                "since": {
                    "type": "string",
                    "title": "any text such as a date",
                    "description": "Another text than before begins anew.",
                },
            },
        },
    ],
}

ROUTE: Schema = {
    "type": "object",
    "title": "a mapping such as {targets: [openai/gpt-5-mini]}",
    "description": "A model name that clients may ask for.",
    "required": ["targets"],
    "additionalProperties": False,
    "properties": {
        "targets": {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_TARGETS,
            "title": f"a list of 1 to {MOST_TARGETS} targets such as [openai/gpt-5-mini]",
            "description": "Whom to ask, in order of preference: the first starts first and wins ties.",
            "items": TARGET,
        },
        "launch": LAUNCH,
        "select": {"$ref": "#/$defs/select"},
        "on_abstain": {
            "type": "string",
            "enum": ["priority", "fail"],
            "title": "priority or fail",
            "description": "What becomes of a request whose selector chooses none of the answers: "
            "the answer of the highest priority, or an error.",
            "default": "priority",
        },
        "deadline": {
            **duration(f"The limit of the whole request, {written(LONGEST_DEADLINE)} at most."),
            "default": written(DEADLINE),
        },
        "timeout": {**duration("The limit of one attempt, the deadline at most."), "default": written(TIMEOUT)},
        "standby": {
            "type": "string",
            "enum": ["cold", "warm"],
            "title": "cold or warm",
            "description": "What becomes of the siblings of a live stream: cancelled at its first words, or kept until "
            "its end, so that one can continue it where it breaks off.",
            "default": "cold",
        },
        "buffer": {
            "type": "string",
            "enum": ["none", "full"],
            "title": "none or full",
            "description": "full: a stream is replayed once a whole answer is in, so that no broken one is ever seen.",
            "default": "none",
        },
        "stream": {
            "type": "string",
            "enum": ["auto", "verify"],
            "title": "auto or verify",
            "description": "verify: the first words are streamed at once, the selector is asked at the end whether the "
            "other targets agree.",
            "default": "auto",
        },
        "first_token": duration(
            "The limit until the first words of a stream, the timeout at most. By default "
            f"{written(FIRST_TOKEN)} where another target would be asked next, and the timeout where none would."
        ),
        "idle": {
            **duration("The longest silence between two events of a stream; pings and comments do not end it."),
            "default": written(IDLE),
        },
        "on_filtered": {
            "type": "string",
            "enum": ["fail", "next"],
            "title": "fail or next",
            "description": "What a content policy's refusal does to targets that have not been asked yet: none of "
            "them is asked, or the next one.",
            "default": "fail",
        },
        "reliability": RELIABILITY,
        "retries": {
            "type": "integer",
            "minimum": 0,
            "maximum": MOST_RETRIES,
            "title": f"a whole number from 0 to {MOST_RETRIES}",
            "description": "How often one target is asked again after a failure that may pass.",
            "default": RETRIES,
        },
    },
}
