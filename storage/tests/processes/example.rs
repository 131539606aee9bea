//! Finds the built examples, which the tests run as programs.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the path of a built example. `cargo test` builds the examples, but `cargo test --test processes`
/// does not.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let (file, folder) = (sources.join(format!("{name}.rs")), sources.join(name).join("main.rs"));
    let source = if file.exists() { file } else { folder };
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    assert!(
        changed(&example) >= changed(&source),
        "{} is not up to date: run all tests of the package, or `cargo build --examples`",
        example.display()
    );
    example
}
