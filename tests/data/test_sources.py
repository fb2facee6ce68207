import functools
import gzip
import hashlib
import http.server
import io
import resource
import shutil
import subprocess
import tarfile
import threading
import zipfile

import pytest

from jaxdl.data.store.downloads import download
from jaxdl.data.store.packages import Debian, Local, Npm, PyPI, Url
from jaxdl.errors import UserError, WriteError

TEXT = b"one two three\n" * 1000
SHA = hashlib.sha256(TEXT).hexdigest()


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """Folder JAXDL_SOURCES."""
    folder = tmp_path / "offered"
    folder.mkdir()
    monkeypatch.setenv("JAXDL_SOURCES", str(folder))
    return folder


def tar(target, entries):
    """Writes a tar file to a path or a buffer."""
    buffer = target if isinstance(target, io.BytesIO) else io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    if not isinstance(target, io.BytesIO):
        target.write_bytes(buffer.getvalue())


def debian(root, package):
    """Packs the files below `root` into a Debian package."""
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: words\nVersion: 1.0-1\nArchitecture: all\nMaintainer: none\nDescription: words\n"
    )
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", str(root), str(package)], check=True, capture_output=True)


def test_a_wheel_is_read_as_a_zip(offered):
    with zipfile.ZipFile(offered / "some_set-1.2-py3-none-any.whl", "w") as file:
        file.writestr("some_set/data/words.txt", TEXT)
        file.writestr("some_set/other.txt", b"not asked for")
    folder = PyPI("Some-Set", "1.2", {"some_set/data/words.txt": SHA}).fetch()
    assert (folder / "some_set/data/words.txt").read_bytes() == TEXT
    assert not (folder / "some_set/other.txt").exists()


def test_two_data_sets_share_the_folder_of_a_package(offered, monkeypatch):
    tar(offered / "some_set-1.2.tar.gz", {"some_set-1.2/one.txt": TEXT, "some_set-1.2/two.txt": TEXT})
    first, second = (PyPI("some.set", "1.2", {f"{name}.txt": SHA}) for name in ("one", "two"))
    assert first.fetch() == second.fetch()
    monkeypatch.delenv("JAXDL_SOURCES")
    monkeypatch.setenv("PATH", "")
    assert names_below(first.fetch()) == ["one.txt", "two.txt"]


def test_a_source_distribution_is_read_below_its_top_folder(offered):
    tar(offered / "some_set-1.2.tar.gz", {"some_set-1.2/data/words.txt": TEXT})
    folder = PyPI("some.set", "1.2", {"data/words.txt": SHA}).fetch()
    assert (folder / "data/words.txt").read_bytes() == TEXT


def test_an_npm_package_is_read_below_its_top_folder(offered):
    tar(offered / "scope-words-3.0.0.tgz", {"package/words.txt": TEXT})
    assert (Npm("@scope/words", "3.0.0", {"words.txt": SHA}).fetch() / "words.txt").read_bytes() == TEXT


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_debian_package_is_unpacked_without_installing(offered, tmp_path):
    (tmp_path / "root/usr/share").mkdir(parents=True)
    (tmp_path / "root/usr/share/words.txt").write_bytes(TEXT)
    debian(tmp_path / "root", offered / "words_1.0-1_all.deb")
    folder = Debian("words", {"usr/share/words.txt": SHA}).fetch()
    assert (folder / "usr/share/words.txt").read_bytes() == TEXT


def test_the_digest_of_a_gzip_file_is_that_of_its_contents(offered):
    for level in (1, 9):
        (offered / "words.txt.gz").write_bytes(gzip.compress(TEXT, level))
        folder = Debian(f"words{level}", {"usr/words.txt.gz": SHA}).fetch()
        assert gzip.decompress((folder / "usr/words.txt.gz").read_bytes()) == TEXT


def test_a_source_distribution_is_used_with_built_false(offered):
    with zipfile.ZipFile(offered / "some_set-1.2-py3-none-any.whl", "w") as file:
        file.writestr("some_set/other.txt", b"other")
    tar(offered / "some_set-1.2.tar.gz", {"some_set-1.2/data/words.txt": TEXT})
    folder = PyPI("some-set", "1.2", {"data/words.txt": SHA}, built=False).fetch()
    assert (folder / "data/words.txt").read_bytes() == TEXT


