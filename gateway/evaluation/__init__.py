"""What a selector would have done: recorded answers, replayed through the rules that the gateway runs."""

from gateway.evaluation.calibrating import Calibration, calibrate, write
from gateway.evaluation.evaluating import Evaluation, evaluate
from gateway.evaluation.faults import CannotEvaluate

__all__ = ["Calibration", "CannotEvaluate", "Evaluation", "calibrate", "evaluate", "write"]
