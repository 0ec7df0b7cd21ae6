"""What a result says of the code that made it."""

import os
import shutil
import subprocess

import pytest

from zoe_jax import provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one module, which takes itself for ours, in a repository that knows another file."""
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    # git's hooks name their own repository so, and whoever runs the tests may ignore files everywhere
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    (tmp_path / "README.md").write_text("somebody's project")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "README.md")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    package = tmp_path / "site/zoe_jax"
    package.mkdir(parents=True)
    (package / "provenance.py").write_text("")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    provenance.source_sha256.cache_clear()
    yield package
    provenance.source_sha256.cache_clear()


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


def test_the_repository_that_the_package_is_installed_in_is_not_its_own(package):
    assert provenance.commit() == "unknown"
    git(package, "add", "provenance.py")
    git(package, "commit", "-q", "-m", "ours")
    first = provenance.commit()
    assert len(first) >= 12
    (package / "provenance.py").write_text("edited = True")
    assert provenance.commit() == f"{first}-dirty"


def test_the_repository_at_work_is_not_taken_for_that_of_the_package(package, tmp_path, monkeypatch):
    git(package, "add", "provenance.py")
    git(package, "commit", "-q", "-m", "ours")
    ours = provenance.commit()
    git(tmp_path, "init", "-q", "--bare", "elsewhere.git")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere.git"))
    assert provenance.commit() == ours


def test_the_checksum_of_the_code_is_another_after_every_edit(package):
    def checksum():
        provenance.source_sha256.cache_clear()
        return provenance.source_sha256()

    found = [checksum()]
    for name, code in {"provenance.py": "1", "a.py": "2", "train/a.py": "2"}.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(code)
        found.append(checksum())
    (package / "a.py").rename(package / "b.py")
    found.append(checksum())
    assert len(set(found)) == 5
    (package / "notes.md").write_text("no code")
    assert checksum() == found[-1]
