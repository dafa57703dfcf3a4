"""API keys of oneself; users and groups, for administrators."""

from __future__ import annotations

from datetime import timezone
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response

from t9k.em import wire
from t9k.em.errors import InvalidInput
from t9k.em.records import utc_text
from t9k.em.server import models
from t9k.em.server.access import Forbidden
from t9k.em.server.accounts import Group, KeyInfo, User
from t9k.em.server.authentication import Authenticated, RequestUser
from t9k.em.server.routes.json_route import DocumentRoute
from t9k.em.server.routes.paging import PAGE, After, Limit, whole

router = APIRouter(prefix=wire.PREFIX, tags=["accounts"], route_class=DocumentRoute)


def _manager(caller: Authenticated) -> RequestUser:
    if not caller.principal.manages:
        raise Forbidden(
            "this API key has a narrower scope and does not manage keys; use one with the scope 'all' for all folders"
        )
    return caller


Manager = Annotated[RequestUser, Depends(_manager)]


def _administrator(caller: Manager) -> RequestUser:
    if not caller.principal.is_admin:
        raise Forbidden("only administrators manage users and groups; ask one of them")
    return caller


Administrator = Annotated[RequestUser, Depends(_administrator)]


@router.get("/keys", operation_id="keys", response_model=models.Items[models.ApiKey])
def keys(caller: Manager) -> JSONResponse:
    """One's own API keys, without their texts."""
    return JSONResponse({"items": [_key(key) for key in caller.service.accounts.keys(caller.user)]})


@router.post("/keys", operation_id="addKey", status_code=201, response_model=models.NewApiKey)
def add_key(caller: Manager, body: models.NewKeyIn) -> JSONResponse:
    """Make an API key, which ends with the one that asks and never allows more; its text is returned only here."""
    expires = body.expires
    if expires is not None:
        if expires.tzinfo is None:
            raise InvalidInput("a time has to say its zone; write it like 2027-01-01T00:00:00Z")
        try:
            expires = expires.astimezone(timezone.utc)
        except OverflowError as error:
            raise InvalidInput(
                "a time lies in the years 1 to 9999 of UTC; leave it out for a key that stays"
            ) from error
    info, text = caller.service.accounts.add_key(
        caller.user,
        note=body.note,
        expires=expires,
        scope=body.scope,
        folder=body.folder,
        parent=caller.principal.key_id,
    )
    caller.about(made=info.id, scope=info.scope, folder=info.folder)
    return JSONResponse({**_key(info), "key": text}, 201)


@router.delete("/keys/{id}", operation_id="revokeKey", status_code=204)
def revoke_key(caller: Authenticated, id: str) -> Response:
    """Revokes one of one's own API keys and all that were made with it; a key with a narrower scope may revoke itself only."""
    if id != caller.principal.key_id:
        _manager(caller)
    caller.service.accounts.revoke_key(caller.user, id)
    return Response(status_code=204)


@router.get("/users", operation_id="users", response_model=models.Page[models.User])
def users(caller: Administrator, limit: Limit = PAGE, after: After = "") -> JSONResponse:
    """All users, by name."""
    found = caller.service.accounts.users(after, limit)
    return whole([_user(user) for user in found], found[-1].name if len(found) == limit else None)


@router.post("/users", operation_id="addUser", status_code=201, response_model=models.User)
def add_user(caller: Administrator, body: models.UserIn) -> JSONResponse:
    """Add a user."""
    caller.about(name=body.name, is_admin=body.is_admin)
    return JSONResponse(_user(caller.service.accounts.add_user(body.name, is_admin=body.is_admin)), 201)


@router.patch("/users/{name}", operation_id="changeUser", response_model=models.User)
def change_user(caller: Administrator, name: str, body: models.UserChange) -> JSONResponse:
    """Disables a user, whose keys are then refused, or enables them again."""
    caller.about(disabled=body.disabled)
    return JSONResponse(_user(caller.service.accounts.set_disabled(name, body.disabled)))


@router.get("/groups", operation_id="groups", response_model=models.Page[models.Group])
def groups(caller: Administrator, limit: Limit = PAGE, after: After = "") -> JSONResponse:
    """All groups, by name."""
    found = caller.service.accounts.groups(after, limit)
    return whole([_group(group) for group in found], found[-1].name if len(found) == limit else None)


@router.post("/groups", operation_id="addGroup", status_code=201, response_model=models.Group)
def add_group(caller: Administrator, body: models.GroupIn) -> JSONResponse:
    """Add a group without members."""
    caller.about(name=body.name)
    caller.service.accounts.add_group(body.name)
    return JSONResponse({"name": body.name, "members": []}, 201)


@router.delete("/groups/{name}", operation_id="removeGroup", status_code=204)
def remove_group(caller: Administrator, name: str) -> Response:
    """Remove a group and the shares that it had."""
    caller.service.accounts.remove_group(name)
    return Response(status_code=204)


@router.put("/groups/{name}/members/{user}", operation_id="addMember", status_code=204)
def add_member(caller: Administrator, name: str, user: str) -> Response:
    """Add a user to a group; one who is in it is fine."""
    caller.service.accounts.add_member(name, user)
    return Response(status_code=204)


@router.delete("/groups/{name}/members/{user}", operation_id="removeMember", status_code=204)
def remove_member(caller: Administrator, name: str, user: str) -> Response:
    """Take a user out of a group."""
    caller.service.accounts.remove_member(name, user)
    return Response(status_code=204)


def _key(key: KeyInfo) -> dict[str, Any]:
    return {
        "id": key.id,
        "note": key.note,
        "created": utc_text(key.created),
        "expires": None if key.expires is None else utc_text(key.expires),
        "revoked": None if key.revoked is None else utc_text(key.revoked),
        "scope": key.scope,
        "folder": key.folder,
        "parent": key.parent,
        "used": None if key.used is None else utc_text(key.used),
    }


def _user(user: User) -> dict[str, Any]:
    return {"name": user.name, "isAdmin": user.is_admin, "disabled": user.disabled, "created": utc_text(user.created)}


def _group(group: Group) -> dict[str, Any]:
    return {"name": group.name, "members": list(group.members)}
