"""The table of data sources: which files each has, where people keep them, where they come from, how they are checked.

Checksums are of a file's content, after gunzip where it is compressed: a file packed again is still the same data.
MD5 sums are those that the publishers, torchvision or other public loaders print; sizes are in bytes.
"""

from __future__ import annotations

from regimen.benchmark.sources.source import DataFile, Download, Layout, Source
from regimen.errors import Problem, SpecError, did_you_mean


def find_source(name: str) -> Source:
    """The source of that name. Raises `SpecError` with the nearest known one."""
    if name not in SOURCES:
        raise SpecError(Problem("", f"unknown data source {name!r}.", did_you_mean(name, SOURCES)))
    return SOURCES[name]


def _places(*folders: str) -> tuple[str, ...]:
    """Each folder as it is, then below `pytorch/` as later DeepOBS versions have it, then the data folder itself."""
    return (*folders, *(f"pytorch/{folder}" for folder in folders), "pytorch", "")


def _idx(part: str, what: str, size: int, checksum: str) -> DataFile:
    kind = "idx3" if what == "images" else "idx1"
    return DataFile(tuple(f"{part}-{what}{mark}{kind}-ubyte" for mark in "-."), size, checksum)


def _idx_layout(folders: tuple[str, ...], checksums: tuple[str, str, str, str]) -> Layout:
    """The four files of MNIST and its successors: pictures and labels to train on, then those to test on."""
    train_images, train_labels, test_images, test_labels = checksums
    train = _idx("train", "images", 47_040_016, train_images), _idx("train", "labels", 60_008, train_labels)
    test = _idx("t10k", "images", 7_840_016, test_images), _idx("t10k", "labels", 10_008, test_labels)
    return Layout("idx", folders, train, test)


