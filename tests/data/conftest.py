import bz2
import gzip
import lzma

import pyarrow
import pytest


def compress_zstandard(content):
    output = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(output, "zstd") as file:
        file.write(content)
    return output.getvalue().to_pybytes()


COMPRESSIONS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": compress_zstandard}


@pytest.fixture(params=COMPRESSIONS)
def compress(request):
    """Replaces a file by a compressed one, once for every kind of compression; gives its path."""

    def replace(path):
        compressed = path.with_name(path.name + request.param)
        compressed.write_bytes(COMPRESSIONS[request.param](path.read_bytes()))
        path.unlink()
        return compressed

    return replace
