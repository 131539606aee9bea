//! Makes and updates the copy of the workspace that the bugs are planted in.

use crate::entry::Bug;
use crate::plant::{CHOICE, Planted, plant};
use anyhow::{Context, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Path of the workspace that this program was built in.
pub fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).map_or_else(|| own.to_owned(), Path::to_owned)
}

/// The cargo that started this program, or else the one in `PATH`.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Returns the text of every file that bugs change, by path from the root.
pub fn planted_files(root: &Path, bugs: &[Bug]) -> Result<BTreeMap<String, String>> {
    let mut by_file: BTreeMap<&str, Vec<Planted<'_>>> = BTreeMap::new();
    for bug in bugs {
        for edit in &bug.edits {
            by_file.entry(&edit.file).or_default().push(Planted {
                bug: &bug.name,
                function: &edit.function,
                find: &edit.find,
                replace: &edit.replace,
            });
        }
    }
    let mut changed = BTreeMap::new();
    for (file, edits) in by_file {
        let source = fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
        let text = plant(&source, &edits).with_context(|| file.to_owned())?;
        syn::parse_file(&text).with_context(|| format!("{file} with its bugs"))?;
        changed.insert(file.to_owned(), text);
    }
    // The code of a planted edit calls a function of its own crate.
    let crates: BTreeSet<String> =
        changed.keys().filter_map(|file| Some(file.split_once("/src/")?.0.to_owned())).collect();
    for package in crates {
        let file = format!("{package}/src/lib.rs");
        let text = match changed.remove(&file) {
            Some(text) => text,
            None => fs::read_to_string(root.join(&file)).with_context(|| file.clone())?,
        };
        // A bug may leave a value unused. The warning must not fail the build.
        changed.insert(file, format!("#![allow(warnings)]\n{text}{CHOICE}"));
    }
    Ok(changed)
}

/// Brings the copy in `to` up to date. Unchanged files keep their modification time, so cargo rebuilds only changed
/// ones.
pub fn copy(root: &Path, bugs: &[Bug], to: &Path) -> Result<()> {
    let changed = planted_files(root, bugs)?;
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git")?;
    if !listed.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    }
    let mut kept = BTreeSet::new();
    for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        let Ok(mut bytes) = fs::read(root.join(name)) else { continue };
        if let Some(text) = changed.get(name) {
            bytes = text.clone().into_bytes();
        } else if name == "Cargo.toml" {
            bytes = with_own_version(&String::from_utf8(bytes)?).into_bytes();
        }
        let path = to.join(name);
        if fs::read(&path).ok().as_deref() != Some(&bytes) {
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        }
        kept.insert(path);
    }
    remove_others(to, &kept)
}

/// Returns the workspace manifest with a version that differs from the workspace's own. Cargo tells the packages of the
/// two trees apart by the version; otherwise it would reuse build products of one tree for the other.
fn with_own_version(manifest: &str) -> String {
    let mut lines: Vec<String> = manifest.lines().map(str::to_owned).collect();
    if let Some(line) = lines.iter_mut().find(|line| line.starts_with("version = \"")) {
        *line = format!("{}+bugs\"", line.trim_end_matches('"'));
    }
    lines.join("\n") + "\n"
}

/// Removes files of an earlier copy that no longer exist in the workspace.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
