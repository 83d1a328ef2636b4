"""Known texts that are downloaded once, verified and kept."""

import functools
import hashlib
import http.server
import tempfile
import threading
from pathlib import Path

import pooch
import pytest

from jaxrnn.data import paths, published, text
from jaxrnn.errors import InputError


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A published text on a server of ours, an empty cache, and no folder of local copies."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(published.DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "small.txt").write_text("Bonjour.\n", encoding="utf-8")
    handler = functools.partial(_Silent, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/small.txt"
        monkeypatch.setitem(published.PUBLISHED, "small", published.Published(url, hashlib.sha256(b"Bonjour.\n").hexdigest()))
        yield tmp_path
        server.shutdown()


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):  # noqa: A002
        del format, args


def cached(folder):
    return [path for path in (folder / "cache").rglob("*") if path.is_file()]


def test_a_published_text_is_downloaded_once(served):
    assert text.read("small") == "Bonjour.\n"
    (served / "served" / "small.txt").unlink()
    assert text.read("small") == "Bonjour.\n"


def test_a_wrong_digest_is_an_error_and_leaves_nothing(served):
    (served / "served" / "small.txt").write_text("Bonsoir.\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"small.*could not be downloaded.*SHA-256 is wrong"):
        text.read("small")
    assert cached(served) == []


def test_a_failed_download_is_an_error_and_leaves_nothing(served):
    (served / "served" / "small.txt").unlink()
    with pytest.raises(InputError, match=f"could not be downloaded.*{published.DATA_DIR_VARIABLE}"):
        text.read("small")
    assert cached(served) == []


def test_a_local_copy_is_used_and_verified(served, monkeypatch):
    monkeypatch.setenv(published.DATA_DIR_VARIABLE, str(served))
    (served / "small.txt").write_text("Bonjour.\n", encoding="utf-8")
    (served / "served" / "small.txt").unlink()
    assert text.read("small") == "Bonjour.\n"
    (served / "small.txt").write_text("Autre.\n", encoding="utf-8")
    with pytest.raises(InputError, match="is not the published text"):
        text.read("small")


@pytest.mark.parametrize("home", ["none", "that cannot be written"])
def test_without_a_cache_folder_a_text_is_downloaded_all_the_same(served, monkeypatch, home):
    monkeypatch.chdir(served)
    if home == "none":
        monkeypatch.setattr(paths, "cache_folder", lambda: None)
    else:
        (served / "cache").write_text("no folder")
    monkeypatch.setattr(tempfile, "tempdir", str(served))
    before = sorted(served.iterdir())
    assert text.read("small") == "Bonjour.\n"
    assert sorted(served.iterdir()) == before


@pytest.mark.parametrize("answer", [RuntimeError("no home"), KeyError("uid not found"), Path("~/.cache/jaxrnn")])
def test_a_user_without_a_home_has_no_cache_folder(monkeypatch, answer):
    def os_cache(project):
        del project
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(pooch, "os_cache", os_cache)
    assert paths.cache_folder() is None


def test_the_cache_folder_is_that_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert paths.cache_folder() == tmp_path / "jaxrnn"
