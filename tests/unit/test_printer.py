"""A file printed from its descriptor is the same file to protoc, and what can't be printed so is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

from tools import bundle
from tools.bundle.imports import run_protoc
from tools.bundle.printer import printed
from tools.codegen import IMAGE, ROOT, googleapis, well_known

# Whatever files of the contract and of its imports do not happen to use.
PROTO2 = """
syntax = "proto2";
package odd.v1;
import public "google/protobuf/timestamp.proto";
import "google/protobuf/descriptor.proto";
option java_package = "a.\\"b\\".c";
option optimize_for = CODE_SIZE;
message Options {
  optional string text = 1;
  repeated int32 numbers = 2;
  optional double ratio = 3;
  optional Options inner = 4;
  repeated Options list = 5;
  extensions 100 to max;
}
extend Options { optional bool flag = 100; }
extend google.protobuf.FieldOptions { optional Options field = 50000; repeated string words = 50001; }
extend google.protobuf.OneofOptions { optional bool one = 50000; }
extend google.protobuf.EnumValueOptions { optional string said = 50000; }
extend google.protobuf.ExtensionRangeOptions { optional int64 span = 50000; }
extend google.protobuf.MethodOptions { optional Options method = 50000; }
extend google.protobuf.ServiceOptions { optional Kind kind = 50000; }
enum Kind {
  option allow_alias = true;
  KIND_NONE = 0;
  KIND_LESS = -1 [(said) = "it's \\"quoted\\", ü and \\\\"];
  KIND_SAME = 0 [deprecated = true];
  reserved 5, 7 to 9, 100 to max;
  reserved "KIND_OLD";
}
message Odd {
  required int32 needed = 1;
  optional string text = 2 [default = "a \\"b\\"\\n\\\\ ü", json_name = "TEXT"];
  optional bytes raw = 3 [default = "\\001\\"\\377"];
  optional double much = 4 [default = -inf];
  optional float some = 5 [default = 1.5];
  optional bool on = 6 [default = true];
  optional Kind kind = 7 [default = KIND_LESS];
  repeated int32 packed = 8 [packed = true, (words) = "a", (words) = "b"];
  map<int32, Inner> by_number = 9 [deprecated = true];
  oneof choice {
    option (one) = true;
    string left = 10;
    Inner right = 11 [(field) = {}];
  }
  repeated Inner a__b_3c = 12 [
    (field).text = 'an "x"',
    (field).numbers = 1,
    (field).numbers = -2,
    (field).ratio = 0.5,
    (field).inner.(flag) = true,
    (field).list = {text: "y" list {numbers: 3 numbers: 4} inner {text: "it's"}},
    (field).list = {}
  ];
  message Inner {
    extend Odd { optional string inside = 201; }
    enum Deep { DEEP_NONE = 0; }
    optional Deep deep = 1;
    optional .odd.v1.Odd.Inner again = 2;
  }
  extensions 200 to 299 [(span) = 5];
  extensions 300;
  extensions 400 to max;
  reserved 20, 30 to 39;
  reserved "old", "older";
}
message Nothing {}
service Service {
  option (kind) = KIND_LESS;
  rpc Plain(Odd) returns (Nothing);
  rpc Both(stream Odd) returns (stream Nothing) { option (method).text = "m"; option deprecated = true; }
}
"""
PROTO3 = """
syntax = "proto3";
import "google/protobuf/descriptor.proto";
extend google.protobuf.FieldOptions { string note = 50000; optional string remark = 50001; }
message Present {
  optional int32 maybe = 1 [(note) = "n"];
  int32 plain = 2;
  oneof of { int32 a = 3; }
  repeated int32 b = 4;
}
"""


def compiled(folder: Path, texts: dict[str, str]) -> Sequence[FileDescriptorProto]:
    """The descriptors protoc makes of files in `folder`, and of all they import."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    run_protoc(f"-I{folder}", f"-I{well_known()}", f"-I{googleapis()}", f"--descriptor_set_out={folder}/set", *texts)
    return FileDescriptorSet.FromString((folder / "set").read_bytes()).file


def printed_all(files: Sequence[FileDescriptorProto]) -> dict[str, str]:
    """The text of each file, by name."""
    return {file.name: printed(file, files[:index]) for index, file in enumerate(files)}


@pytest.mark.parametrize("text", [PROTO2, PROTO3], ids=["proto2", "proto3"])
def test_whatever_a_file_declares_is_printed(text: str, tmp_path: Path) -> None:
    """protoc makes the same descriptor of the printed file as of the original, and it is printed the same again."""
    files = compiled(tmp_path / "original", {"odd.proto": text})
    again = compiled(tmp_path / "printed", printed_all(files))
    assert list(again) == list(files)
    assert printed_all(again) == printed_all(files)


def test_each_file_of_the_contract_and_of_its_imports_can_be_printed(tmp_path: Path) -> None:
    """Those of protobuf, googleapis, protovalidate and grpc included."""
    folder = bundle.write(ROOT, tmp_path)
    files = FileDescriptorSet.FromString((folder / bundle.DESCRIPTORS).read_bytes()).file
    for file in files:
        file.ClearField("source_code_info")
    assert len(files) > len(FileDescriptorSet.FromString((ROOT / IMAGE).read_bytes()).file)
    assert list(compiled(tmp_path / "printed", printed_all(files))) == list(files)


REFUSED = {
    "an edition": 'edition = "2023";',
    "a group": 'syntax = "proto2"; message A { optional group B = 1 {} }',
    "an option in bytes": """
        syntax = "proto2";
        import "google/protobuf/descriptor.proto";
        extend google.protobuf.FieldOptions { optional bytes raw = 50000; }
        message A { optional int32 a = 1 [(raw) = "x"]; }
    """,
    "an extension inside braces": """
        syntax = "proto2";
        import "google/protobuf/descriptor.proto";
        message O { repeated O list = 1; extensions 2; }
        extend O { optional int32 more = 2; }
        extend google.protobuf.FieldOptions { optional O o = 50000; }
        message A { optional int32 a = 1 [(o).list = {[more]: 1}]; }
    """,
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_can_not_be_printed_is_refused(why: str, tmp_path: Path) -> None:
    """Rather than printed as something else."""
    files = compiled(tmp_path, {"odd.proto": REFUSED[why]})
    with pytest.raises(ValueError, match=why):
        printed(files[-1], files[:-1])


def test_an_option_nobody_knows_is_refused() -> None:
    """It would be lost."""
    file = FileDescriptorProto(name="odd.proto")
    field = FieldDescriptorProto(name="a", number=1, label=FieldDescriptorProto.LABEL_OPTIONAL)
    field.options.MergeFromString(b"\x80\xb5\x18\x01")
    file.message_type.add(name="A").field.append(field)
    with pytest.raises(ValueError, match="unknown"):
        printed(file, [])
