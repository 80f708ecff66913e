# SPDX-License-Identifier: GPL-2.0-or-later
"""Make a jar with one class of Debian's Android plugin for gradle, mended.

    mend.py FOLDER_OF_AWAITING_JAVA OUT

`AaptV1` of libgradle-android-plugin-java 2.2.2 has guava transform a future by a function that
gives a future, and takes what comes out for a file: each app with a text or a picture fails. Its
only reference to guava's `Futures` is given another name, that of a class which waits for both.
"""

import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

JARS = Path("/usr/share/java")
CLASS = "com/android/builder/internal/aapt/v1/AaptV1.class"


def utf8(text: str) -> bytes:
    """A name as it stands among the constants of a class: kind, length, characters."""
    return struct.pack(">BH", 1, len(text)) + text.encode()


def main(source: str, out: str) -> None:
    """See above."""
    with zipfile.ZipFile(JARS / "com.android.tools.build.builder.jar") as jar:
        broken = jar.read(CLASS)
    guava = utf8("com/google/common/util/concurrent/Futures")
    if broken.count(guava) != 1:
        sys.exit(f"{CLASS} is not the one that this mends")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(out, "w") as jar:
        javac = ["javac", "-nowarn", "--release", "8", "-cp", str(JARS / "guava.jar")]
        subprocess.run([*javac, "-d", folder, f"{source}/Awaiting.java"], check=True)
        jar.write(f"{folder}/testbed/Awaiting.class", "testbed/Awaiting.class")
        jar.writestr(CLASS, broken.replace(guava, utf8("testbed/Awaiting")))


main(*sys.argv[1:])
