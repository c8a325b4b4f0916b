"""Data that people have: every format and spelling is read, what is damaged is named, and downloads survive trouble."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from regimen.benchmark.sources import fingerprint, open_folder, read_images, read_text
from regimen.benchmark.sources.catalogue import SOURCES
from regimen.benchmark.sources.fetch import fetch
from regimen.benchmark.sources.images import read_source
from regimen.benchmark.sources.pictures import open_source
from regimen.benchmark.sources.source import Download, Source
from regimen.cli import main
from regimen.errors import DataError, DiskFull, MissingExtra, ResourceError, SpecError

TRAIN, TEST = 10, 4


def tiny(name: str) -> Source:
    """A source of the catalogue with 10 and 4 rows, whose bytes nobody has published."""
    source = SOURCES[name]
    layouts = tuple(
        dataclasses.replace(
            layout,
            train=tuple(file._replace(size=None, checksum=None) for file in layout.train),
            test=tuple(file._replace(size=None, checksum=None) for file in layout.test),
        )
        for layout in source.layouts
    )
    return dataclasses.replace(source, layouts=layouts, train_rows=TRAIN, test_rows=TEST)


def made(rows: int, source: Source, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (rows, *source.shape), dtype=np.uint8)
    return images, draw.integers(0, source.num_classes, rows, dtype=np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, source: Source, *, ending: str = "", mark: str = "-") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows, seed in (("train", TRAIN, 1), ("t10k", TEST, 2)):
        images, labels = made(rows, source, seed)
        for name, body in ((f"images{mark}idx3", idx(images[:, 0])), (f"labels{mark}idx1", idx(labels))):
            (folder / f"{part}-{name}-ubyte{ending}").write_bytes(gzip.compress(body) if ending else body)


def pickled_2(images: NDArray[np.uint8], labels: NDArray[np.uint8], key: bytes) -> bytes:
    """A batch as Python 2 pickled it, the way the published files are."""

    def text(raw: bytes) -> bytes:
        return b"U" + bytes((len(raw),)) + raw

    data = images.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    kind = (
        b"(cnumpy\ndtype\n("
        + text(b"u1")
        + b"K\x00K\x01tR(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    state = (
        b"(K\x01(K"
        + bytes((len(images),))
        + b"M\x00\x0ct"
        + kind[1:]
        + b"\x89T"
        + struct.pack("<I", len(data))
        + data
        + b"tb"
    )
    numbers = b"".join(b"K" + bytes((label,)) for label in labels)
    return b"\x80\x02}(" + text(b"data") + array + state + text(key) + b"](" + numbers + b"eu."


def write_batches(folder: Path, source: Source, how: str) -> None:
    """CIFAR files in the binary version, as Python 2 or as Python 3 pickles them."""
    folder.mkdir(parents=True)
    layout = source.layouts[0 if how == "binary" else 1]
    fine = source.num_classes > 10
    for files, rows, seed in ((layout.train, TRAIN, 1), (layout.test, TEST, 2)):
        images, labels = made(rows, source, seed)
        each = rows // len(files)
        for number, file in enumerate(files):
            part = slice(number * each, (number + 1) * each)
            if how == "binary":
                columns = [np.full((each, 1), 99, np.uint8)] * fine + [
                    labels[part, None],
                    images[part].reshape(each, -1),
                ]
                body = np.hstack(columns).tobytes()
            elif how == "python 2":
                body = pickled_2(images[part], labels[part], b"fine_labels" if fine else b"labels")
            else:
                named = {
                    "data": images[part].reshape(each, -1),
                    "fine_labels" if fine else "labels": labels[part].tolist(),
                }
                body = pickle.dumps(named, protocol=3)
            (folder / file.names[0]).write_bytes(body)


def check_same(raw: Any, source: Source) -> None:
    for inputs, targets, rows, seed in ((raw[0], raw[1], TRAIN, 1), (raw[2], raw[3], TEST, 2)):
        images, labels = made(rows, source, seed)
        assert inputs.dtype == torch.uint8
        assert targets.dtype == torch.int64
        assert torch.equal(inputs, torch.from_numpy(images))
        assert targets.tolist() == labels.tolist()


# ---------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize("place", ["mnist", "MNIST/raw", "pytorch/MNIST/raw", ""])
def test_idx_in_every_spelling(tmp_path: Path, ending: str, mark: str, place: str) -> None:
    source = tiny("mnist")
    write_idx(tmp_path / place, source, ending=ending, mark=mark)
    check_same(read_source(source, tmp_path), source)


@pytest.mark.parametrize("how", ["binary", "python 2", "python 3"])
@pytest.mark.parametrize(
    ("name", "place"),
    [("cifar10", "cifar-10-batches-{}"), ("cifar10", ""), ("cifar100", "cifar100"), ("cifar100", "pytorch/cifar100")],
)
def test_cifar_in_both_versions(tmp_path: Path, name: str, place: str, how: str) -> None:
    source = tiny(name)
    write_batches(tmp_path / "d" / place.format("bin" if how == "binary" else "py"), source, how)
    check_same(read_source(source, tmp_path / "d"), source)


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "executed"),)

    source = tiny("cifar10")
    write_batches(tmp_path / "cifar10", source, "python 2")
    for evil in (Evil(), {"data": Evil(), "labels": []}, {"data": np.array([Evil()], dtype=object), "labels": [1]}):
        (tmp_path / "cifar10/data_batch_3").write_bytes(pickle.dumps(evil, protocol=2))
        with pytest.raises(DataError, match="data_batch_3: cannot be read as a pickled batch"):
            read_source(source, tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("compressed", [True, False])
def test_svhn_counts_ten_as_zero(tmp_path: Path, compressed: bool) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    source = tiny("svhn")
    for name, rows, seed in (("train", TRAIN, 1), ("test", TEST, 2)):
        images, labels = made(rows, source, seed)
        body = {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]}
        savemat(tmp_path / f"{name}_32x32.mat", body, do_compression=compressed)
    check_same(read_source(source, tmp_path), source)
    (tmp_path / "test_32x32.mat").write_bytes((tmp_path / "test_32x32.mat").read_bytes()[:-200])
    with pytest.raises(DataError, match=r"test_32x32.mat: .* Delete it and get it again: `regimen data fetch svhn`"):
        read_source(source, tmp_path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes; each picture is grey on the left and in one colour on the right."""
    image = pytest.importorskip("PIL.Image")
    for part, each in (("train", 5), ("val", 2)):
        for label, wnid in enumerate(("n01", "n02")):
            folder = tmp_path / "imagenet" / part / wnid
            folder.mkdir(parents=True)
            for number in range(each):
                pixels = np.full((300, 600, 3), 10 * number, np.uint8)
                pixels[:, 300:, label] = 200
                image.fromarray(pixels).save(folder / f"{number}.JPEG", quality=95)
    return tmp_path


