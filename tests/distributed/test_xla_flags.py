"""XLA flags by hardware: set only where the user has not set them, printed by `show`, and in the manifest."""

from importlib.metadata import PackageNotFoundError

import pytest

from jaxdl.commands.cli import main
from jaxdl.commands.show import describe_run
from jaxdl.compatibility import accepted_libtpu_flags
from jaxdl.config.recipes import repository_root
from jaxdl.distributed import xla_flags
from jaxdl.runs.environment import compiler_flags
from jaxdl.runs.folder import RunFolder
from jaxdl.runs.manifest import describe_devices, start_manifest

OVERLAP = "--xla_gpu_enable_latency_hiding_scheduler"


@pytest.mark.parametrize(
    ("gpus", "several", "expected"),
    [("", True, False), ("0", False, False), ("0", True, True), ("0,1", False, True)],
)
def test_collectives_overlap_on_several_gpus(monkeypatch, gpus, several, expected):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert (f"{OVERLAP}=true" in xla_flags.for_gpus(several)) is expected
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert xla_flags.for_gpus(several) == ()


def test_flags_of_the_user_are_kept():
    wanted = [f"{OVERLAP}=true", "--xla_other=1"]
    assert xla_flags.absent(wanted, f"--xla_a=1 {OVERLAP}=false") == ["--xla_other=1"]
    assert xla_flags.absent(wanted, f"{OVERLAP}_more=1") == wanted


def test_show_prints_the_flags_of_a_training(monkeypatch, capsys):
    monkeypatch.chdir(repository_root())
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert main(["show", "--config=tests/survivor.py"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f" {OVERLAP}=true")
    assert OVERLAP not in compiler_flags()["XLA_FLAGS"]  # which runs of a sweep would inherit


def test_the_manifest_and_show_have_the_flags_of_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_tpu_a=1")
    devices = describe_devices()
    assert devices["LIBTPU_INIT_ARGS"] == "--xla_tpu_a=1"
    with RunFolder(tmp_path) as folder:
        folder.write_config("{}", "seed = 3\x1b[2J\n")
        start_manifest(folder, {})
    assert describe_run(str(tmp_path)).startswith("seed = 3\\x1b[2J\n")
    assert f"\nXLA_FLAGS: {devices['XLA_FLAGS']}\nLIBTPU_INIT_ARGS: --xla_tpu_a=1\n" in describe_run(str(tmp_path))


def test_flags_of_libtpu_are_probed_only_where_it_is_installed(tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("jaxdl.compatibility.version", missing)
    assert accepted_libtpu_flags(xla_flags.for_tpus(), tmp_path) == []
    assert not list(tmp_path.iterdir())
