"""Images in folders named by class, as torchvision's ImageFolder has them: ``train/<class>/``, or only ``<class>/``."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import torch

from orchestrator.data.annotations import WORDS, annotated_files, class_words, find_annotations
from orchestrator.data.dataset import ONE_CLASS, Dataset, Split
from orchestrator.data.default_test_split import Files, split_by_names
from orchestrator.data.errors import as_data_error
from orchestrator.data.image_files import SUFFIXES, image_files, is_image, passed_over_note, visible
from orchestrator.data.images import ImageDecoder
from orchestrator.data.split_names import VALIDATION, choose_splits
from orchestrator.errors import DataError
from orchestrator.spec import DatasetSpec
from orchestrator.text import listed

LEARNED = {"train", "training"}  # words in the names of folders that are splits and no classes
UNSORTED = {"images", "image", "imgs", "img", "test", "unknown", "unlabelled", "unlabeled"}  # of images without labels
JUDGED = {"test", "testing", "eval", "evaluation", *VALIDATION}
_JOINED = re.compile(r"(.+?)(?:set|data|dataset|images|imgs)?\d*")  # trainset, val2017: a split, and what is said of it


def load_image_folder(folder: Path, spec: DatasetSpec) -> Dataset:
    """Read ``train/``, ``test/`` and, where there is one, ``val/``, ``valid/``, ``validation/`` or ``dev/``.

    Without ``test/``, or if nothing says what its images are, the validation split is the test split, which is said:
    choices are then made on images held out of ``train/``. The images of a split are in class folders, or their classes
    in a file ``*_annotations.txt``. Classes are in the order of their names. Hidden files and those that are no images
    are passed over; links are followed. Raises DataError naming the file or folder.
    """
    passed: list[Path] = []
    folders = [path for path in visible(folder) if path.is_dir()]
    training = folder / (spec.splits.train or "train")
    learned = _class_files(training, passed) if training.is_dir() else {}
    unlabelled = [path.name for path in folders if path.name in JUDGED and _is_unlabelled(path, learned)]
    splits = choose_splits(
        folder,
        spec.splits,
        holds=lambda name: (folder / name).is_dir() and name not in unlabelled,
        written=lambda name: f"{name}/",
        present=lambda: [f"{path.name}/{' without labels' * (path.name in unlabelled)}" for path in folders],
        hint=f"; or name {training} as the dataset, from which a test split is made then",
    )
    _check_number(training, learned)
    files = {splits.train: learned}
    for name in splits.names[1:]:
        files[name] = _split_files(folder, name, learned, passed)
        if list(files[name]) != list(learned):
            different = sorted(set(learned) ^ set(files[name]))
            raise DataError(f"{folder}: {splits.train}/ and {name}/ have different classes: {', '.join(different)}")
    words = class_words(folder, list(learned))
    others = [f"{p.name}/" for p in folders if p.name not in (*splits.names, *unlabelled)]
    notes = (
        *splits.notes,
        *(f"{folder}: {name}/ has no labels and is not used" for name in unlabelled),
        *([f"{folder}: the names of the classes are those in {WORDS}"] if words else []),
        *([f"{folder}: passed over: {', '.join(others)}"] if others else []),
        *passed_over_note(folder, passed),
    )
    return _dataset(spec, [files[name] for name in splits.names], words or tuple(learned), notes)


def load_class_folders(folder: Path, spec: DatasetSpec) -> Dataset:
    """Read ``<class>/`` without a split: ``spec.test`` of each class, by the files' names, is the test split.

    Raises DataError naming the file or folder, also if the folders seem to be splits.
    """
    passed: list[Path] = []
    folders = [path for path in visible(folder) if path.is_dir()]
    _refuse_splits(folder, folders)
    files = _class_files(folder, passed)
    _check_number(folder, files)
    train, test = split_by_names(files, spec.test, folder)
    count = sum(map(len, test.values()))
    notes = (
        f"{folder}: has no splits; {spec.test:.3g} of each class, {count:,} images chosen by their files' names, are "
        "the test split for every seed (dataset.test)",
        *passed_over_note(folder, passed),
    )
    return _dataset(spec, [train, test], tuple(train), notes)


def has_class_folders(folder: Path) -> bool:
    """Whether there are folders in ``folder`` with images in them, or in folders in them."""
    inner = [path for entry in visible(folder) if entry.is_dir() for path in visible(entry)]
    deeper = (path for entry in inner if entry.is_dir() for path in visible(entry))
    return any(path.suffix.lower() in SUFFIXES for path in chain(inner, deeper))


def _refuse_splits(folder: Path, folders: list[Path]) -> None:
    """Raise DataError if the ``folders`` in ``folder`` seem to be splits, by their names or by what they hold."""
    seeming, alike = _seeming_splits([path.name for path in folders]), _held_by_all(folders)
    if not seeming and len(alike) < 2:
        return
    named = ", ".join(f"{name}/" for name in seeming or [path.name for path in folders])
    held, otherwise = "", ""
    if not seeming:
        held = f", which hold the same folders, {listed([f'{name}/' for name in alike])}"
        otherwise = f"; if they are classes, put the images of each into its own folder, such as {folders[0]}"
    raise DataError(
        f"{folder}: holds neither train-*.parquet nor train/, but {named}{held}; "
        f"name its splits: dataset.splits.train and dataset.splits.test, for example{otherwise}"
    )


def _seeming_splits(names: list[str]) -> list[str]:
    """Those that are called like splits; ``bullet_train`` is one beside ``bullet_test``, but not alone."""
    words = {name: _words(name) for name in names}
    if not any(name.lower() in LEARNED | JUDGED for name in names):
        kinds = [any(found & kind for found in words.values()) for kind in (LEARNED, JUDGED)]
        if not all(kinds):
            return []
    return [name for name in names if words[name] & (LEARNED | JUDGED)]


def _words(name: str) -> set[str]:
    """The words of a folder's name, and of those such as ``trainset`` and ``val2017`` what they begin with."""
    words = {word for word in re.split(r"[\W_]+", name.lower()) if word}
    return words | {match[1] for word in words if (match := _JOINED.fullmatch(word))}


