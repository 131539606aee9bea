//! Another thread writes the dump while entries are applied, so the dump cannot borrow the state that they
//! change.
use seawall::snapshots::{SnapshotSource, Snapshots};

fn misuse(snapshots: &Snapshots, state: &mut String) {
    let dump: SnapshotSource = Box::new(|to| to.write_all(state.as_bytes()));
    let _ = snapshots.start(10, b"", dump);
}

fn main() {}
