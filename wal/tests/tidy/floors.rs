//! Tests that a module imports only modules on lower floors, between the rooms of a crate and inside each of them.
//! `ARCHITECTURE.md` has the floors.

use crate::{code, files, is_test_file, read};
use std::collections::{BTreeMap, BTreeSet};

/// The entries of a folder and their floors.
type Floors = BTreeMap<String, usize>;

/// The rooms of each package, by the folder of its sources, from the table of floors.
fn rooms() -> BTreeMap<String, Floors> {
    let text = read("ARCHITECTURE.md");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect()
    };
    let mut lines = text.lines().skip_while(|l| !l.starts_with("| floor"));
    let header = cells(lines.next().expect("a table of floors"));
    let mut rooms: BTreeMap<String, Floors> = BTreeMap::new();
    for row in lines.skip(1).take_while(|l| l.starts_with('|')).map(cells) {
        let floor = row[0].parse().expect("a floor's number");
        for (package, names) in header.iter().zip(&row).skip(1) {
            for name in quoted(names) {
                let before =
                    rooms.entry(format!("{package}/src")).or_default().insert(name.to_owned(), floor);
                assert_eq!(before, None, "{package}: {name} stands on two floors");
            }
        }
    }
    rooms
}

/// The files inside of each room, from the table whose rows list them from low to high.
fn inside() -> BTreeMap<String, Floors> {
    let text = read("ARCHITECTURE.md");
    let rows = text.lines().skip_while(|l| !l.starts_with("| room |")).skip(2);
    let row = |line: &str| {
        let (room, names) = line.trim_matches('|').split_once('|').expect("two cells");
        let mut floors = Floors::new();
        for (floor, names) in names.split('<').enumerate() {
            for name in quoted(names) {
                assert_eq!(
                    floors.insert(name.to_owned(), floor),
                    None,
                    "{room}: {name} stands on two floors"
                );
            }
        }
        (quoted(room).next().expect("a room").to_owned(), floors)
    };
    rows.take_while(|l| l.starts_with('|')).map(row).collect()
}

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The paths that a file names and that begin with `crate`, `super` or `self`, with lists written out.
fn paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if !before.is_some_and(|c| c.is_alphanumeric() || "_:$".contains(c))
                && !code[..at].ends_with("in ")
            {
                expand("", &code[at..], &mut found);
            }
        }
    }
    found
}

/// Adds the paths of the use tree at the head of `text`, each after `prefix`. Returns the text after the tree.
fn expand<'a>(prefix: &str, text: &'a str, found: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(prefix, rest, found).trim_start();
            rest = match rest.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => more,
                _ => return rest.trim_start_matches([',', ' ', '\n']).strip_prefix('}').unwrap_or(""),
            };
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    match rest.strip_prefix("::") {
        Some(rest) => expand(&path, rest, found),
        None => {
            found.insert(path);
            rest.find([',', '}', ';']).map_or("", |end| &rest[end..])
        }
    }
}

#[test]
fn paths_are_found_in_every_spelling() {
    let code = "use crate::a::B; use crate::{c, d::{E, f as g}, h::{\n  I,\n},}; pub(in crate::x) fn j() { super::super::k::l() }";
    let expected =
        ["crate::a::B", "crate::c", "crate::d::E", "crate::d::f", "crate::h::I", "super::super::k::l"];
    assert_eq!(paths(code).into_iter().collect::<Vec<_>>(), expected);
}

/// The module of a source file, as a path below the folder of the sources; empty for `lib.rs`.
fn module(file: &str) -> Vec<&str> {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').collect() }
}

/// The module that `path`, named in module `own`, leads to: the longest part of it that is a file.
fn target<'a>(own: &[&'a str], path: &'a str, modules: &BTreeSet<Vec<&str>>) -> Vec<&'a str> {
    let mut parts = path.split("::").peekable();
    let mut at = own.to_vec();
    match parts.next() {
        Some("crate") => at.clear(),
        Some("super") => {
            at.pop();
            while parts.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        _ => {}
    }
    for part in parts {
        at.push(part);
        if !modules.contains(&at) {
            at.pop();
            break;
        }
    }
    at
}

#[test]
fn no_module_imports_sideways_or_up() {
    let (rooms, inside, files) = (rooms(), inside(), files(&[".rs"]));
    assert_eq!(rooms.keys().collect::<Vec<_>>(), ["snap/src", "storage/src", "wal/disk/src", "wal/src"]);
    let (mut wrong, mut folders) = (Vec::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for source in rooms.keys() {
        let own_files = || {
            let below = |path: &'_ String| path.strip_prefix(&format!("{source}/")).map(str::len);
            files
                .iter()
                .filter(|(path, _)| !is_test_file(path))
                .filter_map(move |(path, text)| below(path).map(|len| (&path[path.len() - len..], text)))
        };
        let modules: BTreeSet<Vec<&str>> = own_files().map(|(file, _)| module(file)).collect();
        for (file, text) in own_files() {
            let own = module(file);
            for depth in 0..own.len() {
                let folder = [&[source.as_str()], &own[..depth]].concat().join("/");
                folders.entry(folder).or_default().insert(own[depth].to_owned());
            }
            let code = code(text);
            let named = paths(&code);
            for path in named.iter().filter(|_| !own.is_empty()) {
                let to = target(&own, path, &modules);
                let same = own.iter().zip(&to).take_while(|(a, b)| a == b).count();
                // A module may name itself, and a folder's `mod.rs` anything in the folder.
                let Some(name) = own.get(same) else { continue };
                let folder = [&[source.as_str()], &own[..same]].concat().join("/");
                let floors = rooms.get(&folder).or_else(|| inside.get(&folder));
                let floor = |name: &str| floors.and_then(|floors| floors.get(name));
                let below = to.get(same).is_some_and(|to| floor(to) < floor(name) && floor(to).is_some());
                if !below {
                    wrong.push(format!("{source}/{file}: {path}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports from the same floor or a higher one: {wrong:#?}");
    folders.retain(|folder, entries| entries.len() > 1 || rooms.contains_key(folder));
    for (folder, floors) in rooms.into_iter().chain(inside) {
        let listed: BTreeSet<String> = floors.into_keys().collect();
        let entries = folders.remove(&folder).unwrap_or_default();
        assert_eq!(listed, entries, "{folder}: modules in ARCHITECTURE.md, modules in the source");
    }
    assert!(folders.is_empty(), "not in ARCHITECTURE.md: {folders:?}");
}
