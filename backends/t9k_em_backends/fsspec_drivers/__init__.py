"""One module for each kind of fsspec driver; `t9k_em_backends.fsspec` chooses."""
