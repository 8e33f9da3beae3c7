"""An artifact on disk: what its manifest promises, and a reader that believes no file before its hash fits.

Nothing in an artifact can run code: JSON, npz archives without pickle, and two texts for other tools that are
hashed but never parsed here.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import stat
import zipfile
from pathlib import Path
from typing import IO, Any, Final, NoReturn

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray

from scheduler.columns.arrays import MISSING_KEY
from scheduler.errors import ArtifactError, SpecError
from scheduler.features.trained_means import MeansByKey, no_means, trained_keys
from scheduler.forest.table_size import check_table_bytes
from scheduler.forest.trees import load_trees
from scheduler.model.manifest import (
    FORMAT,
    GOLDEN,
    MANIFEST,
    MEANS,
    NO_DIGEST,
    SPEC,
    WITH_CAPACITY,
    Contents,
    Golden,
    Manifest,
    file_names,
    head_files,
)
from scheduler.spec import Spec, spec_from_json

MAX_MANIFEST_BYTES: Final = 2**23
"""Of names of features and categories, of which half a million fit."""

MAX_ARTIFACT_BYTES: Final = 2**28
"""Of all files together: 4 heads of 1,000 trees of 64 leaves in three forms take 60 MB, and whoever loads an artifact
has all of them in memory at once, some twice."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class _Format(msgspec.Struct):
    """The one key of a manifest that every format has."""

    format: int


class _Named(io.BytesIO):
    """Bytes of a file that errors can name."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(data)
        self.name = str(path)


def check_name(name: str, where: str) -> None:
    """Raise `ArtifactError` unless ``name`` can be part of a file name and of nothing else."""
    if _NAME.fullmatch(name) is None:
        _refuse(where, "a name of letters, digits, _, - and ., not starting with - or .", repr(name))


def check_files(folder: str | Path) -> Manifest:
    """Check that a folder holds exactly the files its manifest lists, each with its hash.

    Parameters
    ----------
    folder
        The artifact.

    Returns
    -------
    Manifest

    Raises
    ------
    ArtifactError
        Naming the file, what was expected and what was found.
    """
    return _read(Path(folder))[0]


def read_artifact(folder: str | Path) -> Contents:
    """Read an artifact and check all that can be checked without evaluating it.

    Parameters
    ----------
    folder
        The artifact.

    Returns
    -------
    Contents

    Raises
    ------
    ArtifactError
        Naming the file, what was expected and what was found.
    """
    folder = Path(folder)
    manifest, files = _read(folder)
    try:
        spec = spec_from_json(files[SPEC])
    except SpecError as error:
        message = f"{folder / SPEC}: {error}"
        raise ArtifactError(message) from error
    _check_spec(folder / MANIFEST, manifest, spec)
    if (MEANS in manifest.files) != bool(trained_keys(spec)):
        expected, found = ("a file", "none") if trained_keys(spec) else ("no file", "one")
        _refuse(folder / MEANS, f"{expected}, by the features in {SPEC}", found)
    trees = []
    for head in manifest.heads:
        path = folder / head_files(head)[0]
        _check_archive(path, files[path.name])
        trees.append(load_trees(_Named(files[path.name], path)))
    check_table_bytes(trees, str(folder), ArtifactError)
    golden = _read_golden(folder / GOLDEN, files[GOLDEN], manifest.format)
    _check_golden(folder / GOLDEN, golden, manifest, sum(one.n_trees for one in trees))
    means = _read_means(folder / MEANS, files[MEANS], spec) if MEANS in files else no_means(spec)
    return Contents(manifest, spec, tuple(trees), golden, means)


def _refuse(where: str | Path, expected: object, found: object) -> NoReturn:
    message = f"{where}: expected {expected}, found {found}"
    raise ArtifactError(message)


def _read(folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    """Return the manifest and the bytes of the other files; each file is read once."""
    try:
        present = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        _refuse(folder, "the folder of an artifact", error.strerror)
    if MANIFEST not in present:
        _refuse(folder / MANIFEST, "a manifest", "no such file")
    manifest = _decode(folder / MANIFEST, _bytes(folder / MANIFEST, MAX_MANIFEST_BYTES))
    for name in sorted(manifest.files.keys() - set(present)):
        _refuse(folder / name, "a file, because the manifest lists it", "no such file")
    for name in present:
        if name not in manifest.files and name != MANIFEST:
            _refuse(folder / name, "no file that the manifest does not list", "one")
    files: dict[str, bytes] = {}
    for name in manifest.files:
        files[name] = _bytes(folder / name, MAX_ARTIFACT_BYTES - sum(map(len, files.values())))
    for name, data in files.items():
        found = hashlib.sha256(data).hexdigest()
        if found != manifest.files[name]:
            _refuse(folder / name, f"SHA-256 {manifest.files[name]}", found)
    return manifest, files


def _bytes(path: Path, limit: int) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            _refuse(path, "a regular file", "something else")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        _refuse(path, "a readable file", error.strerror)
    if len(data) > limit:
        _refuse(path, f"at most {limit:,} bytes", "more")
    return data


def _decode(path: Path, data: bytes) -> Manifest:
    try:
        version = msgspec.json.decode(data, type=_Format).format
        if version not in range(1, FORMAT + 1):
            _refuse(path, f"an artifact of format 1 to {FORMAT}", version)
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _refuse(path, "a manifest", f"one that cannot be read ({error})")
    found = hashlib.sha256(data.replace(manifest.digest.encode(), NO_DIGEST.encode(), 1)).hexdigest()
    if found != manifest.digest:
        _refuse(path, f"SHA-256 {manifest.digest} (its digest)", found)
    for where, name in (
        ("name", manifest.name),
        ("version", manifest.version),
        *(("heads", h) for h in manifest.heads),
    ):
        check_name(name, f"{path}: {where}")
    expected = file_names(manifest.heads, means=MEANS in manifest.files)
    if sorted(manifest.files) != expected:
        _refuse(f"{path}: files", ", ".join(expected), ", ".join(sorted(manifest.files)) or "none")
    return manifest


def _check_spec(path: Path, manifest: Manifest, spec: Spec) -> None:
    """Compare what the manifest says about the spec with the spec itself."""
    fingerprint = spec.fingerprint() if manifest.format > WITH_CAPACITY else spec.fingerprint_with_capacity()
    for what, found, expected in (
        ("name", manifest.name, spec.name),
        ("fingerprint", manifest.fingerprint, fingerprint),
        ("features", manifest.features, tuple(spec.features)),
        ("heads", tuple(manifest.heads), tuple(spec.heads)),
    ):
        if found != expected:
            _refuse(f"{path}: {what}", f"{expected} as in {SPEC}", found)
    for name, head in spec.heads.items():
        calibration = manifest.heads[name]
        if calibration.link != head.link:
            _refuse(f"{path}: heads.{name}.link", f"{head.link} as in {SPEC}", calibration.link)
    for name, shares in manifest.importance.items():
        if name not in spec.heads or shares.keys() != spec.features.keys():
            _refuse(f"{path}: importance", f"a share of each feature for heads of {SPEC}", f"{name}: {sorted(shares)}")
    for name, categories in manifest.vocabulary.items():
        side, _, column = name.partition(".")
        columns = {"request": spec.request, "node": spec.node}.get(side, {})
        if column not in columns or columns[column].type != "category":
            _refuse(f"{path}: vocabulary", "request.CATEGORY or node.CATEGORY", repr(name))
        if len(set(categories)) != len(categories):
            _refuse(f"{path}: vocabulary.{name}", "each category once", "one twice")


def _check_archive(path: Path, data: bytes) -> None:
    """Refuse an npz archive whose arrays would take more memory than its bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                _refuse(path, "stored arrays", "compressed ones")
            if sum(m.file_size for m in members) > len(data):
                _refuse(path, f"at most {len(data)} bytes of arrays", "more")
            for member in members:
                with archive.open(member) as file:
                    _check_header(path, member, file)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, RuntimeError, OSError) as error:
        _refuse(path, "an npz archive", f"one that cannot be read ({error})")