TREE = {"text/a.txt": b"one", "text/deep/b.txt": b"two", "text/c.png": b"three", "other/d.txt": b"four"}


def digest_of(*paths):
    """Computes the expected `tree_digest` of files in TREE."""
    lines = "".join(f"{hashlib.sha256(TREE[path]).hexdigest()}  {path}\n" for path in paths)
    return hashlib.sha256(lines.encode()).hexdigest()


TEXTS = {"text/*.txt": digest_of("text/a.txt", "text/deep/b.txt")}


def names_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_pattern_selects_all_files_that_match_at_any_depth(offered):
    tar(offered / "words-3.0.0.tgz", {f"package/{path}": content for path, content in TREE.items()})
    source = Npm("words", "3.0.0", TEXTS)
    folder = source.fetch()
    assert names_below(folder) == ["text/a.txt", "text/deep/b.txt"]
    fetched = Npm("words", "3.0.0", TEXTS | {"text/c.png": hashlib.sha256(b"three").hexdigest()}).fetch()
    assert names_below(fetched) == ["text/a.txt", "text/c.png", "text/deep/b.txt"]
    assert fetched != folder  # neither removes the files of the other
    assert source.fetch() == folder
    (folder / "text/e.txt").write_bytes(b"five")
    with pytest.raises(UserError, match="fetch it again remove"):
        source.fetch()


def test_local_files_of_a_pattern_are_found_by_path(offered):
    for path, content in TREE.items():
        (offered / path).parent.mkdir(parents=True, exist_ok=True)
        (offered / path).write_bytes(content)
    assert names_below(Debian("words", TEXTS).fetch()) == ["text/a.txt", "text/deep/b.txt"]
    assert Local(str(offered), TEXTS).fetch() == offered
    (offered / "text/a.txt").rename(offered / "text/z.txt")
    with pytest.raises(UserError, match=rf"text/\*\.txt of the folder JAXDL_SOURCES is damaged.*{TEXTS['text/*.txt']}"):
        Debian("others", TEXTS).fetch()
    with pytest.raises(UserError, match=r"none/\* is missing"):
        Local(str(offered), {"none/*": SHA}).fetch()


def test_members_are_normalized_and_stay_below_the_folder(offered, tmp_path):
    """Names that lead outside, links and devices are skipped in tar files and wheels."""
    lines = f"{hashlib.sha256(b'one').hexdigest()}  text/a.txt\n"
    everything = {"*.txt": hashlib.sha256(lines.encode()).hexdigest()}
    outside = ["package/../../../../out.txt", "/etc/out.txt", "../out.txt", "package/text/../../../out.txt"]
    tar(offered / "words-3.0.0.tgz", {"./package/./text/b/../a.txt": b"one", **dict.fromkeys(outside, b"bad")})
    with tarfile.open(offered / "words-4.0.0.tgz", "w:gz") as file:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(f"package/{name}")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        info = tarfile.TarInfo("package/text/a.txt")
        info.size = 3
        file.addfile(info, io.BytesIO(b"one"))
    with zipfile.ZipFile(offered / "words-5.0-py3-none-any.whl", "w") as file:
        file.writestr("text/", b"")
        for name in ("../../out.txt", "/etc/out.txt", "C:/out.txt", "..\\out.txt"):
            file.writestr(name, b"bad")
        file.writestr("text//a.txt", b"one")
    for source in (
        Npm("words", "3.0.0", everything),
        Npm("words", "4.0.0", everything),
        PyPI("words", "5.0", everything),
    ):
        assert names_below(source.fetch()) == ["text/a.txt"]
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("name", ["words-3.0.0.tgz", "words-3.0.0-py3-none-any.whl"])
def test_a_damaged_archive_is_a_user_error(offered, name):
    content = io.BytesIO()
    if name.endswith(".whl"):
        with zipfile.ZipFile(content, "w") as file:
            file.writestr("words.txt", TEXT)
        damaged = content.getvalue().replace(TEXT, TEXT[::-1])
    else:
        tar(content, {"package/words.txt": TEXT})
        damaged = content.getvalue()[:-40]
    (offered / name).write_bytes(damaged)
    source = (PyPI if name.endswith(".whl") else Npm)("words", "3.0.0", {"words.txt": SHA})
    with pytest.raises(UserError, match=f"{name} is not a complete archive"):
        source.fetch()


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_link_of_a_debian_package_to_the_outside_is_skipped(offered, tmp_path):
    (tmp_path / "secret.txt").write_bytes(TEXT)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/words.txt").symlink_to(tmp_path / "secret.txt")
    debian(tmp_path / "root", offered / "words_1.0-1_all.deb")
    with pytest.raises(UserError, match=r"words\.txt of words_1\.0-1_all\.deb is missing"):
        Debian("words", {"words.txt": SHA}).fetch()


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_pattern_selects_from_a_debian_package(offered, tmp_path):
    for path, content in TREE.items():
        (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / path).write_bytes(content)
    debian(tmp_path / "root", offered / "words_1.0-1_all.deb")
    assert names_below(Debian("words", TEXTS).fetch()) == ["text/a.txt", "text/deep/b.txt"]


