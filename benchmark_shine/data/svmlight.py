"""Read svmlight / libsvm files."""
import bz2
import gzip
import lzma
import zlib
from codecs import BOM_UTF8
from io import BytesIO

from sklearn.datasets import load_svmlight_file

from ..checks import check_path

# Widths beyond this are slips of a file, not data: half a dozen vectors of z
# would fill 8 GB.  The widest of LIBSVM's sets has 54,686,452 features.
MOST_FEATURES = 10 ** 8

# First bytes of compressed files, whatever their names are.
PACKED = {
    b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}


def read_svmlight(path):
    """Read a local svmlight / libsvm file, compressed or not.

    gzip, bzip2 and xz are known by their first bytes.  A byte-order mark of
    UTF-8 is passed over, and lines may end as on Unix, Windows or old Macs.

    Returns
    -------
    X : scipy.sparse.csr_matrix, shape (n, p)
    y : ndarray of float64, shape (n,)

    Raises
    ------
    ValueError
        Where there is no such file, where it is damaged, with the number of
        the first line that cannot be read, or where an index goes beyond
        MOST_FEATURES.
    """
    path = check_path("path", path)
    if not path.is_file():
        raise ValueError(f"path: there is no file {path}")
    content = _lines(_unpacked(path))
    try:
        X, y = load_svmlight_file(BytesIO(content))
    except (ValueError, OverflowError) as error:
        number, why = _first_bad_line(content) or ("?", error)
        raise ValueError(
            f"{path}, line {number}: not svmlight format ({why}); expected "
            "'label index:value index:value …'"
        ) from None
    if not len(y):
        raise ValueError(f"{path}: no samples in this file")
    if X.shape[1] > MOST_FEATURES:
        raise ValueError(
            f"{path}: an index of {X.shape[1] - 1:,}, more than the "
            f"{MOST_FEATURES:,} features that this suite reads; number them "
            "from 1 without gaps"
        )
    return X, y


def _unpacked(path):
    content = path.read_bytes()
    for mark, unpack in PACKED.items():
        if content.startswith(mark):
            try:
                return unpack(content)
            except (OSError, EOFError, ValueError, zlib.error,
                    lzma.LZMAError) as error:
                raise ValueError(
                    f"{path}: a damaged compressed file ({error}); copy or "
                    "download it again"
                ) from None
    return content


def _lines(content):
    content = content.removeprefix(BOM_UTF8)
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _first_bad_line(content):
    for number, line in enumerate(content.split(b"\n"), 1):
        try:
            load_svmlight_file(BytesIO(line + b"\n"), zero_based=True)
        except (ValueError, OverflowError) as error:
            return number, error
    return None
