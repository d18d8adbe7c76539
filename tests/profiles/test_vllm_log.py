"""Start-up logs: ten raw ones of vLLM 0.19, and the wording of other versions."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiles.sources.reading import opened
from profiles.sources.source import Context, SourceError
from profiles.sources.vllm_failures import root_cause
from profiles.sources.vllm_log import SOURCE, read_log
from profiles.store.measurements import StartPoint

LOGS = Path(__file__).parent / "fixtures" / "vllm_logs"
CONTEXT = Context(gpu="H100")


def parsed(name: str) -> StartPoint:
    path = next(LOGS.glob(f"{name}*"))
    return SOURCE.parse(path.name, path.read_bytes(), CONTEXT).starts[0]


def of_text(text: str) -> StartPoint:
    return SOURCE.parse("start.log", text.encode(), Context(gpu="H100", model="m")).starts[0]


def test_a_whole_log_gives_every_value() -> None:
    point = parsed("google-gemma-2-9b-it")
    assert (point.model, point.provenance.engine_version, point.provenance.date) == ("google/gemma-2-9b-it", "0.19.0", "2026-04-22")
    assert (point.dtype, point.max_model_len, point.max_num_seqs, point.max_num_batched_tokens) == ("bfloat16", 8192, 1024, 8192)
    gib = {name: round((getattr(point, f"{name}_mib") or 0) / 1024, 2) for name in ("weights", "activation", "non_torch", "cuda_graphs")}
    assert gib == {"weights": 17.22, "activation": 3.65, "non_torch": 0.25, "cuda_graphs": 1.09}
    assert (point.kv_tokens, point.kv_blocks, point.max_concurrency) == (168880, 21110, 20.6)
    assert point.kv_bytes == pytest.approx(54.12 * (1 << 30), rel=1e-5)
    assert (point.gpu_total_mib, point.init_free_mib) == pytest.approx((79.19 * 1024, 78.68 * 1024))
    assert (point.load_s, point.compile_s, point.graphs_s) == (42.298113, 14.31, 4.0)
    assert (point.gpu_memory_utilization_fraction, point.enforce_eager) == (0.95, False)


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("codellama-codellama-34b", "free_memory", "Free memory on device cuda:1 (60.87/79.19 GiB)"),
        ("qwen-qwen3-14b", "config", "151936 is not divisible by 5"),
        ("microsoft-phi-2", "config", "is greater than the derived max_model_len"),
        ("google-gemma-2-2b-it", "hub", "403 Client Error"),
        ("meta-llama-llama-3-1-8b---h100-80gb--tp1pp1dp2", "devices", "local rank 1 is out of bounds"),
        ("openai-gpt-oss-20b", "out_of_memory", "CUDA out of memory"),
    ],
)
def test_failed_starts_name_their_root_cause(name: str, kind: str, text: str) -> None:
    path = next(LOGS.glob(f"{name}*FAILED*"))
    found = root_cause(gzip.decompress(path.read_bytes()).decode())
    assert found is not None
    assert found.cause.name == kind
    assert text in found.text
    assert found.cause.advice


@pytest.mark.parametrize("path", sorted(path for path in LOGS.iterdir() if "FAILED" not in path.name), ids=lambda path: path.name[:24])
def test_starts_that_worked_have_no_failure(path: Path) -> None:
    assert read_log(gzip.decompress(path.read_bytes()).decode()).failure is None


def test_a_start_that_measured_nothing_is_refused_with_its_cause_and_advice() -> None:
    with pytest.raises(SourceError, match=r"line 158: the start failed \(free_memory\).*another process holds memory"):
        parsed("codellama-codellama-34b")


def test_a_start_that_failed_late_keeps_what_it_measured_and_says_so() -> None:
    point = parsed("openai-gpt-oss-20b")
    assert point.provenance.source == "vllm log (the start failed: out_of_memory)"
    assert point.kv_tokens == 1277184


OLD = """\
INFO 05-30 16:23:22 model_runner.py:1115] Loading model weights took 2.8875 GB
INFO 05-30 16:23:28 worker.py:267] the current vLLM instance can use total_gpu_memory (14.56GiB) x gpu_memory_utilization (0.50) = 7.28GiB
INFO 05-30 16:23:28 worker.py:267] model weights take 2.89GiB; non_torch_memory takes -0.01GiB; PyTorch activation peak memory takes \
2.02GiB; the rest of the memory reserved for KV Cache is 2.36GiB.
INFO 05-30 16:23:28 executor_base.py:110] # CUDA blocks: 5519, # CPU blocks: 9362
INFO 05-30 16:23:28 executor_base.py:115] Maximum concurrency for 32768 tokens per request: 2.69x
INFO 05-30 16:24:18 model_runner.py:1562] Graph capturing finished in 43 secs, took 0.17 GiB
"""


def test_logs_of_the_first_engine() -> None:
    point = of_text(OLD)
    assert (point.kv_blocks, point.max_concurrency, point.graphs_s) == (5519, 2.69, 43.0)
    assert (point.non_torch_mib, point.gpu_memory_utilization_fraction) == (0.0, 0.5)
    assert point.activation_mib == pytest.approx(2.02 * 1024)


@pytest.mark.parametrize(
    "lines",
    [
        "GPU KV cache size: 168,880 tokens\nMaximum concurrency for 8,192 tokens per request: 20.60x\n",
        "GPU KV cache size: 168,880 tokens, Maximum concurrency for 8,192 tokens per request: 20.60x\n",
    ],
)
def test_pool_lines_of_one_and_of_two(lines: str) -> None:
    point = of_text(lines)
    assert (point.kv_tokens, point.max_concurrency) == (168880, 20.6)


def test_logs_since_0_32_have_weights_and_the_rest_together() -> None:
    text = (
        "Model loading took 12.0 GiB memory and 3.5 seconds\nEstimated CUDA graph memory: 0.84 GiB total\n"
        "Actual usage is 12.25 GiB for consumed memory (weights + non-torch), 2.73 GiB for peak activation, "
        "and 0.9 GiB for CUDAGraph memory.\n"
    )
    point = of_text(text)
    assert point.non_torch_mib == pytest.approx(256)
    assert point.activation_mib == pytest.approx((2.73 - 0.84) * 1024)


def test_only_the_first_rank_counts() -> None:
    text = (
        "(Worker_PP1_TP0 pid=2) INFO x] Available KV cache memory: 9.0 GiB\n(Worker_TP1 pid=3) INFO x] Available KV cache memory: 8.0 GiB\n"
        "(Worker_PP0_TP0 pid=1) INFO x] Available KV cache memory: 7.0 GiB\n"
    )
    assert of_text(text).kv_bytes == 7 << 30


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ValueError: No available memory for the cache blocks. Try increasing", "no_kv"),
        ("ValueError: To serve ... (1.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.5 GiB).", "no_kv"),
        ("AssertionError: Error in memory profiling. Initial free memory 70 GiB", "profile_race"),
        ("OSError: [Errno 98] Address already in use", "port"),
        ("KeyError: 'model.layers.0'", "other"),
        ("RuntimeError: Engine core initialization failed. See root cause above.", None),
        ("Free memory on device (78.68/79.19 GiB) on startup. Desired GPU memory utilization is (0.95, 75.23 GiB).", None),
    ],
)
def test_classes_of_failures(text: str, kind: str | None) -> None:
    found = root_cause(f"INFO all is well\n{text}\n")
    assert (found.cause.name if found else None) == kind
    assert found is None or found.line == 2


@pytest.mark.parametrize("text", ["hello\n", "vLLM API server version 0.19.0\nnon-default args: {'model': 'm'}\n"])
def test_logs_without_the_lines_say_so(text: str) -> None:
    with pytest.raises(SourceError, match=r"start\.log: .*none of these lines"):
        of_text(text)


def test_the_gpu_must_be_said() -> None:
    with pytest.raises(SourceError, match="--gpu"):
        SOURCE.parse("start.log", OLD.encode(), Context(model="m"))


def test_logs_are_recognised_and_other_texts_are_not() -> None:
    assert SOURCE.recognises(opened("a", OLD.encode()))
    for other in (b'{"model": "x"}', b"a,b\n1,2\n", b"# TYPE vllm:x gauge\nvllm:x 1\n"):
        assert not SOURCE.recognises(opened("b", other))


@given(text=st.text(max_size=400), cut=st.integers(0, 2000))
def test_no_text_ends_in_a_traceback(text: str, cut: int) -> None:
    for raw in ((text + OLD)[:cut], OLD.replace("2.", text[:3])):
        try:
            of_text(raw)
        except SourceError as error:
            assert str(error).startswith("start.log: ")  # noqa: PT017 -- whether it is raised depends on the text


def test_a_pool_of_given_size_was_not_made_of_the_budget() -> None:
    text = "non-default args: {'model': 'm', 'kv_cache_memory_bytes': 134217728, 'gpu_memory_utilization': 0.5}\n"
    point = of_text(text + "GPU KV cache size: 131,072 tokens, Maximum concurrency for 2,048 tokens per request: 64.00x\n")
    assert (point.kv_bytes, point.kv_tokens, point.gpu_memory_utilization_fraction) == (134217728, 131072, None)


# The one memory line of 0.6.4: weights and activations are peak_torch_memory together, and 0.9 of the total less both parts is the pool.
OLDEST = """\
INFO 11-21 09:00:00 llm_engine.py:249] Initializing an LLM engine (v0.6.4) with config: model='m', dtype=torch.bfloat16, max_seq_len=8192, \
tensor_parallel_size=1, pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto,
INFO 11-21 09:00:10 model_runner.py:1077] Loading model weights took 14.0000 GB
INFO 11-21 09:00:15 worker.py:232] Memory profiling results: total_gpu_memory=40.00GiB initial_memory_usage=14.50GiB \
peak_torch_memory=15.50GiB memory_usage_post_profile=14.60GiB non_torch_memory=0.50GiB kv_cache_size=20.00GiB gpu_memory_utilization=0.90
INFO 11-21 09:00:15 gpu_executor.py:113] # GPU blocks: 10240, # CPU blocks: 2048
INFO 11-21 09:00:15 gpu_executor.py:117] Maximum concurrency for 8192 tokens per request: 20.00x
"""


def test_the_memory_line_of_0_6_4_gives_every_part() -> None:
    point = of_text(OLDEST)
    assert (point.provenance.engine_version, point.max_model_len, point.kv_blocks) == ("0.6.4", 8192, 10240)
    gib = {name: (getattr(point, f"{name}_mib") or 0) / 1024 for name in ("gpu_total", "weights", "activation", "non_torch")}
    assert gib == {"gpu_total": 40.0, "weights": 14.0, "activation": 1.5, "non_torch": 0.5}
    assert (point.kv_bytes, point.gpu_memory_utilization_fraction) == (20 << 30, 0.9)
    assert point.max_concurrency == 20.0


@pytest.mark.parametrize(
    ("line", "kind", "advice"),
    [
        ("ValueError: max_num_seqs (512) exceeds available Mamba cache blocks (100).", "state_blocks", "lower --max-num-seqs"),
        ("ValueError: invalid literal for int() with base 10: 'MIG-1b2c'", "mig_uuid", "cannot be pinned by a device's UUID"),
        (
            "ValueError: The model's max seq len (9000) is larger than the maximum number of tokens that can be stored in KV cache (8000).",
            "no_kv",
            "lower --max-model-len",
        ),
        ("ValueError: Cannot find the config file for awq", "config", "correct the one"),
        ("ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).", "config", "correct the one"),
        ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.", "config", "correct the one"),
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "driver", "this build of vLLM"),
        ("RuntimeError: NCCL error: unhandled system error", "nccl", "cannot talk to each other"),
        ("OSError: [Errno 28] No space left on device", "disk", "a disk is full"),
        ("RuntimeError: unable to mmap 1024 bytes from shared memory: Cannot allocate memory (12)", "host_memory", "/dev/shm"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "ERROR 01-01 00:00:00 [core.py:708] ", "(EngineCore_0 pid=7) ERROR 01-01 00:00:00 [core.py:708] "])
def test_known_causes_are_named(line: str, kind: str, advice: str, prefix: str) -> None:
    found = root_cause(f"INFO 01-01 00:00:00 [x.py:1] VLLM_LOGGING_LEVEL=DEBUG\n{prefix}{line}\n")
    assert found is not None
    assert (found.cause.name, found.line, found.text) == (kind, 2, line)
    assert advice in found.cause.advice


def test_the_level_of_a_line_and_not_its_words_decides_whether_it_tells_a_failure() -> None:
    spoken = "ERROR 01-01 00:00:00 [core.py:708] KeyError: 'DEBUG is no WARNING'"
    found = root_cause(spoken)
    assert found is not None
    assert (found.cause.name, found.text) == ("other", "KeyError: 'DEBUG is no WARNING'")
    assert root_cause("DEBUG 01-01 00:00:00 [core.py:708] KeyError: 'x'") is None
    assert root_cause("(Worker pid=3) WARNING 01-01 00:00:00 [core.py:708] RuntimeError: CUDA out of memory, falling back") is None
