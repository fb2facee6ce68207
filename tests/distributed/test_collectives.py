"""Golden files of the collectives in a compiled step, per recipe family and mesh.

XLA must not replicate an array to reshard it (involuntary full rematerialization). Additional collectives make a step
slower on many devices. To accept a change, run

  JAXDL_UPDATE_GOLDEN=1 python -m pytest tests/distributed/test_collectives.py

and review the diff.
"""

import dataclasses
from importlib.metadata import version

import jax
import jax.numpy as jnp
import pytest
from goldens import golden
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxdl.config.experiment import build
from jaxdl.config.recipes import load_recipe
from jaxdl.distributed.cost_model import collectives
from jaxdl.distributed.mesh import Parallel
from jaxdl.testing import tiny
from jaxdl.training.loop import make_program
from jaxdl.training.sources import load_sources

FAMILIES = (
    "experiments/cnn/fashion_mnist.py",
    "experiments/rnn/austen_chars.py",
    "experiments/autoencoder/fashion_vae.py",
    "experiments/gan/celeba.py",
    "experiments/diffusion/fashion_ddpm.py",
    "experiments/transformer/austen_gpt.py",
)
MESHES = {
    "data": {"data": 8},
    "fsdp": {"fsdp": 8},
    "tensor": {"data": 2, "tensor": 4},
    "all": {"data": 2, "fsdp": 2, "tensor": 2},
}
WARNING = "Involuntary full rematerialization"
JAXLIB = "0.10."  # other compilers insert other collectives


@pytest.fixture
def without_compilation_cache():
    """Disables the compilation cache: XLA warns during compilation only."""
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


@pytest.mark.skipif(not version("jaxlib").startswith(JAXLIB), reason=f"recorded with jaxlib {JAXLIB}*")
@pytest.mark.parametrize("recipe", FAMILIES)
def test_collectives_match_the_golden_file(recipe, without_compilation_cache, capfd):
    experiment = build(tiny(load_recipe(recipe)))
    sources, lines = load_sources(experiment.data), []
    for name, mesh in MESHES.items():
        program = make_program(dataclasses.replace(experiment, parallel=Parallel(mesh=mesh)), sources)
        traffic = collectives(program.compiled.as_text() or "")
        counts = ", ".join(f"{kind} {number} ({size / 1e3:,.0f} kB)" for kind, (number, size) in traffic.items())
        lines.append(f"{name}: {counts}")
        assert WARNING not in capfd.readouterr().err, name
    golden(recipe, "collectives", "\n".join(lines) + "\n")


def test_a_forced_rematerialization_is_reported(without_compilation_cache, capfd):
    mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(AxisType.Auto,) * 2)

    def split(x):
        four = jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(None, "b"))).reshape(8, 2, 2, 8)
        return jax.lax.with_sharding_constraint(four, NamedSharding(mesh, PartitionSpec(None, None, None, "b")))

    jax.jit(split).lower(jax.ShapeDtypeStruct((8, 32), jnp.float32)).compile()
    assert WARNING in capfd.readouterr().err
