"""Accelerator table: peaks by device kind, and topologies of `plan`."""

import os

import jax.numpy as jnp
import pytest
from jax._src import hardware_utils

from jaxdl.distributed.hardware import HARDWARE, peak_flops, target
from jaxdl.errors import UserError
from jaxdl.runs.environment import configure


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Tesla V100-PCIE-32GB", "v100-pcie"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 5090", "rtx5090"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H100 NVL", "h100-nvl"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GB200", "gb200"),
        ("AMD Instinct MI300X", "mi300x"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("TPU7x", "v7x"),
    ],
)
def test_each_device_kind_has_the_peaks_of_one_row(kind, name):
    row = HARDWARE[name]
    assert peak_flops(kind) == row.flops
    assert peak_flops(kind, "float16") == row.float16
    assert peak_flops(kind, jnp.float32) == row.float32


def test_peaks_match_the_data_sheets():
    assert peak_flops("NVIDIA H100 80GB HBM3", jnp.bfloat16) == 989e12
    assert peak_flops("NVIDIA A100-SXM4-40GB", "float32") == 156e12
    assert peak_flops("Tesla V100-SXM2-16GB", "float16") == 125e12
    assert peak_flops("TPU7x") == 2307e12 / 2
    assert peak_flops("NVIDIA B200") == 2.25e15
    assert peak_flops("NVIDIA GB200", "float32") == 1.25e15


@pytest.mark.parametrize(
    "kind",
    [
        "cpu",
        "NVIDIA L40",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "TPU v9",
        "NVIDIA H100 MIG 1g",
    ],
)
def test_unknown_devices_have_no_peak(kind):
    assert peak_flops(kind) is None


def test_unsupported_dtypes_have_no_peak():
    assert peak_flops("Tesla V100-SXM2-16GB", "bfloat16") is None
    assert peak_flops("TPU v4", "float16") is None
    assert peak_flops("TPU v4", "float64") is None


@pytest.mark.parametrize("name", ["b200", "mi300x", "rtx4090", "v4"])
def test_a_topology_without_a_target_description_is_refused(name):
    with pytest.raises(UserError, match=rf"no target description of '{name}' for XLA; use cpu, v5e, .*h200$"):
        target(f"{name}:1x8")


def test_libtpu_is_configured_where_no_tpu_is_found(monkeypatch):
    names = ("TPU_ACCELERATOR_TYPE", "TPU_WORKER_HOSTNAMES", "ALLOW_MULTIPLE_LIBTPU_LOAD")
    for name in (*names, "TPU_SKIP_MDS_QUERY", "XLA_FLAGS"):
        monkeypatch.setenv(name, os.environ.get(name, "true"))  # restored after the test
    for name in names:
        monkeypatch.delenv(name)
    monkeypatch.setattr(hardware_utils, "num_available_tpu_chips_and_device_id", lambda: (4, None))
    configure()
    assert not set(names) & set(os.environ)
    monkeypatch.setattr(hardware_utils, "num_available_tpu_chips_and_device_id", lambda: (0, None))
    configure()
    assert [os.environ[name] for name in names] == ["v5litepod-1", "localhost", "1"]
