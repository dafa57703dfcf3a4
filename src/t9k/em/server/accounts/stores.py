"""Which store was found at a root: kept where a root that is gone, or another's, cannot change it."""

from __future__ import annotations

from sqlalchemy import Connection, select

from t9k.em.server.accounts.database import Database
from t9k.em.server.accounts.parties import upsert
from t9k.em.server.accounts.tables import stores


class Stores(Database):
    """Remember the stores that servers with this database have served."""

    def store_at(self, root: str) -> str:
        """Return the id of the store that was found at a root; '' where none was.

        Args:
            root: URI of the backend.
        """
        query = select(stores.c.id).where(stores.c.root == root)
        return self._read(lambda connection: connection.execute(query).scalar_one_or_none()) or ""

    def keep_store(self, root: str, store_id: str) -> str:
        """Remember which store was found at a root, unless one is known already; return the one that is known then."""

        def work(connection: Connection) -> None:
            statement = upsert(connection)(stores).values(root=root, id=store_id, since=self._now())
            connection.execute(statement.on_conflict_do_nothing(index_elements=[stores.c.root]))

        self._write(work)
        return self.store_at(root)

    def accept_store(self, root: str, store_id: str) -> None:
        """Remember another store at a root, in place of the one that is known."""

        def work(connection: Connection) -> None:
            statement = upsert(connection)(stores).values(root=root, id=store_id, since=self._now())
            changed = {"id": statement.excluded.id, "since": statement.excluded.since}
            connection.execute(statement.on_conflict_do_update(index_elements=[stores.c.root], set_=changed))

        self._write(work)