def test_a_wrong_digest_is_reported_and_leaves_no_files(offered, tmp_path):
    (offered / "words.txt").write_bytes(b"something else")
    actual = hashlib.sha256(b"something else").hexdigest()
    source = Debian("words", {"usr/words.txt": SHA})
    with pytest.raises(UserError) as error:
        source.fetch()
    assert all(part in str(error.value) for part in ("usr/words.txt", SHA, actual, "JAXDL_SOURCES"))
    assert list((tmp_path / "data/sources").iterdir()) == []
    (offered / "words.txt").write_bytes(TEXT)
    assert (source.fetch() / "usr/words.txt").read_bytes() == TEXT


def test_fetched_files_are_checked_again_and_need_no_network(offered, monkeypatch):
    (offered / "words.txt").write_bytes(TEXT)
    source = Debian("words", {"usr/words.txt": SHA})
    folder = source.fetch()
    monkeypatch.delenv("JAXDL_SOURCES")
    assert source.fetch() == folder
    (folder / "usr/words.txt").write_bytes(TEXT[:-1])
    with pytest.raises(UserError, match="fetch it again remove"):
        source.fetch()


def test_a_missing_member_is_reported(offered):
    tar(offered / "words-3.0.0.tgz", {"package/words.txt": TEXT})
    with pytest.raises(UserError, match=r"letters\.txt of words-3\.0\.0\.tgz is missing"):
        Npm("words", "3.0.0", {"letters.txt": SHA}).fetch()


@pytest.mark.parametrize("place", ["nowhere", "words.txt"])
def test_sources_that_are_not_a_folder_are_refused(offered, monkeypatch, place):
    (offered / "words.txt").write_bytes(TEXT)
    monkeypatch.setenv("JAXDL_SOURCES", str(offered / place))
    with pytest.raises(UserError, match=r"JAXDL_SOURCES=.* is not a folder"):
        Npm("words", "3.0.0", {"words.txt": SHA}).fetch()


def test_a_missing_program_is_a_user_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"npm is not installed.*JAXDL_SOURCES"):
        Npm("words", "3.0.0", {"words.txt": SHA}).fetch()


def test_local_files_are_verified_in_place(tmp_path):
    (tmp_path / "words.txt").write_bytes(TEXT)
    assert Local(str(tmp_path), {"words.txt": SHA}).fetch() == tmp_path
    with pytest.raises(UserError, match=SHA):
        Local(str(tmp_path), {"letters.txt": SHA}).fetch()


class Server(http.server.BaseHTTPRequestHandler):
    """Server of TEXT with or without range requests; records the requested ranges."""

    def __init__(self, requests, resumes, *arguments):
        self.requests, self.resumes = requests, resumes
        super().__init__(*arguments)

    def do_GET(self):
        requested_range = self.headers.get("Range")
        self.requests.append(requested_range)
        start = int(requested_range.removeprefix("bytes=").removesuffix("-")) if requested_range and self.resumes else 0
        if self.path == "/short.txt":
            self.send_response(200)
            self.send_header("Content-Length", str(len(TEXT)))
            self.end_headers()
            self.wfile.write(TEXT[:5000])
            return
        if self.path != "/words.txt" or start >= len(TEXT):
            self.send_error(404 if self.path != "/words.txt" else 416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(TEXT) - start))
        self.end_headers()
        self.wfile.write(TEXT[start:])

    def log_message(self, *arguments):
        pass


