"""Symbols that a saved configuration may use without trust, see `jaxdl.config.trust`.

None of them can do harm, whatever its arguments: it computes, reads files or stores its arguments. Functions that
write, download or run anything are not among them, and neither are whole packages.
"""

import dataclasses
import importlib
import inspect
from typing import Any

# Classes of jaxdl: every public dataclass that is defined in these modules and packages. Its construction stores
# arguments. Flax modules and tasks are dataclasses. `jaxdl.data.store` and `jaxdl.data.builders` prepare data and are
# left out.
CLASSES = (
    "jaxdl.config.experiment",
    "jaxdl.data.audio",
    "jaxdl.data.bank",
    "jaxdl.data.dataset",
    "jaxdl.data.formats",
    "jaxdl.data.image",
    "jaxdl.data.series",
    "jaxdl.data.synthetic",
    "jaxdl.data.text",
    "jaxdl.data.video",
    "jaxdl.decoding",
    "jaxdl.distributed.mesh",
    "jaxdl.features",
    "jaxdl.interop.huggingface.resnet",
    "jaxdl.interop.huggingface.transformers",
    "jaxdl.metrics",
    "jaxdl.models",
    "jaxdl.tasks",
    "jaxdl.testing.sizes",
    "jaxdl.training.checkpoint",
    "jaxdl.training.spikes",
)

# Functions of jaxdl: every public function that is defined in these modules and packages, which perform no I/O.
FUNCTIONS = (
    "jaxdl.decoding",
    "jaxdl.metrics",
    "jaxdl.models",
    "jaxdl.tasks",
    "jaxdl.training.by_path",
    "jaxdl.training.optimizers",
)

_DTYPES = """bfloat16 bool bool_ complex64 complex128 float8_e4m3fn float8_e5m2 float16 float32 float64 int4 int8
    int16 int32 int64 uint4 uint8 uint16 uint32 uint64"""
_FLAX = """BatchNorm Bidirectional Conv ConvLSTMCell ConvLocal ConvTranspose Dense DenseGeneral Dropout Einsum Embed
    GRUCell GroupNorm InstanceNorm LSTMCell LayerNorm MGUCell MultiHeadAttention MultiHeadDotProductAttention
    OptimizedLSTMCell PReLU RMSNorm RNN SelfAttention Sequential SimpleCell SpectralNorm WeightNorm avg_pool
    dot_product_attention max_pool ones_init pool zeros_init"""
_FLAX_MODULES = "activation attention combinators initializers linear normalization pooling recurrent stochastic"
_OPTAX = """MultiSteps acprop adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan adaptive_grad_clip
    add_decayed_weights add_noise ademamix adopt amsgrad apply_every apply_if_finite centralize chain clip
    clip_by_block_rms clip_by_global_norm cocob conditionally_mask conditionally_transform constant_schedule
    cosine_decay_schedule cosine_onecycle_schedule dadapt_adamw dog dowg ema exponential_decay flatten freeze
    fromage galore identity inject_hyperparams inject_stateful_hyperparams join_schedules keep_params_nonnegative
    lamb lars lbfgs linear_onecycle_schedule linear_schedule lion lookahead madgrad masked mechanize momo momo_adam
    muon named_chain noisy_sgd normalize normalize_by_update_norm novograd optimistic_adam optimistic_adam_v2
    optimistic_gradient_descent partition piecewise_constant_schedule piecewise_interpolate_schedule polyak_sgd
    polynomial_schedule prodigy radam reduce_on_plateau rmsprop rprop sam scale scale_by_acprop scale_by_adadelta
    scale_by_adam scale_by_adamax scale_by_adan scale_by_ademamix scale_by_adopt scale_by_amsgrad scale_by_belief
    scale_by_cocob scale_by_distance_over_gradients scale_by_factored_rms scale_by_galore scale_by_learning_rate
    scale_by_lion scale_by_madgrad scale_by_muon scale_by_novograd scale_by_optimistic_gradient
    scale_by_param_block_norm scale_by_param_block_rms scale_by_polyak scale_by_radam scale_by_rms scale_by_rprop
    scale_by_rss scale_by_schedule scale_by_sign scale_by_simplified_ademamix scale_by_sm3 scale_by_stddev
    scale_by_trust_ratio scale_by_yogi schedule_free schedule_free_adamw schedule_free_sgd selective_transform
    set_to_zero sgd sgdr_schedule sign_sgd signum simplified_ademamix skip_large_updates skip_not_finite sm3 sophia
    split_real_and_imaginary stateless stateless_with_tree_map trace unitwise_clip unitwise_norm
    warmup_constant_schedule warmup_cosine_decay_schedule warmup_exponential_decay_schedule yogi zero_nans
    binary_dice_loss cosine_distance dice_loss hinge_loss huber_loss kl_divergence l2_loss log_cosh
    poly_loss_cross_entropy sigmoid_binary_cross_entropy sigmoid_focal_loss softmax_cross_entropy
    softmax_cross_entropy_with_integer_labels squared_error"""
_OPTAX_MODULES = ("optax", "optax.contrib", "optax.losses", "optax.schedules", "optax.transforms")

# Symbols of other packages, {module: names}.
LISTED = {
    "builtins": "bool bytes complex dict float frozenset int list set slice str tuple",
    "fiddle": "ArgFactory Config Partial",
    "fiddle.config": "ArgFactory BuildableTraverserMetadata Config NoValue Partial",
    "numpy": f"dtype {_DTYPES}",
    "jax.numpy": f"{_DTYPES} abs cos exp expm1 log log1p max mean min sign sin sqrt square sum tanh",
    "jax.lax": "Precision.DEFAULT Precision.HIGH Precision.HIGHEST erf logistic rsqrt tanh",
    "jax.nn": """celu dot_product_attention elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh identity
        leaky_relu log_sigmoid log_softmax logsumexp mish one_hot relu relu6 selu sigmoid silu soft_sign softmax
        softplus sparse_plus sparse_sigmoid squareplus standardize swish tanh""",
    "jax.nn.initializers": """constant delta_orthogonal glorot_normal glorot_uniform he_normal he_uniform
        kaiming_normal kaiming_uniform lecun_normal lecun_uniform normal ones orthogonal truncated_normal uniform
        variance_scaling xavier_normal xavier_uniform zeros""",
    **{f"flax.linen.{module}": _FLAX for module in _FLAX_MODULES.split()},
    **dict.fromkeys(_OPTAX_MODULES, _OPTAX),
}


def is_listed(module: str, name: str) -> bool:
    """Returns whether a symbol may be used without trust. Only modules of jaxdl are imported.

    A name of jaxdl that no longer exists counts as listed: loading the configuration reports it.
    """
    if name in LISTED.get(module, "").split():
        return True
    classes, functions = _within(module, CLASSES), _within(module, FUNCTIONS)
    words = [*module.split("."), name]
    if not (classes or functions) or name.startswith("_") or not all(word.isidentifier() for word in words):
        return False
    try:
        value: Any = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        value = None
    if value is None:
        return True
    defined = (getattr(value, "__module__", ""), getattr(value, "__qualname__", "")) == (module, name)
    if isinstance(value, type):
        return defined and classes and dataclasses.is_dataclass(value)
    return defined and functions and inspect.isfunction(value)


def _within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
