"""The two ports: `Backend`, a tree of named nodes, and `ObjectStore`, a flat place for bytes.

A new place to keep bytes implements `ObjectStore` and gets everything else from the tree backend; a service that
decides names, conflicts and permissions itself implements `Backend`. `t9k.em.testing` holds a test suite for each.

Both ports: every method may be called from any thread. A constructor only stores its arguments; connections, pools
and threads start on first use or in `open()` and end in `close()`, which may be called again. All errors are
`t9k.em.errors.EMError`; a driver's own never come through.
"""

from t9k.em.backend.node import (
    Backend,
    ChecksRecords,
    Collects,
    Grows,
    KnowsOrigins,
    ListsPages,
    MakesRoot,
    MarksStore,
    NotesDamage,
    SendsDirect,
    ServesUsers,
    SignsReads,
    TakesParts,
    TellsLeftOut,
    TellsState,
    Upload,
)
from t9k.em.backend.store import (
    AssemblesParts,
    CopiesObjects,
    FillsBuffers,
    ListsInOrder,
    ObjectStore,
    RecognizesContent,
    SignsRequests,
    SweepsTemporary,
)

__all__ = [
    "AssemblesParts",
    "Backend",
    "ChecksRecords",
    "Collects",
    "CopiesObjects",
    "FillsBuffers",
    "Grows",
    "KnowsOrigins",
    "ListsInOrder",
    "ListsPages",
    "MakesRoot",
    "MarksStore",
    "NotesDamage",
    "ObjectStore",
    "RecognizesContent",
    "SendsDirect",
    "ServesUsers",
    "SignsReads",
    "SignsRequests",
    "SweepsTemporary",
    "TakesParts",
    "TellsLeftOut",
    "TellsState",
    "Upload",
]