@pytest.fixture(params=[True, False], ids=["resumes", "restarts"])
def server(request):
    requests = []
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Server, requests, request.param)
    ) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", requests
        running.shutdown()
        thread.join()


def test_an_interrupted_download_resumes(server, tmp_path):
    address, requests = server
    path = tmp_path / "words.part"
    path.write_bytes(TEXT[:5000])
    download(f"{address}/words.txt", path)
    assert path.read_bytes() == TEXT
    assert requests == ["bytes=5000-"]


def test_a_url_is_fetched_once(server):
    address, requests = server
    source = Url(f"{address}/words.txt", SHA)
    assert source.fetch().read_bytes() == TEXT
    assert source.fetch().name == "words.txt"
    assert len(requests) == 1


def test_a_missing_or_different_url_is_a_user_error(server):
    address, _ = server
    with pytest.raises(UserError, match="404"):
        Url(f"{address}/letters.txt", SHA).fetch()
    with pytest.raises(UserError, match=SHA):
        Url(f"{address}/words.txt", "0" * 64).fetch()


def test_the_cause_of_a_failed_download_is_reported(server, tmp_path):
    address, _ = server
    with pytest.raises(UserError, match=r"short\.txt stopped at 5000 of 14000 bytes; run it again to resume"):
        download(f"{address}/short.txt", tmp_path / "part")
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/x \(\[Errno 111\] Connection refused\); check"):
        download("http://name:secret@127.0.0.1:1/x", tmp_path / "part")
    with pytest.raises(UserError, match=r"\(\[Errno -\d\] .*\); check the network"):
        download("http://no-such-host.invalid/x", tmp_path / "part")


def test_a_full_disk_is_the_cause_of_a_failed_download(server, tmp_path):
    address, _ = server
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(WriteError, match=rf"cannot write {tmp_path}/part: File too large"):
            download(f"{address}/words.txt", tmp_path / "part")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    download(f"{address}/words.txt", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == TEXT


def test_a_file_with_another_digest_is_downloaded_again(server, tmp_path):
    address, requests = server
    source = Url(f"{address}/words.txt", "0" * 64)
    for _ in range(2):
        with pytest.raises(UserError, match=SHA):
            source.fetch()
    assert requests == [None, None]
    assert list((tmp_path / "data/sources").iterdir()) == []


class Index(http.server.BaseHTTPRequestHandler):
    """Package index with one source distribution, whose setup code writes a file."""

    def __init__(self, marker, *arguments):
        self.marker = marker
        super().__init__(*arguments)

    def do_GET(self):
        buffer = io.BytesIO()
        files = {"data/words.txt": TEXT, "setup.py": f"open({str(self.marker)!r}, 'w')".encode()}
        tar(buffer, {f"some_set-1.2/{name}": content for name, content in files.items()})
        pages = {
            "/simple/some-set/": b'<a href="../../files/some_set-1.2.tar.gz#sha256=0">some_set-1.2.tar.gz</a>',
            "/files/some_set-1.2.tar.gz": buffer.getvalue(),
        }
        self.send_response(200 if self.path in pages else 404)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(pages.get(self.path, b""))

    def log_message(self, *arguments):
        pass


def test_setup_code_of_a_source_distribution_never_runs(tmp_path, monkeypatch):
    marker = tmp_path / "setup code ran"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Index, marker)) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
                monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
            monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{running.server_port}/simple")
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            folder = PyPI("Some.Set", "1.2", {"data/words.txt": SHA}).fetch()
            assert (folder / "data/words.txt").read_bytes() == TEXT
            with pytest.raises(UserError, match=r"the source of other==1\.0: http://127.*: Not Found; check"):
                PyPI("other", "1.0", {"words.txt": SHA}, built=False).fetch()
        finally:
            running.shutdown()
            thread.join()
    assert not marker.exists()
