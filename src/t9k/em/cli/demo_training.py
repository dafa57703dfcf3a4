"""The demo: trains a small model on scikit-learn's digits and keeps everything about it.

Read it as an example of how a training script uses this library; `em demo` shows the result.
"""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from t9k import em
from t9k.em import session, settings
from t9k.em.errors import CorruptData, MissingExtra, NotFound
from t9k.em.names import parent_and_name
from t9k.em.uris import parse

if TYPE_CHECKING:
    import numpy as np

    from t9k.em.artifact import Artifact
    from t9k.em.run import Run
    from t9k.em.transfer.progress import Progress

FOLDER = "demo"
NAME, DATA, MODEL = "digits-mlp", "digits-data", "digits-model"


@frozen(kw_only=True)
class Result:
    """What one demo made.

    Attributes:
        run: The run as it was loaded back from the store.
        uri: Of the store.
        folder: Absolute path of the folder in the store.
        path: Absolute path of the run in the store.
        trained_in: Local directory of the run that trained.
        accuracy: On the test set, as the run logged it.
        reproduced: The same, of the model and data that were loaded back.
    """

    run: Run
    uri: str
    folder: str
    path: str
    trained_in: Path
    accuracy: float
    reproduced: float


def demonstrate(directory: Path, *, epochs: int = 30, progress: Progress | None = None) -> Result:
    """Train a model, upload the run with its data and model, and load them back.

    Args:
        directory: Where everything goes: local runs and artifacts to `.em/`, the store to `store/`, and what is loaded
            from there to `loaded/`. What earlier demos left there stays.
        epochs: How often the training goes through the data.
        progress: Receives the progress of the uploads.

    Raises:
        MissingExtra: scikit-learn is not installed.
        CorruptData: The model that was loaded back is not the one that was trained.
    """
    _require_sklearn()
    uri = parse(str(directory / "store")).text
    backend, folder = session.resolve(f"{uri}#{FOLDER}")

    with _local_files_in(directory):
        data = _data(f"{uri}#{folder}/{DATA}")
        trained = _train(data, epochs=epochs, seed=len(list((directory / ".em" / "runs").glob("*"))))
        _, node = trained.send(backend, folder, make_folder=True, progress=progress)

    with _local_files_in(directory / "loaded"):
        run = em.load_run(f"{uri}#{node.path}")
        run.download()
        model = em.load_artifact(_place(run.associations["output"][0]))
        again = em.load_artifact(_place(run.associations["input"][0]))
        reproduced = _accuracy(Path(model.get("model.npz")), Path(again.get("test.csv")))

    accuracy = run.metrics["test"][-1]["value"]["accuracy"]
    if abs(accuracy - reproduced) > 1e-9:
        raise CorruptData(f"the model that was loaded back has an accuracy of {reproduced}, and it had {accuracy}")
    return Result(
        run=run,
        uri=uri,
        folder=parent_and_name(node.path)[0],
        path=node.path,
        trained_in=Path(os.path.relpath(trained.local)),
        accuracy=accuracy,
        reproduced=reproduced,
    )


