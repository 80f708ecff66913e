# SPDX-License-Identifier: GPL-2.0-or-later
"""Write an APK without code: what Gradle would make of this app, were there an Android SDK."""

import struct
import sys
import xml.etree.ElementTree as ET
import zipfile

ANDROID = "http://schemas.android.com/apk/res/android"
IDS = {
    "versionCode": 0x0101021B,
    "versionName": 0x0101021C,
    "minSdkVersion": 0x0101020C,
    "targetSdkVersion": 0x01010270,
    "label": 0x01010001,
}
NUMBERS = {"versionCode", "minSdkVersion", "targetSdkVersion"}


def chunk(kind, head, body=b""):
    return struct.pack("<HHI", kind, 8 + len(head), 8 + len(head) + len(body)) + head + body


def manifest(root):
    """The manifest in Android's binary form."""
    attributes = sorted(
        {n.split("}")[1] for e in root.iter() for n in e.attrib if "}" in n}, key=IDS.get
    )
    texts = [*attributes, ANDROID, "android"]
    for element in root.iter():
        texts += [
            element.tag,
            *(n for n in element.attrib if "}" not in n),
            *element.attrib.values(),
        ]
    texts = list(dict.fromkeys(texts))
    at = texts.index
    offsets, data = [], b""
    for text in texts:
        offsets.append(len(data))
        data += struct.pack("<H", len(text)) + text.encode("utf-16-le") + b"\0\0"
    data += b"\0" * (-len(data) % 4)
    head = struct.pack("<IIIII", len(texts), 0, 0, 28 + 4 * len(texts), 0)
    pool = chunk(1, head, struct.pack(f"<{len(texts)}I", *offsets) + data)
    names = chunk(0x180, b"", struct.pack(f"<{len(attributes)}I", *(IDS[a] for a in attributes)))
    none = 0xFFFFFFFF

    def node(kind, body):
        return chunk(kind, struct.pack("<II", 1, none), body)

    def element(e):
        rows = []
        for name, value in e.attrib.items():
            namespace, name = (at(ANDROID), name.split("}")[1]) if "}" in name else (none, name)
            text, kind, number = at(value), 3, at(value)
            if name in NUMBERS:
                text, kind, number = none, 0x10, int(value)
            row = struct.pack("<IIIHBBI", namespace, at(name), text, 8, 0, kind, number)
            rows.append((IDS.get(name, 1 << 32), row))
        rows = b"".join(row for _, row in sorted(rows))
        start = struct.pack("<IIHHHHHH", none, at(e.tag), 20, 20, len(e.attrib), 0, 0, 0)
        inner = b"".join(map(element, e))
        return node(0x102, start + rows) + inner + node(0x103, struct.pack("<II", none, at(e.tag)))

    space = struct.pack("<II", at("android"), at(ANDROID))
    return chunk(3, b"", pool + names + node(0x100, space) + element(root) + node(0x101, space))


with zipfile.ZipFile(sys.argv[1], "w") as apk:
    stamp = (1980, 1, 1, 0, 0, 0)
    apk.writestr(
        zipfile.ZipInfo("AndroidManifest.xml", stamp),
        manifest(ET.parse("AndroidManifest.xml").getroot()),
    )
    # Tools look for the directory of a ZIP in its last kilobyte.
    apk.writestr(zipfile.ZipInfo("assets/filler", stamp), b"x" * 4096)
