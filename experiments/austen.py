"""A long English text for other experiments: novels by Jane Austen, from a Debian package.

    python experiments/austen.py NOVELS.txt

Takes a few seconds; needs Debian or a derivative, whose `apt-get` downloads 1.6 MB (root and R are not needed). Writes the
first 1,600,000 characters of Sense and Sensibility, Pride and Prejudice and Mansfield Park, in the order of publication. The
held-out last tenth begins in Mansfield Park, some chapters after its first page.
"""

import subprocess
import tempfile
import zlib
from pathlib import Path

import tyro

PACKAGE, DATA = "r-cran-janeaustenr", "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
NOVELS = ("SENSE AND SENSIBILITY", "PRIDE AND PREJUDICE", "MANSFIELD PARK")


def main(output: tyro.conf.Positional[str], characters: int = 1_600_000) -> None:
    """Write the text.

    Args:
      output: the file to write.
      characters: its length.
    """
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "-qq", "download", PACKAGE], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        package = next(Path(folder).glob("*.deb"))
        subprocess.run(["dpkg", "-x", package, folder], check=True)
        novels = read_novels(Path(folder, DATA).read_bytes())
    text = "\n\n".join(novels[title] for title in NOVELS)
    Path(output).write_text(text[:characters], "utf-8")
    print(f"{output}: {min(characters, len(text)):,} characters")


def read_novels(data: bytes) -> dict[str, str]:
    """Return the novels in a database of R by their first line: compressed vectors of lines, each after its length."""
    novels = {}
    while data:
        stream = zlib.decompressobj()
        lines = read_lines(stream.decompress(data[4:]))
        novels[lines[0]] = "\n".join(lines)
        data = stream.unused_data
    return novels


def read_lines(vector: bytes) -> list[str]:
    """Return the strings of a serialised vector: for each one, four bytes of flags, its length and its bytes."""
    start = vector.index(b"\x00\x00\x00\x10") + 4  # the type of a vector of strings
    count, at, lines = int.from_bytes(vector[start : start + 4], "big"), start + 4, []
    for _ in range(count):
        length = int.from_bytes(vector[at + 4 : at + 8], "big")
        lines.append(vector[at + 8 : at + 8 + length].decode("utf-8"))
        at += 8 + length
    return lines


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
