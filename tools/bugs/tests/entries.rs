//! Tests that every bug of this workspace can be planted, and that the test programs that must find it exist.

use seawall_bugs::campaign::split;
use seawall_bugs::entry::{self, Bug, PACKAGES};
use seawall_bugs::tree;
use std::path::Path;

fn bugs() -> Vec<Bug> {
    entry::read_all(&tree::workspace()).expect("entries")
}

#[test]
fn the_text_of_every_bug_is_where_the_entry_says() {
    let bugs = bugs();
    let planted = tree::planted_files(&tree::workspace(), &bugs).expect("planted");
    for bug in &bugs {
        let choice = format!("crate::planted({:?})", bug.name);
        for edit in &bug.edits {
            assert!(planted[&edit.file].contains(&choice), "{}: not in {}", bug.name, edit.file);
        }
    }
}

#[test]
fn found_by_names_test_programs_that_exist() {
    let root = tree::workspace();
    for bug in bugs() {
        for program in &bug.found_by {
            assert!(exists(&root, program), "{}: no test program {program}", bug.name);
        }
    }
}

/// Returns whether `name` is the unit tests of a package, one of its integration tests, or a module of one.
fn exists(root: &Path, name: &str) -> bool {
    let (program, module) = split(name);
    let Some((package, program)) = program.split_once('/') else { return false };
    let tests = root.join(package).join("tests");
    let here = |folder: &Path, file: &str, module: &str| {
        folder.join(format!("{module}.rs")).is_file() || folder.join(module).join(file).is_file()
    };
    PACKAGES.contains(&package)
        && (program == "lib" || here(&tests, "main.rs", program))
        && module.is_none_or(|module| here(&tests.join(program), "mod.rs", module))
}
