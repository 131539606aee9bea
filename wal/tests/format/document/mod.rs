//! Tests that `docs/format.md` and the code agree on every byte of the log.

mod tables;

use seawall_wal::inspect::layout;
use tables::{Field, check_constants, check_structures};

/// The section of the document that describes the formats of this package.
const SECTION: &str = "The log";

#[test]
fn the_documents_byte_tables_are_the_codes() {
    let mut structures: Vec<(&str, Vec<Field>)> = Vec::new();
    for field in layout::FIELDS {
        match structures.last_mut() {
            Some(last) if last.0 == field.structure => last.1.push((field.name, field.offset, field.bytes)),
            _ => structures.push((field.structure, vec![(field.name, field.offset, field.bytes)])),
        }
    }
    check_structures(SECTION, &structures);
}

#[test]
fn the_documents_constants_are_the_codes() {
    let text = |magic: &[u8]| format!("\"{}\"", String::from_utf8_lossy(magic));
    check_constants(
        SECTION,
        &[
            ("format version", layout::FORMAT_VERSION.to_string()),
            ("sector", layout::SECTOR_BYTES.to_string()),
            ("smallest block", layout::BLOCK_BYTES_MIN.to_string()),
            ("largest block", layout::BLOCK_BYTES_MAX.to_string()),
            ("identity file", layout::IDENTITY_FILE_BYTES.to_string()),
            ("record alignment", layout::RECORD_ALIGN.to_string()),
            ("identity magic", text(&layout::IDENTITY_MAGIC)),
            ("closed magic", text(&layout::CLOSED_MAGIC)),
            ("checkpoint magic", text(&layout::CHECKPOINT_MAGIC)),
            ("segment magic", text(&layout::SEGMENT_MAGIC)),
            ("group magic", text(&layout::GROUP_MAGIC)),
            ("footer magic", text(&layout::FOOTER_MAGIC)),
            ("Identity bytes", layout::IDENTITY_BYTES.to_string()),
            ("longest provider name", layout::PROVIDER_NAME_BYTES.to_string()),
            ("longest manifest", layout::CHECKPOINT_FILE_BYTES_MAX.to_string()),
            ("Provider bytes", layout::PROVIDER_BYTES.to_string()),
            ("Checkpoint header bytes", layout::CHECKPOINT_HEADER_BYTES.to_string()),
            ("Checkpoint segment bytes", layout::CHECKPOINT_SEGMENT_BYTES.to_string()),
            ("Checkpoint file bytes", layout::CHECKPOINT_ENTRY_BYTES.to_string()),
            ("Closed bytes", layout::CLOSED_BYTES.to_string()),
            ("Segment header bytes", layout::SEGMENT_HEADER_BYTES.to_string()),
            ("Group header bytes", layout::GROUP_HEADER_BYTES.to_string()),
            ("Record header bytes", layout::RECORD_HEADER_BYTES.to_string()),
            ("Part bytes", layout::PART_BYTES.to_string()),
            ("Footer tail bytes", layout::FOOTER_TAIL_BYTES.to_string()),
        ],
    );
}
