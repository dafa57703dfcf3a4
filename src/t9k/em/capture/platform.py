"""The machine that a run runs on, and the packages that it uses."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Sequence
from typing import Any

from t9k.em.capture import hardware
from t9k.em.masking import mask_words

_LONGEST_WORD = 4096
_LONGEST_COMMAND = 1 << 16

# Name to import -> name on the package index.
_PACKAGES = {
    name: name.replace("_", "-")
    for name in (
        *(
            "accelerate",
            "bitsandbytes",
            "catboost",
            "datasets",
            "deepspeed",
            "diffusers",
            "einops",
            "flax",
            "gymnasium",
        ),
        *("horovod", "jax", "jaxlib", "keras", "lightgbm", "lightning", "mindspore", "mxnet", "numpy", "onnx"),
        *(
            "onnxruntime",
            "optax",
            "optuna",
            "pandas",
            "peft",
            "polars",
            "pyarrow",
            "pytorch_lightning",
            "ray",
            "safetensors",
        ),
        *("scipy", "sentence_transformers", "tensorboard", "tensorflow", "timm", "tokenizers", "torch", "torchaudio"),
        *("torchmetrics", "torchvision", "transformers", "triton", "trl", "vllm", "xgboost"),
    )
} | {"cv2": "opencv-python", "paddle": "paddlepaddle", "PIL": "pillow", "sklearn": "scikit-learn"}


def collect(command: Sequence[str], directory: str) -> dict[str, Any]:
    """Return what the run runs on, but for GPUs; nothing is imported for it, and nothing secret is in it.

    Args:
        command: The words of the command line.
        directory: The working directory.

    Returns:
        ``{"hostname": str, "user": str | None, "command": list[str], "directory": str, "os": str, "python": str, "executable": str,
        "cpu": str | None, "cpus": int | None, "memory_bytes": int | None, "packages": {name: version}}``. In the command, secrets
        are masked; `cpu` is the model; `packages` are those of machine learning that are imported at this moment, by their
        names on the package index.
    """
    return {
        "hostname": platform.node(),
        "user": _user(),
        "command": shortened(mask_words(command)),
        "directory": _readable(directory),
        # Not platform.platform(), which starts a program to learn the processor.
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "executable": _readable(sys.executable or ""),
        "cpu": hardware.cpu_model(),
        "cpus": os.cpu_count(),
        "memory_bytes": hardware.memory_bytes(),
        "packages": versions(),
    }


def shortened(words: Sequence[str]) -> list[str]:
    """Return a command line that is short enough to be shown: 4,096 characters a word, 65,536 in all, '...' where more was.

    Args:
        words: Its words.
    """
    kept: list[str] = []
    left = _LONGEST_COMMAND
    for word in map(_readable, words):
        short = word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}..."
        left -= len(short)
        if left < 0:
            return [*kept, "..."]
        kept.append(short)
    return kept


def _readable(text: str) -> str:
    """Return a text of the system, which may hold bytes that are no UTF-8."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _user() -> str | None:
    import getpass  # noqa: PLC0415 - in the thread, a run that starts does without

    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # an id without a name, as in containers
        return str(os.getuid()) if hasattr(os, "getuid") else None


def versions() -> dict[str, str]:
    """Return the packages of machine learning that are imported at this moment, by their names on the package index."""
    versions = {}
    for name, distribution in sorted(_PACKAGES.items()):
        module = sys.modules.get(name)
        if module is not None:
            version = _version(module, distribution)
            if version is not None:
                versions[distribution] = version
    return versions


def _version(module: object, distribution: str) -> str | None:
    # Not getattr: lazy modules import themselves when they are asked for anything.
    with contextlib.suppress(AttributeError):
        version = object.__getattribute__(module, "__dict__").get("__version__")
        if isinstance(version, str):
            return str(version)
    import importlib.metadata  # noqa: PLC0415 - 40 modules, which few need, and a training logs its first steps meanwhile

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
