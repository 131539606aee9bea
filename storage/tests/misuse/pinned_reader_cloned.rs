//! A pinned reader goes through its range once, and gives up what it has read.
use seawall::Group;

fn misuse(group: &Group) -> Result<(), seawall::Error> {
    let reader = group.pin(1, 10)?;
    let _second = reader.clone();
    Ok(())
}

fn main() {}
