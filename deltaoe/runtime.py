"""Devices, threads, processes and seeded randomness: the only file that names an accelerator."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from deltaoe.errors import ConfigError, first_line

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    import torch
    from torch import Tensor

PRECISIONS = ("fp32", "bf16", "fp16")
# That every generator here takes.
LARGEST_SEED = 2**63 - 1

# In the words of the accelerators' allocators, of the CPU's on Linux and macOS, of the CPU's on Windows, of C++,
# of cuBLAS, and of MPS for more than one buffer can hold.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "bad_alloc",
    "status_alloc_failed",
    "invalid buffer size",
)


def usable_cpus() -> int:
    """Number of CPUs that this process may use (its affinity mask, not the machine's size)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def process_pool(workers: int | None = None) -> ProcessPoolExecutor:
    """A pool of new processes, by default one per usable CPU; they ignore Ctrl-C and end when this process ends."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    return ProcessPoolExecutor(
        workers or usable_cpus(), mp_context=get_context("spawn"), initializer=_serve_parent
    )


def _serve_parent() -> None:
    import multiprocessing
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> (
        None
    ):  # after kill -9 nobody else would tell this process that there is no more work
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_parent, daemon=True).start()


def resolve_device(name: str) -> torch.device:
    """The device of a name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    ``auto`` is the first CUDA device, else Apple's MPS, else the CPU.

    Raises:
        ConfigError: the name is no device name, or that device is not present.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda", "mps"}:
        raise ConfigError(f"unknown device {name!r}", hint="use auto, cpu, cuda, cuda:<index> or mps")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigError(
            f"device {name!r} is not present ({count} CUDA device{'s' * (count != 1)} found)",
            hint="use --device auto or --device cpu",
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' is not present", hint="use --device auto or --device cpu")
    return device


def native_precision(device: torch.device) -> str:
    """The precision that a device computes CLIP's image tower in fastest: ``fp32``, ``bf16`` or ``fp16``.

    NVIDIA's GPUs from compute capability 7.0 on have units for half precision, which OpenAI's CLIPs were trained
    in; some CPUs have instructions for bfloat16. A CPU without them emulates it many times slower than ``fp32``.
    """
    import torch

    if device.type == "cuda":
        fast = torch.version.hip is None and torch.cuda.get_device_capability(device) >= (7, 0)
        return "fp16" if fast else "fp32"
    # An older PyTorch cannot be asked, and one without oneDNN would not use what the CPU has.
    ask = getattr(torch.cpu, "get_capabilities", None)
    if device.type != "cpu" or ask is None or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "fp32"
    capabilities = ask()
    # By these names for x86 (twice) and for ARM.
    return "bf16" if any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) else "fp32"


def tuning_precision(device: torch.device) -> str:
    """The precision that prompts are tuned in: ``bf16`` on GPUs that have it, ``fp32`` elsewhere.

    bfloat16 has float32's range, so that no gradient has to be scaled; losses and context stay float32.
    """
    import torch

    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def activation_memory(device: torch.device) -> int:
    """Bytes that activations of prompts may take until the backward pass: an eighth of a CUDA device's, else 2 GiB."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // 8
    return 2 * 2**30


def replayed(function: Callable[[Tensor], Tensor], example: Tensor) -> Callable[[Tensor], Tensor]:
    """The same function as a CUDA graph, which replays all its kernels, forward and backward, at once.

    A step through a text tower is thousands of small kernels, and starting them one by one takes several times as
    long as computing them (``benchmarks/imagenet_size.py``). On other devices, or if the kernels cannot be captured, it
    is the function itself.

    Args:
        function: of one tensor. All else that it reads must stay where it is in memory; it must not draw random numbers
            nor wait for the device.
        example: a tensor of the shape, type and device of the arguments; gradients flow to them.

    Returns:
        The function; each result is valid until the next call.
    """
    import gc
    import warnings

    import torch

    if example.device.type != "cuda":
        return function
    # An earlier graph that is freed in the middle would disturb the capture.
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        # A copy: capturing runs on a stream of its own, and the learned tensor must not be tied to that.
        sample = example.detach().clone().requires_grad_()
        with warnings.catch_warnings():
            # PyTorch keeps its own warm-up's graph until the capture, and warns that this ran on another stream. The
            # two are captured one after the other, and the sample's gradient is handed out, not accumulated.
            warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")
            graphed: Callable[[Tensor], Tensor] = torch.cuda.make_graphed_callables(  # type: ignore[assignment]
                function, (sample,), num_warmup_iters=1
            )
    except RuntimeError:
        return function
    finally:
        if collecting:
            gc.enable()
    return graphed


@contextlib.contextmanager
def exact_convolutions() -> Iterator[None]:
    """A context in which float32 convolutions compute in float32; by default cuDNN rounds to 10 bits (TF32)."""
    import torch

    if not torch.backends.cudnn.is_available():  # type: ignore[no-untyped-call]
        yield
        return
    now = torch.backends.cudnn
    with now.flags(
        enabled=now.enabled, benchmark=now.benchmark, deterministic=now.deterministic, allow_tf32=False
    ):
        yield


def float64_device(device: torch.device) -> torch.device:
    """The device itself, or the CPU if the device has no double precision, as Apple's MPS."""
    import torch

    return torch.device("cpu") if device.type == "mps" else device


def copy_to(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device: itself if it is there, else a copy; a CUDA device's work is not waited for."""
    if tensor.device.type != "cpu":
        return tensor.to(device)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextlib.contextmanager
def beside_others(device: torch.device) -> Iterator[None]:
    """A context whose work on a CUDA device does not wait for that of other threads, and is done when it is left."""
    import torch

    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        try:
            yield
        finally:
            stream.synchronize()


def decode_jpegs(files: Sequence[bytes], device: torch.device, *, grey: bool = False) -> list[Tensor]:
    """JPEGs decoded on a device: (3, h, w) uint8 each, or (1, h, w) if they are grey; neither turned nor mended.

    On a CUDA device this is nvJPEG, by torchvision, which writes on a stream of its own into memory that may just have
    been freed: so what the calling thread has started there is waited for.

    Raises:
        RuntimeError: one of the files cannot be decoded, or memory runs out.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    data = [torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in files]
    mode = ImageReadMode.GRAY if grey else ImageReadMode.RGB
    found: list[Tensor] = decode_jpeg(data, mode=mode, device=device)
    return found


def check_jpeg_decoder(device: torch.device) -> None:
    """Raise ConfigError unless a device decodes JPEGs: a CUDA device, for which torchvision was built with nvJPEG."""
    import torch

    hint = "use --decode exact or fast, for which images are encoded anew, or a machine with an NVIDIA GPU"
    if device.type != "cuda":
        raise ConfigError(
            f"--decode gpu decodes on a CUDA device, and this run computes on {device}", hint=hint
        )
    try:
        from torchvision.io import encode_jpeg

        sample = encode_jpeg(torch.zeros(3, 16, 16, dtype=torch.uint8)).numpy().tobytes()
        decode_jpegs([sample], device)
    except Exception as cause:  # no torchvision, one built without nvJPEG, or a driver that is too old
        raise ConfigError(f"--decode gpu cannot be used here: {first_line(cause)}", hint=hint) from cause


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, the device's or this machine's.

    Only CUDA's allocator has a class for it, whose text says it too. The CPU's allocator, MPS's, cuBLAS and C++ itself
    raise a RuntimeError that is recognised by its text alone.

    Example:
        >>> is_out_of_memory(RuntimeError("CUDA out of memory")), is_out_of_memory(RuntimeError("no"))
        (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in text for sign in _OUT_OF_MEMORY)


def free_memory(device: torch.device) -> None:
    """Release the memory that PyTorch's allocator holds for reuse, so that a smaller batch finds room in one piece."""
    import gc

    import torch

    gc.collect()  # what died with an exception may still hold activations in a cycle
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def generator(seed: int) -> torch.Generator:
    """A CPU generator of this seed for one purpose, so that a draw depends on no device and on no other draw."""
    import torch

    return torch.Generator(device="cpu").manual_seed(seed)


def keep_freed_memory() -> None:
    """Let this process's C allocator keep large blocks for reuse instead of returning them to the system.

    Activations of a batch are tens of megabytes; by default glibc maps and unmaps each of them anew, and the page
    faults cost more time than small models do (``benchmarks/extract.py`` shows it). Memory stays at its peak
    until the process ends. Does nothing where the allocator is not glibc's.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, mmap_max, never = -1, -4, 2**31 - 1
    mallopt(trim_threshold, never)
    mallopt(mmap_max, 0)