def test_pictures_are_decoded_when_asked_for(pictures: Path) -> None:
    source = dataclasses.replace(tiny("imagenet"), num_classes=2)
    train, test = open_source(source, pictures, 224)
    assert (train.num_rows, test.num_rows) == (TRAIN, TEST)
    assert train.targets[torch.arange(TRAIN)].tolist() == [0] * 5 + [1] * 5
    batch = train.inputs[torch.tensor([7, 1])]
    assert batch.shape == (2, 3, 224, 224)
    assert batch.dtype == torch.uint8
    assert batch[0, :, 112, 5].float().sub(20).abs().max() < 4, "grey, of the third picture of its class"
    assert batch[0, :, 112, 218].float().sub(torch.tensor([20.0, 200.0, 20.0])).abs().max() < 6
    assert train.take(torch.tensor([9, 2])).inputs[torch.tensor([1])].shape == (1, 3, 224, 224)
    assert open_source(source, pictures, 299)[1].inputs[torch.tensor([0])].shape == (1, 3, 299, 299)
    with pytest.raises(ValueError, match="cannot be cut out"):
        open_source(source, pictures, 299, 256)


def test_what_is_wrong_with_pictures_is_said(pictures: Path) -> None:
    source = dataclasses.replace(tiny("imagenet"), num_classes=2)
    with pytest.raises(DataError, match=r"train: has 2 folders of classes, ImageNet has 1,000"):
        open_folder(pictures)
    (pictures / "imagenet/train/n02/3.JPEG").write_bytes(b"\xff\xd8 no picture")
    train, _ = open_source(source, pictures, 224)
    with pytest.raises(DataError, match=r"n02/3.JPEG: cannot be decoded"):
        train.inputs[torch.tensor([8])]
    (pictures / "imagenet/val/n02/0.JPEG").unlink()
    with pytest.raises(DataError, match=r"val: holds 3 pictures .* has 4 here"):
        open_source(source, pictures, 224)
    (pictures / "imagenet/val/n02").rename(pictures / "imagenet/val/n03")
    with pytest.raises(DataError, match=r"n03: is a class that the pictures to train on do not have"):
        open_source(source, pictures, 224)


