"""Pure fan-in: reduce the answers of several targets to one. Standard library only, no I/O, no clock, no randomness."""

from fanin import flaws
from fanin.aggregate import collect, concat, reduce, score_aggregate
from fanin.ballot import Ballot, Candidate, Failure, Opinion, Question, Seat, Selection, ToolCall
from fanin.calibration import Calibration
from fanin.central import cluster_vote, drop_outliers, mbr, medoid
from fanin.compose import chain, defer, quorum, valid
from fanin.confidence import confidence_vote, max_confidence
from fanin.faults import Fault, SpecError
from fanin.fields import json_fields, tool_calls
from fanin.guard import guarded
from fanin.keys import Key
from fanin.order import first, priority
from fanin.registry import build
from fanin.reliability import Estimate, Reliability
from fanin.rule import Factory, Rule, Selector, selector
from fanin.scored import scored
from fanin.spec import Range
from fanin.stop import stop
from fanin.votes import majority, weighted

__all__ = [
    "Ballot",
    "Calibration",
    "Candidate",
    "Estimate",
    "Factory",
    "Failure",
    "Fault",
    "Key",
    "Opinion",
    "Question",
    "Range",
    "Reliability",
    "Rule",
    "Seat",
    "Selection",
    "Selector",
    "SpecError",
    "ToolCall",
    "build",
    "chain",
    "cluster_vote",
    "collect",
    "concat",
    "confidence_vote",
    "defer",
    "drop_outliers",
    "first",
    "flaws",
    "guarded",
    "json_fields",
    "majority",
    "max_confidence",
    "mbr",
    "medoid",
    "priority",
    "quorum",
    "reduce",
    "score_aggregate",
    "scored",
    "selector",
    "stop",
    "tool_calls",
    "valid",
    "weighted",
]
