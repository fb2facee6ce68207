"""Profiles: kinds of operations, shares of the devices' time, and ranges of steps that are not traced."""

import jax.profiler
import pytest

from jaxdl.commands.cli import main
from jaxdl.config.recipes import repository_root
from jaxdl.errors import UserError
from jaxdl.runs.hlo import instructions, kind_of_name
from jaxdl.runs.profiles import summary_of
from jaxdl.training.profiler import Profiler, parse_range

HLO = """
HloModule jit_train_step

%region_0 (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  ROOT %add.1 = f32[] add(%a, %b)
}

%fused_computation (param_0: f32[8,8]) -> f32[8,8] {
  %param_0 = f32[8,8]{1,0:T(8,128)} parameter(0)
  %dot.7 = f32[8,8]{1,0} dot(%param_0, %param_0), metadata={op_name="jit(train_step)/transpose(jvp(Net))/layer1/dot"}
  ROOT %tanh.1 = f32[8,8]{1,0} tanh(%dot.7)
}

%fused_computation.1 (param_0.1: f32[8,8]) -> f32[8,8] {
  %param_0.1 = f32[8,8]{1,0} parameter(0)
  ROOT %transpose.1 = f32[8,8]{0,1} transpose(%param_0.1), dimensions={1,0}
}

ENTRY %main (p: f32[8,8]) -> (f32[8,8], f32[]) {
  %p = f32[8,8]{1,0} parameter(0), sharding={replicated}
  %dot_tanh_fusion = f32[8,8]{1,0} fusion(%p), kind=kOutput, calls=%fused_computation
  %fusion.2 = f32[8,8]{1,0} fusion(%p), kind=kLoop, calls=%fused_computation.1
  %while.1 = (s32[], /*index=1*/f32[8,8]{1,0}) while(%t), condition=%c, body=%region_0
  %custom-call.1 = (f32[8,8]{1,0}, s8[4]{0}) custom-call(%p, %p), custom_call_target="__cublas$gemm"
  %cudnn.1 = (f32[8,8]{1,0}, u8[0]{0}) custom-call(%p, %p), custom_call_target="__cudnn$convForward"
  %all-reduce-start = f32[8,8]{1,0} all-reduce-start(%p), to_apply=%region_0
  ROOT %reduce.1 = f32[] reduce(%p, %c0), dimensions={0,1}, to_apply=%region_0
}
"""


def test_kinds_of_operations_are_those_of_the_instructions_inside_of_fusions():
    kinds = {name: instruction.kind for name, instruction in instructions(HLO).items()}
    assert {
        "dot_tanh_fusion": "matmul",
        "fusion.2": "copies",
        "while.1": "other",
        "custom-call.1": "matmul",
        "cudnn.1": "convolution",
        "all-reduce-start": "collectives",
        "reduce.1": "other",
    }.items() <= kinds.items()
    assert instructions(HLO)["dot_tanh_fusion"].source == "transpose(jvp(Net))/layer1/dot (backward)"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "collectives"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", "matmul"),
        ("cudnn_infer_ampere_scudnn_winograd_128x128_ldg1", "convolution"),
        ("MemcpyD2H", "copies"),
        ("loop_convert_fusion", "other"),
    ],
)
def test_kernels_without_an_instruction_are_known_by_their_names(name, kind):
    assert kind_of_name(name) == kind


def plane(name, *lines):
    """Returns the text of a plane: lines of (operation, start and end in milliseconds, statistics by name)."""
    names = sorted({event[0] for _, events in lines for event in events})
    keys = sorted({key for _, events in lines for *_, stats in events for key in stats})
    text = "".join(
        f'event_metadata {{ key: {n} value {{ id: {n} name: "{one}" }} }}\n' for n, one in enumerate(names, 1)
    )
    text += "".join(
        f'stat_metadata {{ key: {n} value {{ id: {n} name: "{one}" }} }}\n' for n, one in enumerate(keys, 1)
    )
    for title, events in lines:
        rows = ""
        for event, start, end, stats in events:
            values = "".join(
                f"stats {{ metadata_id: {keys.index(key) + 1} "
                + (f'str_value: "{value}" }}' if isinstance(value, str) else f"int64_value: {value} }}")
                for key, value in stats.items()
            )
            times = f"offset_ps: {round(start * 1e9)} duration_ps: {round((end - start) * 1e9)}"
            rows += f"events {{ metadata_id: {names.index(event) + 1} {times} {values} }}\n"
        text += f'lines {{ name: "{title}" timestamp_ns: 0 {rows} }}\n'
    return f'planes {{ name: "{name}" {text} }}\n'


