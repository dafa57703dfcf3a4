"""Keep machine-learning experiments: runs, artifacts, and the place they are uploaded to."""

from t9k.em.api import check, create_artifact, create_run, load_artifact, load_run, login, logout, mirror, upload
from t9k.em.artifact import Artifact
from t9k.em.containers import Params
from t9k.em.run import Run

__all__ = [
    "Artifact",
    "Params",
    "Run",
    "check",
    "create_artifact",
    "create_run",
    "load_artifact",
    "load_run",
    "login",
    "logout",
    "mirror",
    "upload",
]