def test_what_to_install_is_said(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    for name in ("train", "test"):
        (tmp_path / f"{name}_32x32.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(MissingExtra, match=r"MATLAB files needs scipy\. pip install 'regimen-ml\[bench\]'"):
        read_source(tiny("svhn"), tmp_path)
    with pytest.raises(MissingExtra, match=r"pictures needs Pillow\. pip install 'regimen-ml\[bench\]'"):
        open_folder(pictures)


# ------------------------------------------------------------------------------------------------------ damaged files


def test_a_file_cut_anywhere_is_named(tmp_path: Path) -> None:
    source = tiny("fmnist")
    for ending in ("", ".gz"):
        folder = tmp_path / f"fmnist{ending}"
        write_idx(folder, source, ending=ending)
        path = folder / f"t10k-labels-idx1-ubyte{ending}"
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(DataError) as raised:
                read_source(source, folder)
            (problem,) = raised.value.problems
            assert problem.place == str(path)
            assert "regimen data fetch fmnist" in problem.fix
        path.write_bytes(whole)
        read_source(source, folder)


@pytest.mark.parametrize(
    ("file", "body", "said"),
    [
        ("train-images-idx3-ubyte", b"<html>not found</html>", "begins with 3c 68 74 6d, expected 00 00 08 03"),
        ("train-images-idx3-ubyte", idx(np.zeros((TRAIN, 14, 14), np.uint8)), r"\[1, 14, 14\].* \[1, 28, 28\]"),
        ("train-labels-idx1-ubyte", idx(np.zeros(3, np.uint8)), "has 3 labels for the 10 pictures"),
        ("train-labels-idx1-ubyte", idx(np.full(TRAIN, 10, np.uint8)), "a label 10, those of MNIST are 0 to 9"),
        ("train-labels-idx1-ubyte", idx(np.zeros(TRAIN, np.uint8)) + b"more", "longer than it says"),
    ],
)
def test_what_is_wrong_inside_is_said(tmp_path: Path, file: str, body: bytes, said: str) -> None:
    source = tiny("mnist")
    write_idx(tmp_path, source)
    (tmp_path / file).write_bytes(body)
    with pytest.raises(DataError, match=said) as raised:
        read_source(source, tmp_path)
    assert str(tmp_path / file) in str(raised.value)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, tiny("mnist"))
    with pytest.raises(DataError, match="hold 10 pictures, MNIST has 11 here"):
        read_source(dataclasses.replace(tiny("mnist"), train_rows=11), tmp_path)
    write_batches(tmp_path / "cifar-10", tiny("cifar10"), "binary")
    with pytest.raises(DataError, match=r"data_batch_1.bin: is cut short: it holds 6,146 bytes, expected 30,730,000"):
        read_images("cifar10", tmp_path)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown data source 'fmnits'\. Did you mean 'fmnist'"):
        read_images("fmnits", tmp_path)
    with pytest.raises(DataError, match=r"data: there is no such folder .*Run `regimen data fetch mnist`"):
        read_images("mnist")
    with pytest.raises(DataError, match=r"holds no CIFAR-10: looked for data_batch_1\.bin"):
        fingerprint("cifar10", tmp_path)
    write_idx(tmp_path / "mnist", tiny("mnist"))
    (tmp_path / "mnist/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"mnist has 3 of the 4 files of MNIST; missing: t10k-labels-idx1-ubyte"):
        read_images("mnist", tmp_path)


def test_a_fingerprint_follows_every_byte(tmp_path: Path) -> None:
    write_idx(tmp_path, tiny("mnist"))
    before = fingerprint("mnist", tmp_path)
    assert fingerprint("mnist", str(tmp_path)) == before
    path = tmp_path / "t10k-labels-idx1-ubyte"
    body, times = path.read_bytes(), path.stat()
    path.write_bytes(body[:-1] + bytes((body[-1] ^ 1,)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert fingerprint("mnist", tmp_path) != before
    path.write_bytes(body)
    assert fingerprint("mnist", tmp_path) == before


def test_pictures_have_a_fingerprint(pictures: Path) -> None:
    before = fingerprint("imagenet", pictures)
    (pictures / "imagenet/val/n01/1.JPEG").rename(pictures / "imagenet/val/n01/2.JPEG")
    assert fingerprint("imagenet", pictures) != before


# --------------------------------------------------------------------------------------------------------------- text


def test_text_is_cut_at_four_fifths_however_its_lines_end(tmp_path: Path) -> None:
    text = "Well, Prince\n" * 240_000 + "fin"
    for name, body in (("a", text), ("b", text.replace("\n", "\r\n"))):
        (tmp_path / name / "tolstoi").mkdir(parents=True)
        (tmp_path / name / "tolstoi/input.txt").write_bytes(b"\xef\xbb\xbf" * (name == "b") + body.encode())
    read = read_text("tolstoi", tmp_path / "a")
    assert read == read_text("tolstoi", tmp_path / "b")
    assert read.train + read.test == text
    assert len(read.train) == -(-4 * len(text) // 5)
    (tmp_path / "a/tolstoi/input.txt").write_bytes(b"caf\xe9" * 800_000)
    with pytest.raises(DataError, match="is not UTF-8 text: byte 3 is 0xe9"):
        read_text("tolstoi", tmp_path / "a")
    (tmp_path / "a/tolstoi/input.txt").write_text("War")
    with pytest.raises(DataError, match="holds 3 characters, War and Peace has 3,000,000 to"):
        read_text("tolstoi", tmp_path / "a")


# ---------------------------------------------------------------------------------------------------------- real files


def test_the_published_files(data_dir: Path) -> None:
    for name, mean, deviation in (("mnist", 0.1307, 0.3081), ("fmnist", 0.2860, 0.3530)):
        raw = read_images(name, data_dir)
        pixels = raw.train_inputs.float() / 255
        assert (round(pixels.mean().item(), 4), round(pixels.std().item(), 4)) == (mean, deviation)
        assert [len(each) for each in raw] == [60_000, 60_000, 10_000, 10_000]
        assert set(raw.test_targets.tolist()) == set(range(10))
    text = read_text("tolstoi", data_dir)
    assert (len(text.train), len(text.test), len(set(text.train + text.test))) == (2_556_969, 639_242, 82)


def test_the_wrong_published_file_is_recognised(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is of Fashion-MNIST, not of MNIST\. Set task\.data_dir"):
        read_images("mnist", data_dir / "fashion_mnist")
    for path in (data_dir / "mnist").glob("*.gz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    body = bytearray(gzip.decompress((tmp_path / "t10k-labels-idx1-ubyte.gz").read_bytes()))
    body[5_000] ^= 1
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(body))
    with pytest.raises(DataError, match=r"labels.*damaged: the MD5 of its content is \w+, expected 27ae3e4e"):
        read_images("mnist", tmp_path)


# ------------------------------------------------------------------------------------------------------------ download


class Server:
    """Files over HTTP on this machine; `breaks` says after how many bytes each next answer ends."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks: list[int] = []
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, asked = request.path.rpartition("/")[2], request.headers["Range"]
        self.asked.append((name, asked))
        if name not in self.files:
            request.send_error(404)
            return
        body, start = self.files[name], 0
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                request.send_error(416)
                return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        request.wfile.write(body[start:][: self.breaks.pop(0) if self.breaks else None])
        request.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def offered(server: Server, tmp_path: Path) -> Source:
    """Tiny MNIST that the server offers, with its checksums."""
    import hashlib

    write_idx(tmp_path / "offered", tiny("mnist"), ending=".gz")
    server.files = {path.name: path.read_bytes() for path in (tmp_path / "offered").iterdir()}
    source = tiny("mnist")
    (layout,) = source.layouts

    def summed(file: Any) -> Any:
        body = gzip.decompress(server.files[file.names[0] + ".gz"])
        return file._replace(checksum=hashlib.md5(body).hexdigest(), size=len(body))

    layout = dataclasses.replace(layout, train=tuple(map(summed, layout.train)), test=tuple(map(summed, layout.test)))
    downloads = tuple(Download((server.url + name,), name, 1000) for name in server.files)
    return dataclasses.replace(source, layouts=(layout,), downloads=downloads)


def quietly(*_: Any) -> None:
    """Nobody watches."""


def test_what_is_fetched_is_read_and_not_fetched_again(server: Server, offered: Source, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    fetched = fetch(offered, tmp_path / "data", lambda *each: seen.append(each))
    assert fetched == (tmp_path / "data/mnist", False)
    check_same(read_source(offered, tmp_path / "data"), offered)
    for name, body in server.files.items():
        assert (name, len(body), len(body)) in seen
    assert fetch(offered, tmp_path / "data", quietly) == (tmp_path / "data/mnist", True)
    (tmp_path / "data/mnist/t10k-labels-idx1-ubyte").write_bytes(b"broken, and it would be read first")
    assert not fetch(offered, tmp_path / "data", quietly).was_there
    check_same(read_source(offered, tmp_path / "data"), offered)
    assert (tmp_path / "data/mnist/t10k-labels-idx1-ubyte.broken").exists()
    assert [name for name, _ in server.asked].count("t10k-labels-idx1-ubyte.gz") == 2
    assert [name for name, _ in server.asked].count("train-images-idx3-ubyte.gz") == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_gone_on_with(server: Server, offered: Source, tmp_path: Path, ranges: bool) -> None:
    server.ranges, server.breaks = ranges, [100, 150, 170]
    fetch(offered, tmp_path / "data", quietly)
    check_same(read_source(offered, tmp_path / "data"), offered)
    again = [asked for _, asked in server.asked if asked]
    assert again == (
        ["bytes=100-", "bytes=250-", "bytes=420-"] if ranges else ["bytes=100-", "bytes=150-", "bytes=170-"]
    )
    assert not list((tmp_path / "data").rglob("*.part"))


def test_what_had_arrived_is_kept_for_the_next_call(server: Server, offered: Source, tmp_path: Path) -> None:
    server.breaks = [100, 0]
    with pytest.raises(ResourceError, match=r"the connection broke after 100 bytes.*goes on where it was") as raised:
        fetch(offered, tmp_path / "data", quietly)
    assert raised.value.exit_code == 75
    (part,) = (tmp_path / "data").rglob("*.part")
    assert part.stat().st_size == 100
    fetch(offered, tmp_path / "data", quietly)
    assert server.asked[2][1] == "bytes=100-"
    check_same(read_source(offered, tmp_path / "data"), offered)


def test_a_wrong_file_is_not_kept(server: Server, offered: Source, tmp_path: Path) -> None:
    name = offered.downloads[0].name
    right, server.files[name] = server.files[name], gzip.compress(b"something else")
    with pytest.raises(ResourceError, match="what came is") as raised:
        fetch(offered, tmp_path / "data", quietly)
    assert "Without one, download http" in str(raised.value)
    assert not list((tmp_path / "data/mnist").iterdir())
    del server.files[name]
    with pytest.raises(ResourceError, match="the server answered 404"):
        fetch(offered, tmp_path / "data", quietly)
    server.files[name] = right
    (tmp_path / f"data/mnist/{name}.part").write_bytes(b"the beginning of another file, longer than the whole" * 99)
    fetch(offered, tmp_path / "data", quietly)
    check_same(read_source(offered, tmp_path / "data"), offered)


def test_the_next_mirror_is_asked(server: Server, offered: Source, tmp_path: Path) -> None:
    first = [each._replace(urls=("http://127.0.0.1:9/nobody", *each.urls)) for each in offered.downloads]
    fetch(dataclasses.replace(offered, downloads=tuple(first)), tmp_path / "data", quietly)
    check_same(read_source(offered, tmp_path / "data"), offered)


def test_an_archive_gives_its_data_files_only(server: Server, tmp_path: Path) -> None:
    import hashlib

    source = tiny("cifar100")
    write_batches(tmp_path / "made/cifar100", source, "binary")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(tmp_path / "made/cifar100", "../../cifar-100-binary")
        tar.add(__file__, "/etc/readme.html")
    server.files["c.tar.gz"] = packed.getvalue()
    md5 = hashlib.md5(packed.getvalue()).hexdigest()
    source = dataclasses.replace(source, downloads=(Download((server.url + "c.tar.gz",), "c.tar.gz", 9, md5),))
    (tmp_path / "by hand/cifar-100-binary").mkdir(parents=True)
    (tmp_path / "by hand/cifar-100-binary/c.tar.gz").write_bytes(packed.getvalue())
    for folder, asked in (("by hand", 0), ("data", 1)):
        fetch(source, tmp_path / folder, quietly)
        there = sorted(path.name for path in (tmp_path / folder).rglob("*"))
        assert there == ["cifar-100-binary", "test.bin", "train.bin"]
        check_same(read_source(source, tmp_path / folder), source)
        assert len(server.asked) == asked


def test_a_full_disk_is_named(server: Server, offered: Source, tmp_path: Path) -> None:
    (tmp_path / "data/mnist").mkdir(parents=True)
    (tmp_path / f"data/mnist/{offered.downloads[0].name}.part").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="cannot be written: the disk is full"):
        fetch(offered, tmp_path / "data", quietly)
    huge = [each._replace(size=10**18) for each in offered.downloads]
    with pytest.raises(DiskFull, match="MB are needed"):
        fetch(dataclasses.replace(offered, downloads=tuple(huge)), tmp_path / "data", quietly)


def test_a_page_that_says_not_found_is_no_book(server: Server, tmp_path: Path) -> None:
    server.files["warpeace_input.txt"] = b"<html>moved</html>"
    download = Download((server.url + "warpeace_input.txt",), "warpeace_input.txt", 9)
    source = dataclasses.replace(SOURCES["tolstoi"], downloads=(download,))
    with pytest.raises(ResourceError, match="what came holds 18 characters"):
        fetch(source, tmp_path / "data", quietly)


# -------------------------------------------------------------------------------------------------------- command line


def test_fetch_on_the_command_line(
    data_dir: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real Fashion-MNIST through a proxy that is this server."""
    server.files = {path.name: path.read_bytes() for path in (data_dir / "fashion_mnist").glob("*.gz")}
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    assert main(["data", "fetch", "fmnist"]) == 0
    assert "Fashion-MNIST is now in data/fmnist. Licence: MIT" in capsys.readouterr().out
    assert main(["data", "fetch", "fmnist", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"name": "fmnist", "folder": "data/fmnist", "was_there": True}
    assert main(["data", "fetch", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "Fashion-MNIST: data/fmnist" in listed
    assert "CIFAR-10: not in data" in listed
    assert len(read_images("fmnist").train_inputs) == 60_000


def test_without_a_network_it_is_said_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    assert main(["data", "fetch", "cifar10", "--data-dir", "d"]) == 75
    error = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(error) == 1
    assert "Connection refused" in error[0]
    assert "download https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz elsewhere" in error[0]
    assert error[0].endswith("put it into d/cifar-10-batches-bin, and run this again to unpack it.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["minst"], "unknown data source 'minst'. Did you mean 'mnist'?"),
        (["imagenet"], "accept the terms on https://image-net.org/download"),
        ([], "--list shows the names"),
        (["svhn", "--data-dir", "a_file/below"], "a_file/below/svhn: cannot be written to: Not a directory"),
    ],
)
def test_wrong_words(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a_file").write_text("")
    assert main(["data", "fetch", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_list_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "fetch", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(SOURCES)
    assert all(row["folder"] is None and row["licence"] for row in rows)


def test_fetching_imports_nothing_heavy() -> None:
    code = "import sys; from regimen.cli import main; main(['data', 'fetch', '--list']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