def summary(*planes):
    data = jax.profiler.ProfileData.text_proto_to_serialized_xspace("".join(planes))
    return summary_of(jax.profiler.ProfileData.from_serialized_xspace(data), HLO)


STEPS = ("python", [("step", 0, 10, {"step_num": 5}), ("step", 10, 30, {"step_num": 6}), ("data", 0, 2, {})])
PAUSE = ("main", [("evaluation", 20, 30, {})])


def test_shares_of_a_gpu_are_of_the_steps_without_evaluations():
    kernels = [
        ("sm90_gemm", 0, 8, {"hlo_op": "dot_tanh_fusion"}),
        ("ncclKernel", 8, 12, {"hlo_op": "all-reduce-start"}),
        ("sm90_gemm", 22, 28, {"hlo_op": "dot_tanh_fusion"}),  # of the evaluation
    ]
    copies = [("MemcpyH2D", 11, 13, {})]  # partly at the same time as the collective
    modules = [("jit_train_step", 0, 28, {})]
    gpu = plane("/device:GPU:0", ("Stream #7", kernels), ("Stream #9", copies), ("XLA Modules", modules))
    result = summary(plane("/host:CPU", STEPS, PAUSE), gpu)
    assert (result["seconds"], result["devices"]) == (pytest.approx(0.02), 1)
    busy = 13 / 20
    shares = {"matmul": busy * 8 / 14, "collectives": busy * 4 / 14, "copies": busy * 2 / 14, "idle": 1 - busy}
    assert result["shares"] == pytest.approx({"convolution": 0, "other": 0, **shares})
    assert result["activities"] == pytest.approx({"data": 0.002, "evaluation": 0.01, "save": 0})
    first = result["operations"][0]
    assert (first["name"], first["kind"], first["calls"]) == ("dot_tanh_fusion", "matmul", 1)


def test_operations_in_a_loop_are_counted_once_and_devices_of_a_cpu_are_separate():
    stats = [{"hlo_op": name, "device_ordinal": device} for device in (0, 1) for name in ("while.1", "custom-call.1")]
    threads = [
        ("t0", [("while.1", 0, 20, stats[0]), ("custom-call.1", 5, 15, stats[1])]),
        ("t1", [("custom-call.1", 0, 10, stats[3])]),
    ]
    result = summary(plane("/host:CPU", STEPS, PAUSE, *threads))
    assert result["devices"] == 2
    assert result["shares"] == pytest.approx(
        {"matmul": 0.5, "other": 0.25, "idle": 0.25, "convolution": 0, "collectives": 0, "copies": 0}
    )


def test_steps_that_are_done_are_not_traced(tmp_path):
    lines = []
    for start in (5, 7):
        with Profiler(4, 6, tmp_path / "trace", lambda *_: "summary", lines.append) as profiler:
            steps = profiler.steps(start, 8, wait=lambda: None, program=str)
            assert list(steps) == list(range(start + 1, 9))
    assert lines == [
        "--profile: traces steps 6 to 6 only, since step 5 is done",
        "summary",
        "--profile: steps 4 to 6 are done, at step 7; nothing is traced",
    ]


def test_a_profiler_that_fails_or_is_interrupted_does_not_end_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("jax.profiler.start_trace", lambda *_, **__: 1 / 0)
    with Profiler(1, 2, tmp_path) as profiler:
        assert list(profiler.steps(0, 3, wait=lambda: None, program=str)) == [1, 2, 3]
    assert capsys.readouterr().err == (
        "warning: --profile: ZeroDivisionError: division by zero; training continues without it\n"
    )
    monkeypatch.undo()
    for _ in range(2):  # the first trace is stopped, so the second can start
        with pytest.raises(KeyboardInterrupt):
            interrupted(tmp_path)
    assert capsys.readouterr().err == ""


def interrupted(folder):
    with Profiler(1, 3, folder) as profiler:
        for step in profiler.steps(0, 3, wait=lambda: None, program=str):
            if step == 2:
                raise KeyboardInterrupt


@pytest.mark.parametrize("text", ["5-7", "0..3", "7..5", "..3", "a"])
def test_other_ranges_are_refused(text):
    with pytest.raises(UserError, match=r"is not a range of steps; write --profile=100\.\.105"):
        parse_range(text)
    assert (parse_range("7"), parse_range("7..9")) == ((7, 7), (7, 9))


def test_a_range_beyond_the_last_step_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository_root())
    flags = ["--config=tests/survivor.py", f"--workdir={tmp_path / 'run'}", "--set=steps=6"]
    assert main([*flags, "--profile=5..7"]) == 2
    assert capsys.readouterr().err == "error: --profile=5..7 is beyond the last step, 6; give earlier steps\n"
    assert not (tmp_path / "run").exists()
