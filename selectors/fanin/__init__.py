"""Pure fan-in: reduce the answers of several targets to one. Standard library only, no I/O, no clock, no randomness."""

from fanin.ballot import Ballot, Candidate, Failure, Seat, Selection, ToolCall
from fanin.compose import chain, defer, quorum, valid
from fanin.confidence import max_confidence
from fanin.faults import Fault, SpecError
from fanin.guard import guarded
from fanin.keys import Key
from fanin.order import first, priority
from fanin.registry import build
from fanin.rule import Factory, Rule, Selector, selector
from fanin.spec import Range
from fanin.votes import majority, weighted

__all__ = [
    "Ballot",
    "Candidate",
    "Factory",
    "Failure",
    "Fault",
    "Key",
    "Range",
    "Rule",
    "Seat",
    "Selection",
    "Selector",
    "SpecError",
    "ToolCall",
    "build",
    "chain",
    "defer",
    "first",
    "guarded",
    "majority",
    "max_confidence",
    "priority",
    "quorum",
    "selector",
    "valid",
    "weighted",
]
