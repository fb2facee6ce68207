"""Files beside a model with which transformers reads its inputs and decodes its outputs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.models.resnet import ResNet

PREPROCESSOR, GENERATION = "preprocessor_config.json", "generation_config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

# Weights of red, green and blue in Pillow's conversion to grey (ITU-R 601-2).
_LUMA = np.array([19595, 38470, 7471], np.float64) / 65536

_BILINEAR, _BICUBIC = 2, 3  # values of PIL.Image.Resampling


def preprocessor_config(
    steps: Sequence[Mapping[str, Any]], mean: float | Sequence[float], std: float | Sequence[float]
) -> dict[str, Any] | None:
    """Returns preprocessor_config.json, or None if transformers has no equivalent.

    Center crops of a size that is not square change the aspect in transformers.

    Args:
      steps: Steps of `jaxdl.data.image.preprocessing.ImagePreprocessing.describe`.
      mean: Mean of the pixels in [0, 1], one value or one per channel.
      std: Standard deviation of the pixels in [0, 1], one value or one per channel.
    """
    if len(steps) != 1 or not set(steps[0]) <= {"resize_crop", "crop"}:
        return None
    ((kind, (first, second)),) = steps[0].items()
    height, width = (second, second) if kind == "resize_crop" else (first, second)
    square = height == width
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": first} if square else {"height": height, "width": width},
        "resample": _BILINEAR if kind == "resize_crop" else _BICUBIC,
        "do_center_crop": square,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": _of_rgb(mean),
        "image_std": _of_rgb(std),
    }


def _of_rgb(values: float | Sequence[float]) -> list[float]:
    """Returns a value per channel; transformers reads grey images as RGB."""
    listed: list[float] = list(values) if isinstance(values, Sequence) else [values]
    return listed if len(listed) > 1 else listed * 3


def with_rgb_inputs(model: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of a classifier of grey images as one of RGB images, which transformers passes.

    The first kernel is linear in the grey value, which is a weighted sum of red, green and blue. Parameters of models
    with other channels are returned unchanged.

    Args:
      model: `ResNet` or `VisionTransformer`.
      params: Its parameters.
    """
    module, path = ("stem", ("conv", "kernel")) if isinstance(model, ResNet) else ("entry", ("kernel",))
    kernel = np.asarray(params[module]["conv"]["kernel"] if len(path) > 1 else params[module]["kernel"])
    pixels = kernel.shape[0] * kernel.shape[1] if kernel.ndim == 4 else model.patch**2
    if kernel.size != pixels * kernel.shape[-1]:
        return dict(params)
    colored = kernel.reshape(pixels, 1, -1) * _LUMA[None, :, None].astype(kernel.dtype)
    colored = colored.reshape(*kernel.shape[:2], 3, -1) if kernel.ndim == 4 else colored.reshape(3 * pixels, -1)
    inner = {"conv": {**params[module]["conv"], "kernel": colored}} if len(path) > 1 else {"kernel": colored}
    return {**params, module: {**params[module], **inner}}


def tokenizer_config(specials: Sequence[str], length: int | None, padding_side: str, masked: bool) -> dict[str, Any]:
    """Returns tokenizer_config.json, with which transformers uses tokenizer.json as it is.

    Args:
      specials: Padding, start, end and unknown token.
      length: Maximum number of tokens. None: unlimited.
      padding_side: "left" for models that continue a text, else "right".
      masked: BERT's names of the same tokens are added; a masked language model of jaxdl predicts <unknown> tokens.
    """
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), specials))
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **names,
        **(dict(zip(("cls_token", "sep_token", "mask_token"), specials[1:])) if masked else {}),
        "clean_up_tokenization_spaces": False,
        "padding_side": padding_side,
        "model_input_names": ["input_ids", "attention_mask"],
        **({} if length is None else {"model_max_length": length}),
    }


def with_template(tokenizer: str, specials: Sequence[str], start: bool, end: bool) -> str:
    """Returns tokenizer.json with a post-processor that encloses each text in its start or end token.

    Args:
      tokenizer: tokenizer.json whose ids 0 to 3 are `specials`.
      specials: Padding, start, end and unknown token.
      start, end: Whether to add the start and the end token.
    """
    pieces: list[dict[str, Any]] = [{"Sequence": {"id": "A", "type_id": 0}}]
    pieces = [{"SpecialToken": {"id": specials[1], "type_id": 0}}] * start + pieces
    pieces = pieces + [{"SpecialToken": {"id": specials[2], "type_id": 0}}] * end
    second = [{"Sequence": {"id": "B", "type_id": 1}}, *[{"SpecialToken": {"id": specials[2], "type_id": 1}}] * end]
    tokens = {name: {"id": name, "ids": [number], "tokens": [name]} for number, name in enumerate(specials)}
    template = {"type": "TemplateProcessing", "single": pieces, "pair": pieces + second, "special_tokens": tokens}
    return json.dumps({**json.loads(tokenizer), "post_processor": template}, ensure_ascii=False) + "\n"
