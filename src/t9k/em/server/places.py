"""Where Asset Hub has its nodes, and nothing else lies: `/<user>/t9k-assethub/{model,dataset}/<folder>/<asset>`."""

from __future__ import annotations

from t9k.em.errors import InvalidInput
from t9k.em.records import ARTIFACT, FOLDER, RUN
from t9k.em.wire import ASSET_HUB


def check_place(kind: str, folder: str) -> None:
    """Keeps assets where Asset Hub has them, and runs and artifacts out of there.

    Args:
        kind: Of the node.
        folder: Absolute path of the folder that it is to lie in.

    Raises:
        InvalidInput: It would lie where it does not belong.
    """
    place = folder.split("/")[2:]
    if kind in (RUN, ARTIFACT):
        if place[:1] == [ASSET_HUB]:
            raise InvalidInput(f"{folder} belongs to Asset Hub; give another folder for a {kind}")
    elif place[:2] != [ASSET_HUB, kind.lower()] or len(place) != 3:  # noqa: PLR2004 - and the folder of the asset
        raise InvalidInput(f"a {kind} lies in a folder like /alice/{ASSET_HUB}/{kind.lower()}/nlp; give one like that")


def check_move(kind: str, path: str, folder: str) -> None:
    """Likewise for a node that is there; folders go neither in nor out.

    Args:
        kind: Of the node.
        path: Absolute path where it is.
        folder: Absolute path of the folder that it goes to.

    Raises:
        InvalidInput: It would lie where it does not belong.
    """
    if kind != FOLDER:
        check_place(kind, folder)
    elif ASSET_HUB in (path.split("/")[2:3] + folder.split("/")[2:3]):
        raise InvalidInput(f"the folders of Asset Hub stay where they are; move what is in {path} instead")
