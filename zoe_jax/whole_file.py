"""Text files that a reader sees whole or not at all."""

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Writes beside `path` and renames, so that the old file or the new one is there, never a part; makes its folder.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
