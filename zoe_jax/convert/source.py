"""From what a user names (a path, a URL, a Hugging Face repository) to files on this machine."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urldefrag

import huggingface_hub

from zoe_jax.convert.errors import CheckpointError, quoted
from zoe_jax.downloads import cache_folder, fetch

HUB_FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
"""What a checkpoint needs of a Hugging Face repository; its .bin and .pt doubles stay there."""
CHECKPOINT_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".json")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPOSITORY = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_CHUNK_BYTES = 16 << 20


def resolve_source(source: str | os.PathLike[str], sha256: str | None = None) -> Path:
    """The local file or folder of a checkpoint, downloaded if it must be.

    Args:
        source: an existing file or folder; an `http://` or `https://` URL of a file, also with `#sha256=<digest>` at
            its end; or a Hugging Face repository, `hf:owner/name` or `owner/name`, also with `@revision`.
        sha256: the hexadecimal digest that the file must have.

    Raises:
        CheckpointError: there is no such thing, it cannot be fetched (the message says what to download by hand), or
            it is not the file that the digest belongs to.
    """
    text = os.fspath(source)
    path = Path(text)
    sha256 = _digest(sha256, text)
    if _exists(path):
        return _checked(path, sha256)
    if isinstance(source, str) and (scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)):
        if scheme[1].lower() not in ("http", "https"):
            raise CheckpointError(f"{quoted(source)} has the scheme {scheme[1]}; only http and https are downloaded")
        return _download(source, sha256)
    if isinstance(source, str) and (repository := _repository(source)):
        if sha256:
            raise CheckpointError(f"{quoted(source)} is a repository of files; pin it by @revision, not by a SHA-256")
        return _snapshot(repository["name"], repository["revision"])
    raise CheckpointError(
        f"{quoted(text)} is no file or folder here, no http(s) URL, and no Hugging Face name such as 'owner/name'"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long or with a NUL: not a path
        return False


def _repository(source: str) -> re.Match[str] | None:
    explicit = source.startswith("hf:")
    match = _REPOSITORY.fullmatch(source.removeprefix("hf:"))
    # A mistyped path looks like a repository; nobody wants to hear about the network then.
    likely_path = source.endswith(CHECKPOINT_SUFFIXES) or source.startswith(".") or Path(source).parent.is_dir()
    return match if explicit or not likely_path else None


def _digest(sha256: str | None, source: str) -> str | None:
    if sha256 is not None and not _SHA256.fullmatch(sha256.lower()):
        raise CheckpointError(f"the SHA-256 {quoted(sha256)} for {quoted(source)} has not 64 hexadecimal digits")
    return sha256.lower() if sha256 else None


def _checked(path: Path, sha256: str | None) -> Path:
    if sha256 is None:
        return path
    if path.is_dir():
        raise CheckpointError("is a folder; a SHA-256 belongs to one file", file=path)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != sha256:
        raise CheckpointError(f"has the SHA-256 {digest.hexdigest()} instead of {sha256}", file=path)
    return path


def _download(url: str, sha256: str | None) -> Path:
    address, fragment = urldefrag(url)
    if fragment:
        kind, _, value = fragment.partition("=")
        if kind != "sha256":
            raise CheckpointError(f"{quoted(url)} ends in {quoted('#' + fragment)}; '#sha256=<digest>' may stand there")
        stated = _digest(value, url)
        if sha256 not in (None, stated):
            raise CheckpointError(f"{quoted(url)} states another SHA-256 than the one given, {sha256}")
        sha256 = stated
    by_hand = f"download {address} by hand and pass the file's path instead"
    try:
        return fetch(address, cache_folder(), sha256=sha256)
    except OSError as error:
        raise CheckpointError(f"{quoted(url)} cannot be downloaded ({_reason(error)}); {by_hand}") from error
    except ValueError as error:
        raise CheckpointError(f"{quoted(url)} came with another SHA-256 than {sha256}; check the digest") from error


def _snapshot(name: str, revision: str | None) -> Path:
    address = f"https://huggingface.co/{name}/tree/{revision or 'main'}"
    try:
        folder = Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # of its own, of its HTTP library and of the system: all mean that nothing came
        raise CheckpointError(
            f"{quoted(name)} cannot be downloaded from Hugging Face ({_reason(error)}); download "
            f"{', '.join(HUB_FILES)} of {address} by hand into one folder and pass its path instead"
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(f"{quoted(name)} has no safetensors files; pass a file of {address} by its URL or path")
    return folder


def _reason(error: Exception) -> str:
    """The HTTP status, the system's words, or the kind of error: the libraries' own messages fill a screen."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP status {status}" if status else getattr(error, "strerror", None) or type(error).__name__