def _train(data: Artifact, *, epochs: int, seed: int) -> Run:
    """Train with a run, as a training script does."""
    import numpy as np
    from sklearn.metrics import log_loss
    from sklearn.neural_network import MLPClassifier

    hparams = {"hidden_units": 32, "learning_rate": 0.003, "batch_size": 64, "epochs": epochs, "seed": seed}
    with em.create_run(name=NAME, hparams=hparams, labels=["demo"], description="Handwritten digits, 8x8") as run:
        run.mark_input(data)
        x, y = _read(Path(data.get("train.csv")))
        x_val, y_val = _read(Path(data.get("val.csv")))
        x_test, y_test = _read(Path(data.get("test.csv")))
        network = MLPClassifier(
            hidden_layer_sizes=(run.hparams.hidden_units,),
            learning_rate_init=run.hparams.learning_rate,
            batch_size=run.hparams.batch_size,
            random_state=run.hparams.seed,
        )
        for epoch in range(1, run.hparams.epochs + 1):
            network.partial_fit(x, y, classes=range(10))
            loss = log_loss(y_val, network.predict_proba(x_val), labels=range(10))
            accuracy = network.score(x_val, y_val)
            step = epoch * -(-len(x) // run.hparams.batch_size)
            train = {"loss": network.loss_, "accuracy": network.score(x, y)}
            run.log("train", train, step=step, epoch=epoch)
            run.log("val", {"loss": loss, "accuracy": accuracy}, step=step, epoch=epoch)
            if epoch % 10 == 0 or epoch == run.hparams.epochs:
                print(f"epoch {epoch:3}  loss {network.loss_:.4f}  validation accuracy {accuracy:.4f}")
        run.log("test", {"accuracy": network.score(x_test, y_test)}, step=step, epoch=epoch)

        model = em.create_artifact(name=MODEL, labels=["demo"], description="Weights of a multi-layer perceptron")
        with tempfile.TemporaryDirectory() as temporary:
            layers = zip(network.coefs_, network.intercepts_, strict=True)
            weights = {
                f"{name}{i}": part for i, layer in enumerate(layers) for name, part in zip("wb", layer, strict=True)
            }
            np.savez(Path(temporary) / "model.npz", **weights)
            model.add_file(str(Path(temporary) / "model.npz"))
        run.mark_output(model)
    return run


def _data(place: str) -> Artifact:
    """Return the artifact with the data: that of an earlier demo, else a new one."""
    with contextlib.suppress(NotFound):
        return em.load_artifact(place)

    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    rows = [[int(label), *map(int, pixels)] for label, pixels in zip(digits.target, digits.data, strict=True)]
    rest, test = train_test_split(rows, test_size=360, random_state=0, stratify=digits.target)
    train, val = train_test_split(rest, test_size=240, random_state=0, stratify=[row[0] for row in rest])
    data = em.create_artifact(
        name=DATA, labels=["demo"], description="scikit-learn's digits: label, then 64 pixels of 0..16"
    )
    with tempfile.TemporaryDirectory() as temporary:
        for name, part in {"train": train, "val": val, "test": test}.items():
            path = Path(temporary) / f"{name}.csv"
            with path.open("w", newline="") as file:
                csv.writer(file).writerows(part)
            data.add_file(str(path))
    return data


def _read(path: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pixels as numbers from 0 to 1, shape (n, 64), and labels, shape (n,)."""
    import numpy as np

    rows = np.loadtxt(path, delimiter=",", dtype=int)
    return rows[:, 1:] / 16.0, rows[:, 0]


def _accuracy(model: Path, data: Path) -> float:
    """Of a model that was saved, without the library that trained it."""
    import numpy as np

    x, y = _read(data)
    with np.load(model, allow_pickle=False) as weights:
        hidden = np.maximum(x @ weights["w0"] + weights["b0"], 0)
        predicted = (hidden @ weights["w1"] + weights["b1"]).argmax(axis=1)
    return float((predicted == y).mean())


def _place(record: dict[str, str]) -> str:
    """Return the URI of an input or output of a run, as `load_artifact` takes it."""
    return f"{record['uri']}#{record['path']}@{record['generation']}"


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401 - only whether it can be
    except ImportError as error:
        raise MissingExtra("the demo trains with scikit-learn; install it: pip install 't9k-em[demo]'") from error


@contextlib.contextmanager
def _local_files_in(directory: Path) -> Iterator[None]:
    """Let new runs and artifacts of the block lie in a directory instead of the working directory, and be kept in any case."""
    wanted = {f"EM_{kind}_PARENT_DIR": str(directory / ".em" / f"{kind.lower()}s") for kind in ("RUN", "ARTIFACT")}
    wanted["EM_MODE"] = settings.ENABLED
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
