"""Ask three models at once in a LangGraph graph and vote: a ballot is the reducer, a deferred node selects.

Run it with `pip install langgraph fanin` and `python langgraph_redundancy.py`. The three models are functions here; put
your own calls in their place. Ballots add up with `|`, so each node returns a ballot of one answer (or one failure) and
the graph adds them, in whatever order they come; `defer=True` runs the last node once all branches have ended.
"""

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph

from fanin import Ballot, Candidate, Failure, build

RULE = build([{"majority": {"key": "number", "min_agreement": 0.5}}, "priority"])


class State(TypedDict, total=False):
    """What flows through the graph; the reducer of `ballot` is the union of two ballots."""

    question: str
    ballot: Annotated[Ballot, operator.or_]
    answer: str
    reason: str


def careful(question: str) -> str:
    """Stand for a model that reasons before it answers."""
    return f"{question} Seven eights are 56. The answer is 56."


def terse(_question: str) -> str:
    """Stand for a model that only answers."""
    return "56.0"


def hasty(_question: str) -> str:
    """Stand for a model that is wrong."""
    return "The answer is 54."


def down(_question: str) -> str:
    """Stand for a provider that does not answer."""
    raise TimeoutError("no answer in 10 s")


MODELS: dict[str, Callable[[str], str]] = {"careful": careful, "hasty": hasty, "terse": terse, "down": down}


def branch(name: str, priority: int) -> Callable[[State], dict[str, Any]]:
    """Return the node that asks one model: its failure is an outcome, not an exception that ends the graph."""

    def ask(state: State) -> dict[str, Any]:
        try:
            outcome: Candidate | Failure = Candidate(name, MODELS[name](state["question"]), priority=priority)
        except TimeoutError as error:
            outcome = Failure(name, "timeout", str(error))
        return {"ballot": Ballot(size=len(MODELS)).add(outcome)}

    return ask


def select(state: State) -> dict[str, Any]:
    """Close the ballot and decide."""
    selection = RULE(state["ballot"].close())
    if selection is None:
        raise RuntimeError("no model answered")
    return {"answer": selection.answer or selection.winner.text, "reason": selection.reason}


def graph() -> Any:
    """Return the compiled graph: all models at once, then the selection."""
    builder = StateGraph(State)
    builder.add_node("select", select, defer=True)
    for priority, name in enumerate(MODELS):
        builder.add_node(name, branch(name, priority))
        builder.add_edge(START, name)
        builder.add_edge(name, "select")
    builder.add_edge("select", END)
    return builder.compile()


if __name__ == "__main__":
    final = graph().invoke({"question": "What is 7 times 8?", "ballot": Ballot()})
    print(f"{final['answer']} ({final['reason']})")
