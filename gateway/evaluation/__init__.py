"""What a selector would have done: recorded answers, replayed through the rules that the gateway runs."""

from gateway.evaluation.evaluating import Evaluation, evaluate
from gateway.evaluation.faults import CannotEvaluate

__all__ = ["CannotEvaluate", "Evaluation", "evaluate"]
