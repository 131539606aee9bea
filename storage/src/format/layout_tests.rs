//! Checks that `docs/format.md` and the code agree on every byte that the engine writes to a log.

#[path = "../../../wal/tests/format/document/tables.rs"]
mod tables;

use super::columns::{FrameHeader, Place};
use super::footer::{self, FooterHeader};
use super::op::{self, MetaHeader, RawOp};
use super::{Op, conf_state};
use tables::{check_constants, check_structures, fields};

const SECTION: &str = "The engine";

#[test]
fn the_documents_byte_tables_are_the_codes() {
    let structures = [
        ("Meta header", fields!(MetaHeader: version reserved ops)),
        ("Operation", fields!(RawOp: kind flags reserved count group a b c)),
        ("Conf state header", fields!(conf_state::Header: version flags reserved index counts)),
        ("Index header", fields!(FooterHeader: version records ops places)),
        ("Index place", fields!(Place: offset length crc)),
        (
            "Frame header",
            fields!(FrameHeader: offset length_base gap_base length_width length_exceptions gap_width gap_exceptions),
        ),
    ];
    check_structures(SECTION, &structures);
}

#[test]
fn the_documents_constants_are_the_codes() {
    let constants = [
        ("meta version", op::VERSION.to_string()),
        ("conf state version", conf_state::VERSION.to_string()),
        ("index version", footer::VERSION.to_string()),
    ];
    check_constants(SECTION, &constants);
}

/// Checks the numbers in the table of kinds.
#[test]
fn kinds_have_their_documented_numbers() {
    let point = crate::types::CompactionPoint { index: 1, term: 1 };
    let kinds = [
        (1, Op::Entries { first: 1, term: 1, count: 1, truncates: false, packed: false }),
        (2, Op::HardState(crate::types::HardState::default())),
        (3, Op::ConfState),
        (4, Op::Compact(point)),
        (5, Op::Start(point)),
        (6, Op::Remove),
        (7, Op::Moved { first: 1, term: 1, count: 1, packed: true }),
        (8, Op::Snapshot(crate::types::SnapshotMarker::default())),
        (9, Op::Meta { key: crate::types::MetaKey::new(b"key").expect("a key"), removes: true }),
        (10, Op::Repaired { first: 1, term: 1, count: 1, packed: true }),
    ];
    for (kind, op) in kinds {
        assert_eq!(RawOp::from(&op::GroupOp { group: 1, op }).kind, kind, "{op:?}");
    }
}
