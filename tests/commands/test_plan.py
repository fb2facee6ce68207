"""Plans: memory and compute per device against manual counts, and collective traffic."""

from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxdl.commands import plan, show
from jaxdl.config import resolve
from jaxdl.config.experiment import build
from jaxdl.distributed import hardware
from jaxdl.distributed.cost_model import Costs, collectives
from jaxdl.distributed.hardware import HARDWARE, target
from jaxdl.errors import UserError


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((8,), ("x",), axis_types=(AxisType.Auto,))


def compiled(mesh, function, *specs):
    placed = [(shape, NamedSharding(mesh, PartitionSpec(*spec))) for shape, spec in specs]
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding) for shape, sharding in placed]
    with jax.set_mesh(mesh):
        return jax.jit(function).lower(*shapes).compile().as_text() or ""


def test_collectives_are_counted_with_their_bytes(mesh):
    text = compiled(mesh, lambda x: jnp.sum(x, axis=0), ((64, 32), ("x",)))
    assert collectives(text) == {"all-reduce": (1, 2 * 4 * 32)}

    def gathered(x):
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec()))

    assert collectives(compiled(mesh, gathered, ((64, 32), ("x",)))) == {"all-gather": (1, 4 * 64 * 32)}


def test_collectives_in_a_loop_are_multiplied_by_its_iterations(mesh):
    def loop(x, kernels):
        def body(x, kernel):
            y = jax.lax.with_sharding_constraint(x @ kernel, NamedSharding(mesh, PartitionSpec(None, "x")))
            return jax.lax.with_sharding_constraint(jnp.tanh(y), NamedSharding(mesh, PartitionSpec())), None

        return jax.lax.scan(body, x, kernels)[0]

    text = compiled(mesh, loop, ((16, 64), ()), ((5, 64, 64), (None, None, "x")))
    number, size = collectives(text)["all-gather"]
    assert (number, size) == (5, 5 * 4 * 16 * 64)


def test_the_roofline_is_the_maximum_of_compute_and_memory_plus_links():
    needs = Costs(2e9, 4e9, 0, 0, 1e9, 8e9, 1e12, {"all-reduce": (3, 9e9), "all-gather": (1, 1e9)})
    seconds = needs.seconds(HARDWARE["h100"])
    assert seconds["compute"] == pytest.approx(1e12 / 989e12)
    assert seconds["memory"] == pytest.approx(14e9 / 3352.32e9)
    assert seconds["links"] == pytest.approx(10e9 / 450e9)
    small_plan = plan.Plan("", {}, needs, HARDWARE["h100"], 0.0)
    assert small_plan.fits
    assert small_plan.step == pytest.approx(14e9 / 3352.32e9 + 10e9 / 450e9)
    assert not plan.Plan("", {}, needs, HARDWARE["cpu"], 0.0).step


def test_parameters_are_sharded_by_the_mesh(capsys):
    recipe = "experiments/transformer/austen_gpt.py"
    settings = [
        "task.model.stack.features=16",
        "task.model.stack.layers=2",
        "task.model.stack.heads=2",
        "length=16",
        "data.batch_size=16",
        "task.model.ngrams=()",
    ]
    replicated = plan.run(recipe, settings, "cpu:8", shape="1,1,1")[0]
    cut = plan.run(recipe, [*settings, "parallel.mesh={'data':1,'fsdp':8,'tensor':1}"], "cpu:8", shape="1,1,1")[0]
    output = capsys.readouterr().out
    assert "parameters" in output
    assert "all-gather" in output
    assert cut.costs.parameters < replicated.costs.parameters / 4
    assert cut.costs.optimizer < replicated.costs.optimizer / 4
    assert replicated.costs.parameters < replicated.costs.optimizer < 2.1 * replicated.costs.parameters
    assert replicated.costs.flops == pytest.approx(cut.costs.flops)
    number, size = replicated.costs.traffic["all-reduce"]
    assert size >= 2 * replicated.costs.parameters
    assert number >= 1
    assert replicated.costs.peak > replicated.costs.parameters + replicated.costs.optimizer


@pytest.mark.slow
def test_a_search_sorts_by_fit_and_step_time(capsys, monkeypatch):
    small = HARDWARE["cpu"].__class__("cpu", "cpu", 1e12, 300e3, 1e11, 1e10)
    monkeypatch.setitem(HARDWARE, "cpu", small)
    monkeypatch.setattr(plan, "_MOST", 4)
    recipe = "experiments/cnn/digits.py"
    plans = plan.run(recipe, ["task.model.channels=(8,16)", "data.batch_size=16"], "cpu:8", shape="8,8,1", search=True)
    assert len(plans) == 4
    assert plans[0].fits
    assert [candidate.fits for candidate in plans] == sorted((candidate.fits for candidate in plans), reverse=True)
    steps = [candidate.step or 0.0 for candidate in plans if candidate.fits]
    assert steps == sorted(steps)
    tiny = small.__class__("cpu", "cpu", 1e12, 10.0, 1e11, 1e10)
    monkeypatch.setitem(HARDWARE, "cpu", tiny)
    with pytest.raises(UserError, match=r"it does not fit: .* GiB too much on each device"):
        plan.run(recipe, ["task.model.channels=(8,16)"], "cpu:8", shape="8,8,1")
    assert "DOES NOT FIT" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("v5e", "--topology=v5e is not of the form KIND:SHAPE"),
        ("v9:2", "'v9' is unknown; .*names that exist"),
        ("cpu:5", "differs from the 8 CPU devices; add --cpu_devices=5"),
        ("cpu:2x2", "CPUs have no shape; write cpu:8"),
    ],
)
def test_invalid_topologies_are_refused(topology, message):
    with pytest.raises(UserError, match=message):
        target(topology)


