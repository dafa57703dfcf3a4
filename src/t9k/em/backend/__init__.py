"""The two ports: `Backend`, a tree of named nodes, and `ObjectStore`, a flat place for bytes.

A new place to keep bytes implements `ObjectStore` and gets everything else from the tree backend; a service that
decides names, conflicts and permissions itself implements `Backend`. `t9k.em.testing` holds a test suite for each.

Beyond a port, an object may have abilities, each a protocol here. `isinstance(store, CopiesObjects)` says that the methods
may be called; where the answer depends on the service, the credentials or the moment, the protocol has an attribute or the
method a return value that says whether it is so now (`fills_buffers`, `signs_reads`, None of `sign_read`). An object has the methods of
a protocol only if it can do at some time what the protocol says.

Both ports: every method may be called from any thread. A constructor only stores its arguments; connections, pools
and threads start on first use or in `open()` and end in `close()`, which may be called again. All errors are
`t9k.em.errors.EMError`; a driver's own never come through.
"""

from t9k.em.backend.node import (
    BACKEND_ABILITIES,
    UPLOAD_ABILITIES,
    Backend,
    ChecksRecords,
    Collects,
    Grows,
    KnowsOrigins,
    ListsPages,
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
    STORE_ABILITIES,
    AssemblesParts,
    CopiesObjects,
    FillsBuffers,
    ListsInOrder,
    MakesRoot,
    ObjectStore,
    RecognizesContent,
    SignsRequests,
    SweepsTemporary,
)

__all__ = [
    "BACKEND_ABILITIES",
    "STORE_ABILITIES",
    "UPLOAD_ABILITIES",
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
