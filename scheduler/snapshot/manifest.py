"""What a snapshot says of itself."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from scheduler.model.manifest import NO_DIGEST

FORMAT: Final = 2
"""Format 1 had other keys for ids that are integers: history of them would never be found again."""

MANIFEST: Final = "manifest.json"


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of numbers.

    Attributes
    ----------
    file
        Its name.
    dtype
        As numpy writes it, little-endian.
    shape
        Rows first.
    sha256
        Of the file.
    """

    file: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a snapshot holds, and under which definitions.

    Attributes
    ----------
    format
        `FORMAT`.
    fingerprint
        Of the spec that laid out the state.
    spec
        That spec as JSON, by which a state of another spec knows what both define alike.
    settings
        Of the scheduler, by name; None for those at their default.
    columns
        The files by the name of what they hold.
    digest
        SHA-256 of the manifest with zeros in place of the digest.
    """

    format: int
    fingerprint: str
    spec: str
    settings: dict[str, int | float | None]
    columns: dict[str, Column]
    digest: str = NO_DIGEST


def encode(manifest: Manifest) -> bytes:
    """Return a manifest as it is written, with its digest."""
    data = msgspec.json.encode(msgspec.structs.replace(manifest, digest=NO_DIGEST))
    return msgspec.json.encode(msgspec.structs.replace(manifest, digest=hashlib.sha256(data).hexdigest()))


def decode(data: bytes) -> Manifest:
    """Return a manifest.

    Raises
    ------
    ValueError
        If it is none, of another format, or changed since it was written.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"expected a manifest, found one that cannot be read ({error})"
        raise ValueError(message) from error
    if manifest.format != FORMAT:
        message = f"expected a snapshot of format {FORMAT}, found {manifest.format}"
        raise ValueError(message)
    if encode(manifest) != data:
        message = "expected a manifest with its own SHA-256, found one that was changed"
        raise ValueError(message)
    return manifest