def _idx_downloads(mirrors: tuple[str, ...], sizes: tuple[int, int, int, int]) -> tuple[Download, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    files = (f"{name}-ubyte.gz" for name in names)
    return tuple(
        Download(tuple(mirror + file for mirror in mirrors), file, size)
        for file, size in zip(files, sizes, strict=True)
    )


def _batch(name: str, checksum: str, size: int | None = None) -> DataFile:
    return DataFile((name,), size, checksum)


_MNIST = Source(
    name="mnist",
    title="MNIST",
    layouts=(
        _idx_layout(
            _places("mnist", "MNIST/raw", "MNIST", "mnist/MNIST/raw", "mnist/raw"),
            (
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
    ),
    home="mnist",
    licence="Copyright Y. LeCun and C. Cortes; commonly listed as CC BY-SA 3.0.",
    downloads=_idx_downloads(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        (9_912_422, 28_881, 1_648_877, 4_542),
    ),
    shape=(1, 28, 28),
    num_classes=10,
    train_rows=60_000,
    test_rows=10_000,
)

_FMNIST = Source(
    name="fmnist",
    title="Fashion-MNIST",
    layouts=(
        _idx_layout(
            _places("fmnist", "fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fmnist/raw"),
            (
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "9018921c3c673c538a1fc5bad174d6f9",
                "8181f5470baa50b63fa0f6fddb340f0a",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
        ),
    ),
    home="fmnist",
    licence="MIT (Zalando SE).",
    downloads=_idx_downloads(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",), (26_421_880, 29_515, 4_422_102, 5_148)
    ),
    shape=(1, 28, 28),
    num_classes=10,
    train_rows=60_000,
    test_rows=10_000,
)

_CIFAR_LICENCE = "None stated; A. Krizhevsky asks to cite his technical report (2009)."
_CIFAR10 = Source(
    name="cifar10",
    title="CIFAR-10",
    layouts=(
        Layout(
            "cifar-binary",
            _places("cifar-10-batches-bin", "cifar-10", "cifar10", "cifar10/cifar-10-batches-bin"),
            train=(
                _batch("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25", 30_730_000),
                _batch("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692", 30_730_000),
                _batch("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421", 30_730_000),
                _batch("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb", 30_730_000),
                _batch("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d", 30_730_000),
            ),
            test=(_batch("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d", 30_730_000),),
        ),
        Layout(
            "cifar-pickled",
            _places("cifar-10-batches-py", "cifar10/cifar-10-batches-py", "CIFAR10/cifar-10-batches-py", "cifar10"),
            train=(
                _batch("data_batch_1", "c99cafc152244af753f735de768cd75f"),
                _batch("data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
                _batch("data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
                _batch("data_batch_4", "634d18415352ddfa80567beed471001a"),
                _batch("data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            ),
            test=(_batch("test_batch", "40351d587109b95175f43aff81a1287e"),),
        ),
    ),
    home="cifar-10-batches-bin",
    licence=_CIFAR_LICENCE,
    downloads=(
        Download(
            ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c32a1d4ab5d03f1284b67883e8d87530",
        ),
    ),
    shape=(3, 32, 32),
    num_classes=10,
    train_rows=50_000,
    test_rows=10_000,
)

_CIFAR100 = Source(
    name="cifar100",
    title="CIFAR-100",
    layouts=(
        Layout(
            "cifar-binary",
            _places("cifar-100-binary", "cifar-100", "cifar100", "cifar100/cifar-100-binary"),
            train=(_batch("train.bin", "6172c7755cfe09b2fe270c85cebc1b15", 153_700_000),),
            test=(_batch("test.bin", "4499cfba6c016c1be1438163640a0898", 30_740_000),),
        ),
        Layout(
            "cifar-pickled",
            _places("cifar-100-python", "cifar100/cifar-100-python", "CIFAR100/cifar-100-python", "cifar100"),
            train=(_batch("train", "16019d7e3df5f24257cddd939b257f8d"),),
            test=(_batch("test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
        ),
    ),
    home="cifar-100-binary",
    licence=_CIFAR_LICENCE,
    downloads=(
        Download(
            ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
            "cifar-100-binary.tar.gz",
            168_513_733,
            "03b5dce01913d631647c71ecec9e9cb8",
        ),
    ),
    shape=(3, 32, 32),
    num_classes=100,
    train_rows=50_000,
    test_rows=10_000,
)

_SVHN = Source(
    name="svhn",
    title="SVHN",
    layouts=(
        Layout(
            "svhn",
            _places("svhn", "SVHN"),
            train=(_batch("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794),),
            test=(_batch("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", 64_275_384),),
        ),
    ),
    home="svhn",
    licence="For non-commercial use only (Stanford).",
    downloads=tuple(
        Download((f"http://ufldl.stanford.edu/housenumbers/{name}",), name, size)
        for name, size in (("train_32x32.mat", 182_040_794), ("test_32x32.mat", 64_275_384))
    ),
    shape=(3, 32, 32),
    num_classes=10,
    train_rows=73_257,
    test_rows=26_032,
)

_IMAGENET = Source(
    name="imagenet",
    title="ImageNet",
    layouts=(Layout("pictures", _places("imagenet", "imagenet/pytorch", "ImageNet", "ILSVRC2012")),),
    home="imagenet",
    licence="For non-commercial research; each user accepts the terms of image-net.org.",
    by_hand="accept the terms on https://image-net.org/download, download ILSVRC2012_img_train.tar and "
    "ILSVRC2012_img_val.tar, and unpack them to train/<wnid>/*.JPEG and val/<wnid>/*.JPEG",
    num_classes=1_000,
    train_rows=1_281_167,
    test_rows=50_000,
)

_TOLSTOI = Source(
    name="tolstoi",
    title="War and Peace",
    layouts=(
        Layout(
            "text",
            ("tolstoi", "war_and_peace", "pytorch/tolstoi", ""),
            train=(DataFile(("warpeace_input.txt", "war_and_peace.txt", "input.txt"), None, None),),
        ),
    ),
    home="tolstoi",
    licence="Public domain (Project Gutenberg).",
    downloads=(
        Download(
            ("https://cs.stanford.edu/people/karpathy/char-rnn/warpeace_input.txt",), "warpeace_input.txt", 3_196_228
        ),
    ),
)

SOURCES: dict[str, Source] = {
    source.name: source for source in (_MNIST, _FMNIST, _CIFAR10, _CIFAR100, _SVHN, _IMAGENET, _TOLSTOI)
}
