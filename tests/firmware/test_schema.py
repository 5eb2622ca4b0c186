# SPDX-License-Identifier: Apache-2.0
"""The shorter schema: only the object API is missing, and a new build keeps the file."""

from __future__ import annotations

import re
from pathlib import Path

from m3net_tf.boards.builds.library import schema_flags, without_object_api

HEADER = """\
#ifndef GUARD
struct ModelT;
struct KindUnion {
  Kind type;
};
bool VerifyKind(int type);
struct ModelT : public ::flatbuffers::NativeTable {
  int version = 0;
};
struct Model FLATBUFFERS_FINAL_CLASS : private ::flatbuffers::Table {
  ModelT *UnPack() const;
};
inline ::flatbuffers::Offset<Model> CreateModel(Builder &_fbb, int version) {
  return version;
}
inline ModelT::ModelT(const ModelT &o)
      : version(o.version) {
}
inline ModelT *Model::UnPack() const {
  return new ModelT();
}
inline Offset CreateModel(Builder &_fbb, const ModelT *_o) {
  return 0;
}
inline void KindUnion::Reset() {
}
inline const Model *GetModel(const void *buf) {
  return buf;
}
#endif
"""


def test_only_the_object_api_is_missing():
    text = without_object_api(HEADER)
    defined = re.findall(r"^(?:struct|inline|bool) [^;{]*", text, re.M)
    assert [line.strip() for line in defined] == [
        "struct ModelT",
        "bool VerifyKind(int type)",
        "struct Model FLATBUFFERS_FINAL_CLASS : private ::flatbuffers::Table",
        "inline ::flatbuffers::Offset<Model> CreateModel(Builder &_fbb, int version)",
        "inline const Model *GetModel(const void *buf)",
    ]
    assert text.startswith("#pragma GCC system_header\n#ifndef GUARD\n")
    assert text.endswith("}\n#endif\n")


def test_a_header_that_is_up_to_date_stays(tmp_path: Path):
    checkout = tmp_path / "tflite-micro" / "tensorflow" / "lite" / "schema"
    checkout.mkdir(parents=True)
    (checkout / "schema_generated.h").write_text(HEADER)
    build = tmp_path / "a build"
    assert schema_flags(tmp_path / "tflite-micro", build) == f'-iquote "{build}"'
    header = build / "tensorflow" / "lite" / "schema" / "schema_generated.h"
    assert header.read_text() == without_object_api(HEADER)
    before = header.stat().st_mtime_ns
    schema_flags(tmp_path / "tflite-micro", build)
    assert header.stat().st_mtime_ns == before
