"""`jaxdl.compatibility` against the installed version of JAX, and for other versions."""

import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from fakes import regression_experiment

from jaxdl.compatibility import accepted_xla_flags, backends_initialized, inner_jaxprs, scan_arguments
from jaxdl.training.loop import make_program
from jaxdl.training.sources import load_sources

KNOWN, UNKNOWN = "--xla_gpu_deterministic_ops=true", "--xla_flag_of_another_version=1"


def test_flags_unknown_to_xla_are_omitted_in_any_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jax.py").write_text("raise SystemExit(3)")
    assert accepted_xla_flags([KNOWN, UNKNOWN], tmp_path / "cache") == [KNOWN]


def test_an_unknown_flag_would_abort(tmp_path):
    program = f"import os; os.environ['XLA_FLAGS'] = '{UNKNOWN}'; import jax; jax.devices()"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode != 0


def test_flags_are_probed_once(tmp_path):
    accepted_xla_flags([KNOWN, UNKNOWN], tmp_path)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text()) == {KNOWN: True, UNKNOWN: False}
    file.write_text(json.dumps({KNOWN: False, UNKNOWN: True}))
    assert accepted_xla_flags([KNOWN, UNKNOWN], tmp_path) == [UNKNOWN]


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_cache_is_probed_again(tmp_path, content):
    accepted_xla_flags([KNOWN], tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(content)
    assert accepted_xla_flags([KNOWN, UNKNOWN], tmp_path) == [KNOWN]


def test_an_unwritable_cache_is_ignored(tmp_path):
    (tmp_path / "file").touch()
    assert accepted_xla_flags([KNOWN], tmp_path / "file" / "folder") == [KNOWN]


def test_backends_are_initialized_by_their_first_use():
    program = "import jax; from jaxdl.compatibility import backends_initialized as initialized; before = initialized()"
    program += "; jax.devices(); print(before, initialized())"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["False", "True"]
    jax.devices()
    assert backends_initialized()


def scan_equation():
    def body(carry, x):
        return (carry[0] @ kernel, carry[1] + 1), carry[0].sum() + x

    kernel = jnp.ones((3, 3))
    traced = jax.jit(lambda carry, xs: jax.lax.scan(body, carry, xs)).trace((jnp.ones((2, 3)), 0), jnp.ones(5))
    (equation,) = [operation for operation in traced.jaxpr.eqns if operation.primitive.name == "scan"]
    return equation


def test_arguments_of_a_scan_are_separated():
    equation = scan_equation()
    constants, carry = scan_arguments(equation.params)
    assert (constants, carry) == (1, 2)
    assert [var.aval.shape for var in equation.invars] == [(3, 3), (2, 3), (), (5,)]


def test_arguments_of_a_scan_are_separated_in_every_version():
    tree = SimpleNamespace(unpack=lambda: ((None,), (None, None), (None,)))
    assert scan_arguments({"ft_in": tree}) == (1, 2)  # JAX 0.11 and later
    assert scan_arguments({"num_consts": 1, "num_carry": 2}) == (1, 2)  # JAX 0.10


def test_inner_jaxprs_have_equations():
    (inner,) = inner_jaxprs(scan_equation().params)
    assert "dot_general" in [equation.primitive.name for equation in inner.eqns]
    traced = jax.jit(jax.jit(jnp.sin)).trace(1.0)
    (inner,) = inner_jaxprs(traced.jaxpr.eqns[0].params)
    assert [equation.primitive.name for equation in inner.eqns] == ["sin"]


def test_uncountable_operations_do_not_abort_a_run(monkeypatch):
    def unknown(jaxpr):
        raise KeyError("num_consts")

    lines = []
    monkeypatch.setattr("jaxdl.training.compiled.traced_flops", unknown)
    monkeypatch.setattr("jaxdl.training.compiled.logging.warning", lambda text, *values: lines.append(text % values))
    program = make_program(regression_experiment(), load_sources(regression_experiment().data))
    assert program.compiled is not None
    assert program.flops is None
    assert lines == ["FLOPs and MFU are not reported: cannot count the step's operations (KeyError('num_consts'))"]
