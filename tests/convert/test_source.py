"""Sources: paths, URLs over a real local server, Hugging Face names, and what is said where there is no network."""

import hashlib
import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from zoe_jax.convert import source as source_module
from zoe_jax.convert.errors import CheckpointError
from zoe_jax.convert.source import resolve_source
from zoe_jax.downloads import cache_folder

CONTENT = b"weights " * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOE_JAX_CACHE", str(tmp_path / "cache"))
    # either may be set, and the lower one comes first
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


class Handler(SimpleHTTPRequestHandler):
    served: list[str]

    def do_GET(self) -> None:
        self.served.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that has `model.pt`, and what it was asked for."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "model.pt").write_bytes(CONTENT)
    Handler.served = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "site")) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", Handler.served
        httpd.shutdown()
        thread.join()


def assert_refused(source: str | Path, message: str, sha256: str | None = None) -> None:
    with pytest.raises(CheckpointError, match=message) as refusal:
        resolve_source(source, sha256)
    assert "\n" not in str(refusal.value)


def test_an_existing_path_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "owner" / "name"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    assert resolve_source(file) == file
    assert resolve_source(str(file), DIGEST.upper()) == file
    assert resolve_source(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert resolve_source("owner/name") == Path("owner/name")  # a path that exists is no repository


def test_the_digest_of_a_path_is_checked(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(b"other")
    assert_refused(tmp_path / "m.pt", rf"m\.pt: has the SHA-256 [0-9a-f]{{64}} instead of {DIGEST}", DIGEST)
    assert_refused(tmp_path, "is a folder; a SHA-256 belongs to one file", DIGEST)
    assert_refused(tmp_path / "m.pt", "'12ab' for '.*' has not 64 hexadecimal digits", "12ab")


def test_a_url_is_downloaded_once(server: tuple[str, list[str]]) -> None:
    address, served = server
    first = resolve_source(f"{address}/model.pt")
    assert first.read_bytes() == CONTENT
    assert first.parent == cache_folder()
    assert first.name.endswith("model.pt")
    assert resolve_source(f"{address}/model.pt#sha256={DIGEST}") == first
    assert resolve_source(f"{address}/model.pt", DIGEST) == first
    assert served == ["/model.pt"]


def test_a_cached_file_of_another_digest_is_downloaded_anew(server: tuple[str, list[str]]) -> None:
    address, served = server
    resolve_source(f"{address}/model.pt").write_bytes(b"spoiled")
    assert resolve_source(f"{address}/model.pt", DIGEST).read_bytes() == CONTENT
    assert served == ["/model.pt"] * 2


@pytest.mark.parametrize("fragment", [True, False])
def test_a_wrong_digest_is_refused_and_nothing_kept(server: tuple[str, list[str]], fragment: bool) -> None:
    url, wrong = f"{server[0]}/model.pt", "0" * 64
    assert_refused(
        f"{url}#sha256={wrong}" if fragment else url, f"another SHA-256 than {wrong}", None if fragment else wrong
    )
    assert not list(cache_folder().iterdir())


def test_digests_that_contradict_each_other_are_refused(server: tuple[str, list[str]]) -> None:
    assert_refused(f"{server[0]}/model.pt#sha256={DIGEST}", "states another SHA-256", "0" * 64)
    assert_refused(f"{server[0]}/model.pt#sha256=abc", "has not 64 hexadecimal digits")
    assert_refused(f"{server[0]}/model.pt#md5=abc", "ends in '#md5=abc'; '#sha256=<digest>' may stand there")
    assert not server[1]


def test_a_missing_page_and_a_missing_network_say_what_to_do(server: tuple[str, list[str]]) -> None:
    url = f"{server[0]}/absent.pt"
    assert_refused(url, rf"HTTP status 404\); download {re.escape(url)} by hand and pass the file's path instead")
    with socket.socket() as reserved:  # bound but not listening: nobody answers
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/model.pt"
        assert_refused(url, rf"ConnectionError\); download {re.escape(url)} by hand")


@pytest.mark.parametrize("url", ["ftp://host/model.pt", "file:///etc/passwd", "s3://bucket/model.pt", "sftp://h/m.pt"])
def test_only_http_and_https_are_downloaded(url: str) -> None:
    assert_refused(url, f"has the scheme {url.partition(':')[0]}; only http and https are downloaded")


@pytest.mark.parametrize(
    ("source", "name", "revision"),
    [
        ("Intel/zoedepth-nyu", "Intel/zoedepth-nyu", None),
        ("hf:Intel/zoedepth-nyu", "Intel/zoedepth-nyu", None),
        ("hf:Intel/zoedepth-nyu@refs/pr/3", "Intel/zoedepth-nyu", "refs/pr/3"),
        ("owner/name.v2@1a2b3c", "owner/name.v2", "1a2b3c"),
    ],
)
def test_a_repository_is_fetched_without_its_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str, revision: str | None
) -> None:
    (tmp_path / "model.safetensors").touch()
    asked = []

    def snapshot_download(*args: object, **options: object) -> str:
        asked.append((args, options))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert resolve_source(source) == tmp_path
    patterns = ["config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json"]
    assert asked == [((name,), {"revision": revision, "allow_patterns": patterns})]


def test_without_network_the_files_of_a_repository_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the real library, told by the environment to stay offline, with an empty cache
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert_refused(
        "Intel/zoedepth-nyu@v1",
        r"'Intel/zoedepth-nyu' cannot be downloaded .*config\.json, preprocessor_config\.json, \*\.safetensors.*"
        r"https://huggingface\.co/Intel/zoedepth-nyu/tree/v1 by hand into one folder and pass its path",
    )


def test_a_repository_without_safetensors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: str(tmp_path))
    assert_refused("owner/name", "'owner/name' has no safetensors files")
    assert_refused("owner/name", "pin it by @revision", DIGEST)


@pytest.mark.parametrize(
    "source", ["absent.pt", "runs/absent.safetensors", "./owner/name", "tests/name", "a b", "", "x\0y"]
)
def test_a_mistyped_path_asks_no_network(
    source: str, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.chdir(pytestconfig.rootpath)  # where there is a folder `tests`
    monkeypatch.setattr(source_module, "_snapshot", lambda *args: pytest.fail("asked the network"))
    if source == "":
        assert resolve_source(source) == Path()  # the current folder, as everywhere
    else:
        assert_refused(source, "is no file or folder here, no http")
    assert_refused(Path("owner/name"), "is no file or folder here")
