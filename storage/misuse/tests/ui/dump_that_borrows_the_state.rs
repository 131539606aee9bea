//! A dump is written on another thread while entries are applied, so it cannot borrow the state they change.
use seawall::snapshots::{SnapshotSource, Snapshots};

fn misuse(snapshots: &Snapshots, state: &mut String) {
    let dump: SnapshotSource = Box::new(|to| to.write_all(state.as_bytes()));
    let _ = snapshots.start(10, b"", dump);
}

fn main() {}
