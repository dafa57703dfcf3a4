"""The objects of artifacts: files, directories and references, added, read and published."""