def _held_by_all(folders: list[Path]) -> list[str]:
    """The names of the folders that each of two or more ``folders`` holds; none if one of them holds images itself."""
    if len(folders) < 2 or any(path.suffix.lower() in SUFFIXES for one in folders for path in visible(one)):
        return []
    inner = [{path.name for path in visible(one) if path.is_dir()} for one in folders]
    return sorted(set.intersection(*inner))


def _class_files(folder: Path, passed_over: list[Path]) -> Files:
    """The images of each class folder in ``folder``, both in order of their names."""
    files: Files = {}
    for entry in visible(folder):
        if entry.is_dir():
            others: list[Path] = []
            files[entry.name] = image_files(entry, others)
            if not files[entry.name]:
                only = f", only {listed([path.name for path in others])}" if others else ""
                raise DataError(f"{entry}: holds no images{only}")
            passed_over += others
        elif is_image(entry):
            raise DataError(
                f"{entry}: an image beside the class folders of {folder}; put it into the folder of its class"
            )
        else:
            passed_over.append(entry)
    if not files:
        raise DataError(f"{folder}: holds no class folders")
    return files


def _check_number(folder: Path, files: Files) -> None:
    """Raise DataError if the class folders in ``folder`` are but one."""
    if len(files) == 1:
        only = folder / next(iter(files))
        inner = [path.name for path in visible(only) if path.is_dir()]
        hint = f"; if its classes are {listed(inner)}, name {only}" if len(inner) > 1 else ""
        raise DataError(f"{folder}: {ONE_CLASS}: {only.name}{hint}")


def _split_files(folder: Path, name: str, classes: Mapping[str, list[Path]], passed_over: list[Path]) -> Files:
    """The images of each class of one split, by its class folders or by its file of annotations."""
    annotations = find_annotations(folder / name)
    if annotations is None or any((folder / name / label).is_dir() for label in classes):
        return _class_files(folder / name, passed_over)
    return annotated_files(annotations, list(classes), passed_over)


def _is_unlabelled(folder: Path, classes: Mapping[str, list[Path]]) -> bool:
    """Whether a split holds images of which nothing says the class: all in one folder, or in none."""
    if find_annotations(folder) is not None:
        return False
    entries = visible(folder)
    inner = [path for path in entries if path.is_dir()]
    if not inner:
        return any(map(is_image, entries))
    alone = len(inner) == 1 and inner[0].name not in classes and inner[0].name.lower() in UNSORTED
    return alone and bool(image_files(inner[0], []))


def _dataset(spec: DatasetSpec, splits: list[Files], classes: tuple[str, ...], notes: tuple[str, ...]) -> Dataset:
    """The dataset of the files of its training, test and perhaps validation split, decoded in this order."""
    decoder = ImageDecoder(spec.image_size, spec.channels)
    train, test, *own = (_read(files, decoder) for files in splits)
    return Dataset(spec.name, train, test, classes, own[0] if own else None, (*decoder.notes(), *notes))


def _read(files: Files, decoder: ImageDecoder) -> Split:
    labels = [label for label, paths in enumerate(files.values()) for _ in paths]
    return Split(decoder.decode(_contents(files)), torch.tensor(labels))


def _contents(files: Files) -> Iterator[tuple[str, bytes]]:
    for paths in files.values():
        for path in paths:
            with as_data_error(path):
                content = path.read_bytes()
            yield str(path), content
