"""Writes a bundle: the same run gives the same bytes, whenever and in whatever order it is read."""

import contextlib
import dataclasses
import hashlib
import io
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sdbench.bundles.contents import contents_of, without_identity
from sdbench.bundles.evidence import evidence_of
from sdbench.bundles.format import MANIFEST, REPORT, SUMMARY, is_image, manifest_of, order_of
from sdbench.bundles.installation import Installation
from sdbench.bundles.publishable import Publishable, publishable
from sdbench.bundles.removed import Removed, removed_from
from sdbench.bundles.summary import encoded, examine, load_contents
from sdbench.bundles.times import unconfirmed
from sdbench.errors import StoreError
from sdbench.files.access import write_inside
from sdbench.privacy.redact_shared import NOTHING_KEPT, Kept
from sdbench.report.html import html_report
from sdbench.runs import LoadedRun, load_run

# The earliest that a zip file can say.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_UNIX, _PLAIN_FILE = 3, 0o100644 << 16
_LEVEL = 9
# The page shows the images of images/ smaller; both together must not be too much.
_PAGE_PICTURE_BYTES = 400_000


@dataclass(frozen=True)
class Bundle:
    """A sealed run, as it would be written."""

    data: bytes
    members: dict[str, bytes]
    removed: list[Removed]
    publishable: Publishable
    loaded: LoadedRun
    """The run as it is in the bundle."""

    @property
    def sha256(self) -> str:
        """Of the whole file."""
        return hashlib.sha256(self.data).hexdigest()


def bundle_of(
    path: Path, installation: Installation, *, kept: Kept = NOTHING_KEPT, label: str | None = None
) -> Bundle:
    """The bundle of a run in its folder, whatever state the run was left in.

    Args:
        path: the run's folder.
        installation: whose random id and salt the bundle has.
        kept: what of the user's own stays in it.
        label: the run's label in the bundle; None leaves it as it is.

    Raises:
        UsageError: there is no run.
        StoreError: it cannot be read, or the bundle cannot be laid out.
    """
    original = load_run(path, as_recorded=True)
    labelled = original
    if label is not None:
        labelled = dataclasses.replace(
            original, run=msgspec.structs.replace(original.run, label=label)
        )
    contents = contents_of(without_identity(labelled, kept, installation))
    members = dict(contents.members)
    lines_left_out = original.unreadable + original.left_out
    with laid_out(members) as folder:
        loaded = _as_read_back(folder, path)
        examined = examine(loaded)
        members[SUMMARY] = encoded(examined.document)
        page = html_report([loaded], picture_bytes=_PAGE_PICTURE_BYTES)
        members[REPORT] = page.encode("utf-8")
    manifest = manifest_of(members, lines_left_out)
    members[MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    return Bundle(
        data=sealed(members),
        members={name: members[name] for name in sorted(members, key=order_of)},
        removed=removed_from(original, contents, kept),
        publishable=publishable(
            examined, lines_left_out, evidence_of(loaded, members, unconfirmed(loaded, members))
        ),
        loaded=loaded,
    )


def _as_read_back(folder: Path, path: Path) -> LoadedRun:
    try:
        return load_contents(folder)
    except StoreError as error:
        words = str(error).replace(str(folder), str(path))
        raise StoreError(f"{words} (without what is private)") from None


def sealed(members: Mapping[str, bytes]) -> bytes:
    """The zip file of members: order, times, permissions and compression are fixed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(members, key=order_of):
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.create_system = _UNIX
            entry.external_attr = _PLAIN_FILE
            kind = zipfile.ZIP_STORED if is_image(name) else zipfile.ZIP_DEFLATED
            archive.writestr(entry, members[name], compress_type=kind, compresslevel=_LEVEL)
    return file.getvalue()


@contextlib.contextmanager
def laid_out(members: Mapping[str, bytes]) -> Iterator[Path]:
    """The members as files of a run folder, in a temporary folder of this user alone.

    Names must be those of members (:func:`~sdbench.bundles.format.is_member`).
    """
    with tempfile.TemporaryDirectory(prefix="sdbench-bundle-") as place:
        folder = Path(place)
        for name, data in members.items():
            write_inside(folder, *name.split("/"), data=data, flushed=False)
        yield folder