def _check_header(path: Path, member: zipfile.ZipInfo, file: IO[bytes]) -> None:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        _refuse(f"{path}: {member.filename}", "an array of npy version 1.0", version)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or file.tell() + size != member.file_size:
        _refuse(f"{path}: {member.filename}", f"{member.file_size} bytes of numbers", f"{dtype} of shape {shape}")


def _read_arrays(path: Path, data: bytes, expected: set[str]) -> dict[str, NDArray[Any]]:
    _check_archive(path, data)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        _refuse(path, "an npz archive", f"one that cannot be read ({error})")
    if set(arrays) != expected:
        _refuse(path, f"the arrays {', '.join(sorted(expected))}", ", ".join(sorted(arrays)) or "none")
    return arrays


def _read_means(path: Path, data: bytes, spec: Spec) -> MeansByKey:
    means = MeansByKey(**_read_arrays(path, data, set(MeansByKey._fields)))
    n = means.keys.size
    shapes = {"keys": (n,), "rows": (n, no_means(spec).rows.shape[1])}
    for (name, array), dtype in zip(means._asdict().items(), (np.uint64, np.float32), strict=True):
        _check_array(f"{path}: {name}", array, dtype, shapes[name])
    if n and (means.keys[0] == MISSING_KEY or (means.keys[1:] <= means.keys[:-1]).any()):
        _refuse(f"{path}: keys", "keys above 0, each above the one before", "others")
    if not np.isfinite(means.rows).all() or (means.rows[:, ::2] < 0.0).any():
        _refuse(f"{path}: rows", "finite means, and numbers of outcomes of 0 or more", "others")
    return means


def _read_golden(path: Path, data: bytes, version: int) -> Golden:
    arrays = _read_arrays(path, data, set(Golden._fields) - ({"variance"} if version == 1 else set()))
    return Golden(**{"variance": np.zeros(arrays["raw"].shape), **arrays})


def _check_golden(path: Path, golden: Golden, manifest: Manifest, n_trees: int) -> None:
    n, n_heads = golden.rows.shape[0] if golden.rows.ndim else 0, len(manifest.heads)
    if n == 0:
        _refuse(f"{path}: rows", "at least one row", "none")
    for name, dtype, width in (
        ("rows", np.float32, len(manifest.features)),
        ("leaves", np.int32, n_trees),
        ("raw", np.float64, n_heads),
        ("values", np.float64, n_heads),
        ("variance", np.float64, n_heads),
    ):
        _check_array(f"{path}: {name}", getattr(golden, name), dtype, (n, width))


def _check_array(where: str, array: NDArray[Any], dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        _refuse(where, f"{np.dtype(dtype)} of shape {shape}", f"{array.dtype} of shape {array.shape}")
