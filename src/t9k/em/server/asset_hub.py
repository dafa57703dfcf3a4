"""Where Asset Hub has its nodes, and nothing else lies: `/<user>/t9k-assethub/{model,dataset}/<folder>/<asset>`."""

from __future__ import annotations

from t9k.em.errors import InvalidInput
from t9k.em.records import ARTIFACT, FOLDER, RUN
from t9k.em.wire import ASSET_HUB


def check_place(kind: str, path: str) -> None:
    """Keep assets where Asset Hub has them, and everything else out of there.

    Args:
        kind: Of the node; a folder of Asset Hub is made, and neither uploaded nor moved.
        path: Absolute path that it is to have.

    Raises:
        InvalidInput: The node would lie where it does not belong.
    """
    place = path.split("/")[2:-1]
    if kind in (FOLDER, RUN, ARTIFACT):
        if _is_in_hub(path):
            raise InvalidInput(f"{path} belongs to Asset Hub; choose another place for a {kind}")
    elif place[:2] != [ASSET_HUB, kind.lower()] or len(place) != 3:  # noqa: PLR2004 - and the folder of the asset
        raise InvalidInput(f"a {kind} lies in a folder like /alice/{ASSET_HUB}/{kind.lower()}/nlp; give one like that")


def check_move(kind: str, path: str, target: str) -> None:
    """Likewise for a node that is there.

    Args:
        kind: Of the node.
        path: Absolute path where it is.
        target: Absolute path that it is to have.

    Raises:
        InvalidInput: The node would lie where it does not belong, or is a folder of Asset Hub.
    """
    check_place(kind, target)
    if kind == FOLDER and _is_in_hub(path):
        raise InvalidInput(f"the folders of Asset Hub stay where they are; move what is in {path} instead")


def _is_in_hub(path: str) -> bool:
    return path.split("/")[2:3] == [ASSET_HUB]
