"""Files that are written whole or not at all."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Make ``content`` that of the file at ``path`` in one step, with the permissions of a file that is there.

    Raises OSError if it cannot be written; then the file is as it was.
    """
    part = path.with_name(f".{os.getpid()}.part")
    try:
        part.write_bytes(content)
        if path.exists():
            part.chmod(path.stat().st_mode & 0o777)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
