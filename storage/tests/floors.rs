//! The import graph is the design: a module imports only from floors below its own.

use std::fs;
use std::path::Path;

/// Modules by floor, lowest first.
const FLOORS: [&[&str]; 7] = [
    &["types"],
    &["record", "options"],
    &["error"],
    &["group"],
    &["write", "restore", "view", "compact"],
    &["engine"],
    &["raft_rs"],
];

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// Checks one file of `module`, or every file of its directory.
fn check(path: &Path, module: &str, wrong: &mut Vec<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("readable") {
            check(&entry.expect("readable").path(), module, wrong);
        }
        return;
    }
    let text = fs::read_to_string(path).expect("readable");
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    for line in code {
        for used in line.split("crate::").skip(1) {
            let name: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let ok = name == module || floor(&name).zip(floor(module)).is_some_and(|(of, own)| of < own);
            if !ok {
                wrong.push(format!("{}: {}", path.display(), line.trim()));
            }
        }
    }
}

#[test]
fn no_module_imports_sideways_or_up() {
    let mut wrong = Vec::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(source).expect("readable") {
        let path = entry.expect("readable").path();
        let module = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
        if module == "lib" {
            continue;
        }
        assert!(floor(&module).is_some(), "{module} has no floor");
        check(&path, &module, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
