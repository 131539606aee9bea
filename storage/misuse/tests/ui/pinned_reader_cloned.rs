//! A pinned reader reads its range once and releases what it has read, so it cannot be cloned.
use seawall::Group;

fn misuse(group: &Group) -> Result<(), seawall::Error> {
    let reader = group.pin(1, 10)?;
    let _second = reader.clone();
    Ok(())
}

fn main() {}
