"""Files of the web, fetched once and kept."""

import logging
import os
import sys
from pathlib import Path

import pooch

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where downloads are kept: `$ZOE_JAX_CACHE`, else the user's cache folder."""
    return Path(os.environ.get("ZOE_JAX_CACHE") or pooch.os_cache("zoe_jax"))


def fetch(url: str, folder: Path, file_name: str | None = None, sha256: str | None = None) -> Path:
    """The file behind `url`, in `folder`; one that is there already, with the right digest, is not fetched again.

    Args:
        url: its address, which should have the file's version in it if no digest is given.
        folder: where it is kept; made if it must be.
        file_name: its name there; the default is made of the address.
        sha256: the hexadecimal digest that it must have.

    Raises:
        OSError: it cannot be fetched or written; what `requests` raises is of this kind.
        ValueError: it has another digest; nothing is kept.
    """
    # Pooch's own lines advise programmers to pin a digest. A level would not do: its logger is outside the hierarchy,
    # whose answers to "is this level on?" are remembered and never asked again.
    pooch.get_logger().disabled = True
    log.info("%s is kept in %s, fetched if it must be", url, folder)
    known_hash = f"sha256:{sha256}" if sha256 else None
    return Path(pooch.retrieve(url, known_hash, fname=file_name, path=folder, progressbar=sys.stderr.isatty()))
