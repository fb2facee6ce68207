"""Ranges of numeric arguments, checked for every call of a configuration before anything is built.

An argument's range follows from its name, which means the same in all of jaxdl; `_OF_CLASS` lists the exceptions. The
table applies to functions and classes of jaxdl only. Others state a range in the annotation:
`width: Annotated[int, Range(1)]`.
"""

import math
import typing
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple

import fiddle as fdl

from jaxdl.config.annotations import annotation_of, describe, fit
from jaxdl.config.settings import as_config, join
from jaxdl.errors import UserError

_INT32 = 2**31 - 1


class Range(NamedTuple):
    """Interval of finite numbers; infinite bounds are none.

    Attributes:
      low: Lower bound.
      high: Upper bound.
      without_low: Whether the lower bound is excluded.
      without_high: Whether the upper bound is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def __contains__(self, value: Any) -> bool:
        try:
            finite = math.isfinite(value)
        except OverflowError:  # an int beyond floats
            finite = False
        if not finite:
            return False
        above = value > self.low if self.without_low else value >= self.low
        return above and (value < self.high if self.without_high else value <= self.high)

    def __str__(self) -> str:
        low = f"{'above' if self.without_low else 'at least'} {self.low:.12g}" if self.low > -math.inf else ""
        high = f"{'below' if self.without_high else 'at most'} {self.high:.12g}" if self.high < math.inf else ""
        return " and ".join(filter(None, (low, high))) or "a finite number"

    def expected(self, value: Any) -> str:
        """Returns the range as text, without a bound that only numbers above int32 exceed, unless `value` does."""
        return str(self if value > self.high or self.high < _INT32 else self._replace(high=math.inf))


FINITE, NATURAL, POSITIVE = Range(), Range(0), Range(0, without_low=True)
COUNT = Range(1, _INT32)  # sizes and steps are int32 in JAX
DEPTH = Range(1, 10_000)  # each of them is traced
FRACTION, SHARE = Range(0, 1), Range(0, 1, without_low=True)
RATE = Range(0, 1, without_high=True)  # of dropout, of moments
INSIDE = Range(0, 1, without_low=True, without_high=True)
SEED = Range(0, 2**32 - 1)

_NAMES = {
    COUNT: (
        "accumulate batch_size beam bound_samples buckets candidates channels characters code codes count"
        " critic_steps embedding ensemble eval_batch_size eval_every every examples expansion experts_per_token factor"
        " farthest features frequencies group_size groups head_size heads height hidden horizon kernel kv_heads"
        " latents latest length letters limit lines log_every longest max_centers max_length mels memory"
        " new_tokens ngrams num_classes objects order outputs patch penalty_every period resize rows samples"
        " save_every season shape size slots source_length steps stride target_length top vocabulary width widths"
        " words"
    ),
    NATURAL: (
        "adam_learning_rate best beta beta_max beta_min box_loss chunk classes clip_norm commitment cycle degrees"
        " cases dice eps epsilon experts final free_bits frequency_masks frequency_width frozen_stages gamma guidance"
        " guidance_interval header heatmap_loss hold identity init_std interpolate joins lags language_weight"
        " layer_scale"
        " learning_rate length_penalty linear lora min_pixels min_std noise offset_loss padding penalty"
        " penalty_weight pool scales shear step temperature threads time_masks time_width top_k translate"
        " types warmup weight_decay window workers"
    ),
    DEPTH: "depth digits layers stage_sizes",
    Range(0, 10_000): "blocks extra_levels halvings head_depth levels",
    POSITIVE: (
        "alpha aspect center_radius fastest floor hop offset_scale peak periods ratio reach renoise_sigma"
        " save_minutes"
        " repetition_penalty rho rotary_base scale seconds sigma sigma_data sigma_max sigma_min slowest std"
    ),
    FRACTION: (
        "brightness contrast drop_label edit first inpaint iou_threshold last probability rotary saturation"
        " score_threshold start stop threshold time_share"
    ),
    SHARE: "area share top_p",
    RATE: "b1 b2 dropout label_smoothing least momentum patch_dropout skip_limit stochastic_depth word_dropout",
    INSIDE: "calibration decay ema quantile quantiles",
    SEED: "seed",
}
_BY_NAME = {name: bounds for bounds, names in _NAMES.items() for name in names.split()}

_OF_CLASS = {
    "muon.beta": RATE,
    "Dataset.scale": FINITE,
    "Coco.scale": FINITE,
    "Experts.rate": NATURAL,
    "LadderVAE.latents": NATURAL,
    "Linear.beta_max": Range(0, 500),  # exp(beta) is computed
    "Linear.beta_min": Range(0, 500),
    "MissingPixels.missing": Range(0, 255),
    "MissingRectangles.missing": Range(0, 255),
    "MockSpeech.rate": COUNT,
    "RandomResizedCrop.scale": SHARE,
    "RectifiedFlow.shift": POSITIVE,
    **{f"Seeds.{name}": SEED for name in ("init", "order", "augment", "noise")},
    "Series.scales": FINITE,  # (offset, scale) of each covariate
    "Series.start": NATURAL,  # a fraction, or a row
    "Series.stop": NATURAL,
    "Speech.rate": COUNT,
    "Speech.window": POSITIVE,
    "SpeechRecognition.beam": NATURAL,
    "Spikes.deviations": POSITIVE,
    "Spikes.window": Range(2, 100_000),
    "TokenFile.shift": NATURAL,
    "TokenFile.vocabulary": NATURAL,
    "Windows.context": NATURAL,
    "Series.context": COUNT,
    "layer_decay.layers": Range(1, 10_000),
    "layer_decay.rate": SHARE,
    "power_average.width": Range(0, 12**-0.5, without_low=True, without_high=True),
}

_NONEMPTY = ("channels", "stage_sizes")  # one value per stage of a model
_MAY_BE_EMPTY = ("SpeechRecognizer.channels",)  # recurrent layers on all frames


def check(config: Any) -> None:
    """Checks the literal arguments of all calls in a configuration, and of objects in it: types and ranges.

    Raises:
      UserError: The first argument of another type or out of its range, with its path and what is expected.
    """
    for node, path in _calls(config, ""):
        function = fdl.get_callable(node)
        ours = getattr(function, "__module__", "").startswith("jaxdl.")
        for name, value in node.__arguments__.items():
            if not isinstance(name, str):
                continue
            where, annotation = join(path, name), annotation_of(function, name)
            typed = ours and annotation is not None and _is_literal(value)
            if typed and fit(value, annotation).ok is False:
                raise UserError(f"{where} is {value!r}; expected {describe(annotation)}")
            if ours and name in _NONEMPTY and _is_empty(function, name, value):
                raise UserError(f"{where} is {value!r}; expected at least one value")
            if (bounds := _range(function, name, annotation, ours)) is not None:
                _check_numbers(where, value, bounds)


def _calls(value: Any, path: str) -> Iterator[tuple[fdl.Buildable, str]]:
    """Yields every call in a configuration, the outermost first, with its path."""
    value = as_config(value)
    if isinstance(value, fdl.Buildable):
        yield value, path
        items: Any = value.__arguments__.items()
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return
    for name, item in items:
        yield from _calls(item, join(path, name))


def _range(function: Any, name: str, annotation: Any, ours: bool) -> Range | None:
    if typing.get_origin(annotation) is typing.Annotated:
        for bounds in typing.get_args(annotation)[1:]:
            if isinstance(bounds, Range):
                return bounds
    if not ours:
        return None
    return _OF_CLASS.get(f"{getattr(function, '__name__', '')}.{name}", _BY_NAME.get(name, FINITE))


def _is_empty(function: Any, name: str, value: Any) -> bool:
    return isinstance(value, (list, tuple)) and not value and f"{function.__name__}.{name}" not in _MAY_BE_EMPTY


def _check_numbers(path: str, value: Any, bounds: Range) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_numbers(join(path, name), item, bounds)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_numbers(join(path, index), item, bounds)
    elif isinstance(value, Real) and not isinstance(value, bool) and value not in bounds:
        raise UserError(f"{path} is {value}; expected {bounds.expected(value)}")


def _is_literal(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_literal, value))
    return value is None or isinstance(value, (bool, int, float, str))