@pytest.mark.parametrize(
    ("text", "package", "extra"), [("v5e:2x2", "libtpu", "tpu"), ("h100:1x8", "jax-cuda13-plugin", "cuda")]
)
def test_a_missing_compiler_plugin_is_reported(monkeypatch, text, package, extra):
    def absent(*_, **__):
        raise RuntimeError("no such platform")

    monkeypatch.setattr(topologies, "get_topology_desc", absent)
    monkeypatch.setattr(hardware, "version", lambda name: metadata.version(f"no-{name}"))
    with pytest.raises(UserError, match=rf"--topology={text} needs {package}.* pip install -e '\.\[{extra}\]'"):
        target(text)
    monkeypatch.setattr(hardware, "version", lambda name: "1.0")
    with pytest.raises(UserError, match=f"--topology={text} cannot be compiled for: no such platform"):
        target(text)


def has(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


@pytest.mark.parametrize(
    ("text", "package", "devices"), [("v5e:2x4", "libtpu", 8), ("h100:2x8", "jax-cuda13-plugin", 16)]
)
def test_absent_hardware_is_planned(capsys, monkeypatch, text, package, devices):
    if not has(package):
        pytest.skip(f"{package} is not installed")
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # libtpu aborts on CPU flags
    settings = [
        "task.model.stack.features=32",
        "task.model.stack.layers=1",
        "task.model.stack.heads=2",
        "length=128",
        "data.batch_size=16",
        "task.model.ngrams=()",
    ]
    remote_plan = plan.run("experiments/transformer/austen_gpt.py", settings, text, shape="1,1,1")[0]
    assert remote_plan.mesh["data"] == devices
    assert remote_plan.costs.traffic["all-reduce"][1] > 0
    assert remote_plan.step is not None
    assert "fits" in capsys.readouterr().out


def test_show_prints_shardings(capsys):
    settings = [
        "task.model.stack.features=16",
        "task.model.stack.layers=1",
        "task.model.stack.heads=2",
        "length=16",
        "task.model.ngrams=()",
    ]
    settings += ["parallel.mesh={'data':2,'fsdp':2,'tensor':2}"]
    show.show("experiments/transformer/austen_gpt.py", settings, "cpu:8", shape="1,1,1")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("on 8 device(s), mesh data=2 fsdp=2 tensor=2")
    cells = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[2:-1]}
    assert cells["language_model/stack/block_0/feed_forward/in/kernel"] == "16 x 64 fsdp, tensor 8 x 32"
    assert "4,576 of them on one device (25.3%)" in lines[-1]


def test_compiler_errors_are_reported(monkeypatch, capsys):
    def refuses(program):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory, 112G exceed 15.75G.\nMore."
        )

    monkeypatch.setattr(plan, "costs", refuses)
    monkeypatch.setattr(plan, "_MOST", 2)
    arguments = ("experiments/cnn/digits.py", [], "cpu:8", "8,8,1")
    with pytest.raises(UserError, match=r"it does not fit: Ran out of memory, 112G exceed 15.75G\. Try --search"):
        plan.run(*arguments)
    with pytest.raises(UserError, match=r"no configuration of .*digits\.py can be compiled for cpu:8"):
        plan.run(*arguments, search=True)
    assert capsys.readouterr().out.count("it does not fit: Ran out of memory") == 2
    assert plan.compiler_error("INTERNAL: partitioner: Traceback\n  File x\nIndivisibleError: 4 by 8\n[...]") == (
        "it cannot be compiled: IndivisibleError: 4 by 8"
    )
    assert plan.compiler_error("INTERNAL: no such thing") == "it cannot be compiled: INTERNAL: no such thing"


def test_an_invalid_shape_is_refused():
    with pytest.raises(UserError, match="--shape=big is not a shape"):
        plan.run("experiments/cnn/digits.py", [], "cpu:8", shape="big")
    assert np.prod(jax.device_count()) == 8


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("cnn/digits", set()),
        ("transformer/austen_gpt", {"task.model.stack.remat='nothing'", "task.model.stack.remat='all'"}),
        ("transformer/gpt2_124m", {"task.model.remat='nothing'", "task.model.remat='all'"}),
        ("diffusion/imagenet_dit_xl2", {"task.network.remat=False", "task.network.remat=True"}),
    ],
)
def test_search_candidates_are_valid_settings(recipe, expected, monkeypatch):
    monkeypatch.setattr(plan, "_MOST", 1000)
    config = resolve(f"experiments/{recipe}.py", [])
    tried = {setting for candidate in plan.candidates(config, 8) for setting in candidate}
    remats = {setting for setting in tried if "remat" in setting}
    assert expected <= remats
    assert bool(expected) == bool(remats)
    assert "accumulate=4" in tried
    for setting in tried:
        build(resolve(f"experiments/{recipe}.py", [setting]))
