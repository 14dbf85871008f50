"""The endpoints that are passed through as they are: what a request must have, and what its answer holds.

The name of an operation is its path below `/v1`, here and at the upstream, and the name of its wire.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from gateway.domain import Target


class Operation(Struct, frozen=True):
    """One endpoint.

    `needs` are the fields without which no upstream could answer; `holds` is the list in the answer that must not be
    empty, and `may_lack` says that OpenAI's own schema lets it be left out. `form` says that the request is a form with
    a file. `words` says that the answers are texts, which selectors can compare; `one_model` that answers of different
    models have nothing to do with each other.
    """

    needs: tuple[str, ...]
    holds: str | None = None
    may_lack: bool = False
    form: bool = False
    words: bool = False
    one_model: bool = False

    @property
    def is_json(self) -> bool:
        """Whether every whole answer is JSON; others are bytes of any kind, or events."""
        return self.holds is not None and not self.may_lack


def models_of(targets: Iterable[Target]) -> frozenset[str]:
    """Return the models of some targets, each by the name that all providers of it share."""
    return frozenset((target.same_as or target.model.rpartition("/")[2]).lower() for target in targets)


COMPLETIONS = "completions"
OPERATIONS: Mapping[str, Operation] = {
    COMPLETIONS: Operation(("prompt",), holds="choices", words=True),
    "embeddings": Operation(("input",), holds="data", one_model=True),
    "moderations": Operation(("input",), holds="results"),
    "rerank": Operation(("query", "documents"), holds="results"),
    "images/generations": Operation(("prompt",), holds="data", may_lack=True),
    "images/edits": Operation(("image", "prompt"), holds="data", may_lack=True, form=True),
    "audio/speech": Operation(("input",)),
    "audio/transcriptions": Operation(("file",), form=True, words=True),
    "audio/translations": Operation(("file",), form=True, words=True),
}
