"""Scaling law L(N, D) = E + A / N^alpha + B / D^beta of the loss, fitted to runs (arXiv:2203.15556, approach 3)."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

DELTA = 1e-3  # of the Huber loss, as in arXiv:2203.15556
DISTINCT = 3  # numbers of parameters, and of tokens: fewer do not separate a power law from the constant E
RUNS = 6  # one more than there are coefficients
_EXPONENTS = (0.1, 0.3, 0.6, 1.0)  # of the grid of starts, for alpha and beta
REPLICATES = 300  # of the bootstrap
_STEPS = 500  # of L-BFGS from one start
_TOLERANCE = 1e-12  # arXiv:2404.10102: a loose one ended the search of arXiv:2203.15556 too early


class Law(NamedTuple):
    """Coefficients of L(N, D) = E + A / N^alpha + B / D^beta.

    Attributes:
      e: Irreducible loss E.
      a, b: A and B.
      alpha, beta: Exponents of parameters N and tokens D.
    """

    e: float
    a: float
    b: float
    alpha: float
    beta: float

    def __call__(self, parameters: Any, tokens: Any) -> Any:
        """Returns the loss of numbers of parameters and tokens, which broadcast."""
        n, d = np.asarray(parameters, float), np.asarray(tokens, float)
        return self.e + self.a * n**-self.alpha + self.b * d**-self.beta

    @property
    def parameter_share(self) -> float:
        """Exponent a of the compute-optimal size N ~ C^a for a compute C ~ N D: beta / (alpha + beta)."""
        total = self.alpha + self.beta
        return self.beta / total if total else math.nan


class Points(NamedTuple):
    """Runs, float64 [runs] each.

    Attributes:
      parameters: Numbers of parameters N.
      tokens: Tokens, or examples, that each run saw, D.
      loss: Losses, positive.
    """

    parameters: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray

    def take(self, rows: Any) -> "Points":
        """Returns the runs at an index or mask."""
        return Points(*(column[rows] for column in self))


def problem(points: Points, tokens: str = "tokens") -> str:
    """Returns why the law cannot be fitted to the runs, and what to do; "" if it can be.

    Args:
      points: Runs.
      tokens: Name of the unit of `Points.tokens`.
    """
    count = len(points.loss)
    sizes, budgets = (len(np.unique(column)) for column in (points.parameters, points.tokens))
    if count and not (points.loss > 0).all():
        return "the logarithm of the loss needs positive losses; use --metric=EVAL/NAME of one"
    if count < RUNS:
        return f"{count} finished run(s) for five coefficients; train {RUNS} or more"
    if sizes < DISTINCT:
        return f"{sizes} number(s) of parameters do not determine an exponent; train {DISTINCT} or more sizes"
    if budgets < DISTINCT:
        return f"{budgets} number(s) of {tokens} do not determine an exponent; train for {DISTINCT} or more"
    return ""


def fit(points: Points) -> Law:
    """Fits the law by L-BFGS on the sum of Huber losses of log L, from the best of a grid of starts.

    The starts are exponents; E, A and B of each are the non-negative least squares of the relative error, for which the
    law is linear.

    Args:
      points: Runs for which `problem` is "".
    """
    objective = _Objective(points)
    with _one_thread():
        found = [objective.minimized(start) for start in objective.starts()]
    return objective.law(min(found, key=lambda end: end[0])[1])


def bootstrap(points: Points, law: Law, replicates: int = REPLICATES) -> list[Law]:
    """Returns fits to runs drawn with replacement; draws that do not determine the law are drawn again.

    Args:
      points: Runs for which `problem` is "".
      law: Fit to all runs, the start of each replicate.
      replicates: Number of fits.
    """
    random = np.random.default_rng(0)
    laws = []
    with _one_thread():
        while len(laws) < replicates:
            drawn = points.take(random.integers(0, len(points.loss), len(points.loss)))
            if all(len(np.unique(column)) >= DISTINCT for column in (drawn.parameters, drawn.tokens)):
                objective = _Objective(drawn)
                laws.append(objective.law(objective.minimized(objective.coordinates(law))[1]))
    return laws


def interval(laws: Sequence[Law], statistic: Callable[[Law], float], level: float = 0.95) -> tuple[float, float]:
    """Returns the percentile interval of a statistic over the laws of `bootstrap`."""
    values = [statistic(law) for law in laws]
    low, high = np.percentile(values, [50 - 50 * level, 50 + 50 * level])
    return float(low), float(high)


def _one_thread() -> AbstractContextManager:
    """Limits BLAS to one thread: with several, L-BFGS on these few numbers takes four to ten times as long."""
    from threadpoolctl import threadpool_limits  # of scikit-learn

    return threadpool_limits(1, "blas")


class _Objective:
    """Sum of Huber losses of log L, divided by `DELTA` ** 2, and its gradient.

    Coordinates are the logarithms (e, a, b) of the law's three terms at the geometric means of N and D, and alpha and
    beta. The logarithms of A and B would be correlated with the exponents.
    """

    def __init__(self, points: Points):
        logs = np.log(points.parameters), np.log(points.tokens)
        self.centers = tuple(float(log.mean()) for log in logs)
        self.n, self.d = (log - center for log, center in zip(logs, self.centers))
        self.log_loss = np.log(points.loss)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        e, a, b, alpha, beta = x.tolist()
        first, second = a - alpha * self.n, b - beta * self.d
        top = np.maximum(np.maximum(first, second), e)
        constant, first, second = np.exp(e - top), np.exp(first - top), np.exp(second - top)
        total = constant + first + second
        error = (top + np.log(total) - self.log_loss) / DELTA
        slope = np.minimum(np.maximum(error, -1), 1)  # and slope * (error - slope / 2) is the Huber loss
        scaled = slope / total
        first, second = scaled * first, scaled * second
        rows = [scaled @ constant, first.sum(), second.sum(), -(first @ self.n), -(second @ self.d)]
        return float(slope @ (error - 0.5 * slope)), np.array(rows) / DELTA

    def starts(self) -> list[np.ndarray]:
        from scipy.optimize import nnls

        loss, found = np.exp(self.log_loss), []
        for alpha in _EXPONENTS:
            for beta in _EXPONENTS:
                columns = np.stack([np.ones_like(loss), np.exp(-alpha * self.n), np.exp(-beta * self.d)], axis=1)
                factors, _ = nnls(columns / loss[:, None], np.ones_like(loss))
                # A coefficient of 0 has no logarithm, and a very small one no gradient.
                factors = np.log(np.maximum(factors, 1e-3 * loss.mean()))
                found.append(np.array([*factors, alpha, beta]))
        return found

    def minimized(self, start: np.ndarray) -> tuple[float, np.ndarray]:
        from scipy.optimize import minimize

        options = {"maxiter": _STEPS, "maxfun": 2 * _STEPS, "ftol": _TOLERANCE, "gtol": 1e-6, "maxcor": 20}
        end: Any = minimize(self, start, jac=True, method="L-BFGS-B", options=options)
        return float(end.fun), end.x

    def coordinates(self, law: Law) -> np.ndarray:
        n, d = self.centers
        with np.errstate(divide="ignore"):
            e, a, b = np.maximum(np.log([law.e, law.a, law.b]), -700)
        return np.array([e, a - law.alpha * n, b - law.beta * d, law.alpha, law.beta])

    def law(self, x: np.ndarray) -> Law:
        e, a, b, alpha, beta = map(float, x)
        n, d = self.centers
        return Law(math.exp(e), _exp(a + alpha * n), _exp(b + beta * d), alpha, beta)


def _exp(value: float) -> float:
    """Returns exp(value), infinite instead of an error."""
    return math.exp(value) if value < 709 else math.inf
