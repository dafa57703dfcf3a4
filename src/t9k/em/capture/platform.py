"""The machine that a run runs on, and the packages that it uses."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from typing import Any

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


def collect() -> dict[str, Any]:
    """Return what the run runs on; nothing is imported for it, and nothing secret is in it.

    Returns:
        ``{"hostname": str, "os": str, "python": str, "cpus": int | None, "packages": {name: version}}``; packages
        are those of machine learning that are imported at this moment, by their names on the package index.
    """
    return {
        "hostname": platform.node(),
        # Not platform.platform(), which starts a program to learn the processor.
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "packages": _versions(),
    }


def _versions() -> dict[str, str]:
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
