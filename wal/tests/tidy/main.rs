//! Tests that the sources and documents of the workspace keep the project's rules: floors, sizes, forbidden
//! words, a test for each promise, and links to files that exist.

mod floors;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file with this many lines is too long.
const LINES_MAX: usize = 600;
/// The test's output names source files with this many lines.
const LINES_WARN: usize = 400;

/// Files that count allocations, and so have to implement an allocator.
const COUNTING_ALLOCATORS: [&str; 3] =
    ["wal/tests/allocations.rs", "storage/tests/index_memory.rs", "benches/compare/src/engine/heap.rs"];

/// The file that installs a signal handler, for which std has no interface.
const SIGNALS: &str = "wal/examples/soak.rs";

/// Source folders of the libraries, which print nothing.
const LIBRARIES: [&str; 4] = ["wal/disk/src", "wal/src", "storage/src", "snap/src"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All files of the repository with one of the extensions, by path from its root, without build products.
fn files(extensions: &[&str]) -> BTreeMap<String, String> {
    fn visit(folder: &Path, extensions: &[&str], found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry")) {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                if name != ".git" && !path.join("CACHEDIR.TAG").exists() && name != "target" {
                    visit(&path, extensions, found);
                }
            } else if kind.is_file() && extensions.iter().any(|e| name.ends_with(e)) {
                let own = path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned();
                // Skips files that are not text.
                if let Ok(text) = fs::read_to_string(&path) {
                    found.insert(own, text);
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(&root(), extensions, &mut found);
    assert!(found.len() > 3, "too few files were found");
    found
}

/// The code of a source file before its tests, without comments.
fn code(text: &str) -> String {
    let ends =
        ["\n#[cfg(test)]\nmod tests", "\n#[cfg(test)]\n#[path", "\n#[cfg(all(test"].map(|end| text.find(end));
    let end = ends.into_iter().flatten().min().unwrap_or(text.len());
    text[..end].lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("_tests.rs") || path.contains("/tests/")
}

#[test]
fn files_are_small_and_say_what_they_are() {
    let mut wrong = Vec::new();
    for (path, text) in files(&[".rs"]) {
        let lines = text.lines().count();
        if lines >= LINES_MAX {
            wrong.push(format!("{path}: {lines} lines"));
        } else if lines >= LINES_WARN {
            println!("{path}: {lines} lines, more than {LINES_WARN}");
        }
        if !text.starts_with("//! ") {
            wrong.push(format!("{path}: does not start with documentation of the module"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn words_that_have_no_place() {
    // The words are split so that this file does not contain them.
    let anywhere = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let prints = ["println", "print", "eprintln", "eprint"].map(|name| format!("{name}!("));
    let ignore = ["#[", "ignore"].concat();
    let unchecked = ["un", "safe"].concat();
    let mut wrong = Vec::new();
    for (path, text) in files(&[".rs"]) {
        let library = LIBRARIES.iter().any(|folder| path.starts_with(folder));
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let has_unchecked = line.split(|c: char| !is_word(c)).any(|w| w == unchecked);
            let bad = anywhere.iter().any(|w| line.contains(w.as_str()))
                || (library && prints.iter().any(|w| line.contains(w.as_str())))
                || line.contains(&ignore)
                || (has_unchecked
                    && !path.starts_with("wal/disk/src/")
                    && path != SIGNALS
                    && !COUNTING_ALLOCATORS.contains(&path.as_str()));
            if bad {
                wrong.push(format!("{path}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_promise_stands_in_the_documents_the_code_and_a_test() {
    let sources = files(&[".rs"]);
    let documents = read("docs/durability.md");
    let readme = read("README.md");
    for n in 1..=10 {
        let name = format!("INV-{n}");
        let names = |text: &str| {
            text.match_indices(&name).any(|(at, _)| !text[at + name.len()..].starts_with(char::is_numeric))
        };
        assert!(documents.lines().any(|l| l.starts_with('#') && names(l)), "{name}: docs/durability.md");
        assert!(names(&readme), "{name}: README.md");
        let in_code = |(path, text): (&String, &String)| {
            ["wal/src/", "storage/src/"].iter().any(|f| path.starts_with(f))
                && !is_test_file(path)
                && names(text)
        };
        assert!(sources.iter().any(in_code), "{name}: no code names it");
        let in_test = |(path, text): (&String, &String)| {
            path.contains("/tests/") && !path.contains("/tests/tidy/") && names(text)
        };
        assert!(sources.iter().any(in_test), "{name}: no test names it");
    }
}

/// The files that the documents link to and the tests that they name exist.
#[test]
fn documents_name_what_exists() {
    let documents = files(&[".md"]);
    let sources = files(&[".rs"]);
    let mut wrong = Vec::new();
    for (path, text) in &documents {
        let folder = Path::new(path).parent().expect("a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or("");
            if !link.contains("://") && !file.is_empty() && !root().join(folder).join(file).exists() {
                wrong.push(format!("{path}: {link}"));
            }
        }
        // Documents name tests as `path::name`.
        for quoted in text.split('`').skip(1).step_by(2) {
            let Some((file, test)) = quoted.split_once(".rs::") else { continue };
            let exists = sources
                .get(&format!("{file}.rs"))
                .is_some_and(|source| source.contains(&format!("fn {test}()")));
            if !exists {
                wrong.push(format!("{path}: {quoted}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a document describes the past, and may use names that are retired.
fn is_history(path: &str) -> bool {
    ["docs/decisions/", "docs/results/", "CHANGELOG.md"].iter().any(|start| path.starts_with(start))
}

/// Documents point to functions as `path/file.rs (function)`.
#[test]
fn pointers_name_functions_that_exist() {
    let (documents, sources) = (files(&[".md"]), files(&[".rs"]));
    let (mut found, mut wrong) = (0, Vec::new());
    for (path, text) in documents.iter().filter(|(path, _)| !is_history(path)) {
        for quoted in text.split('`').skip(1).step_by(2) {
            let Some((file, rest)) = quoted.split_once(".rs (") else { continue };
            let Some(function) = rest.strip_suffix(')').filter(|_| file != "path/file") else { continue };
            found += 1;
            let exists = sources.get(&format!("{file}.rs")).is_some_and(|source| {
                function.split(", ").all(|name| source.contains(&format!("fn {name}")))
            });
            if !exists {
                wrong.push(format!("{path}: {quoted}"));
            }
        }
    }
    assert!(found > 20, "{found} pointers");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// One concept has one name. These are retired names; `docs/glossary.md` has the current ones.
#[test]
fn retired_names_stay_away() {
    // The words are split so that this file does not contain them.
    let retired: Vec<String> = [
        ["Pati", "ence"],
        ["Pat", "rol"],
        ["Sh", "elf"],
        ["Ra", "il"],
        ["Kee", "per"],
        ["Errand", "s"],
        ["Pack", "er"],
        ["FooterSeal", "er"],
        ["Seal", "er"],
        ["SegmentFa", "cts"],
        ["append_", "now"],
        ["write_", "now"],
        ["lock_", "now"],
        ["mut", "ant"],
        ["Fenced", "Entry"],
        ["restate_", "groups_max"],
        ["answers_", "max"],
        ["pipeline_", "bytes"],
        ["patience_", "us"],
        ["behind_", "torn"],
        ["fen", "ced"],
        ["fen", "ces"],
        ["sh", "elf"],
        ["pack", "er"],
        ["seal", "er"],
        ["keep", "er"],
        ["TELLING_", "BYTES"],
    ]
    .map(|parts| parts.concat())
    .into();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut wrong = Vec::new();
    for (path, text) in files(&[".rs", ".md", ".toml"]).iter().filter(|(path, _)| !is_history(path)) {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = line.split(|c| !is_word(c)).find(|word| retired.iter().any(|r| r == word)) {
                wrong.push(format!("{path}:{}: {word}", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The examples of the README are doc tests of the crates.
#[test]
fn the_readmes_examples_are_tested() {
    let readme = read("README.md");
    let examples: Vec<&str> =
        readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for (example, file) in examples.iter().zip(["wal/src/lib.rs", "storage/src/lib.rs"]) {
        let text = read(file);
        let page = text.lines().map_while(|line| line.strip_prefix("//!"));
        let shown = page.map(|line| line.strip_prefix(' ').unwrap_or(line)).filter(|l| !l.starts_with("# "));
        let shown: String = shown.flat_map(|line| [line, "\n"]).collect();
        assert!(example.contains("fn "), "README.md: prose in a code fence:\n{example}");
        assert!(shown.contains(example), "README.md has another example than {file}:\n{example}");
    }
}

#[test]
fn nothing_points_outside_of_the_repository() {
    let names = [["far", "m-"].concat(), ["../", "shared"].concat(), ["/work", "/"].concat()];
    let mut wrong = Vec::new();
    for (path, text) in files(&[".rs", ".md", ".toml", ".yml", ".yaml", ".sh", "run"]) {
        for name in names.iter().filter(|name| text.contains(name.as_str())) {
            wrong.push(format!("{path}: {name}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
