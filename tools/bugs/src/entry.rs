//! Reads the bug entries: one file `PACKAGE/bugs/NAME.toml` for each bug.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::Path;

/// Packages that have a `bugs` folder. The bugs of `wal/disk` are in the folder of `wal`.
pub const PACKAGES: [&str; 3] = ["wal", "snap", "storage"];

/// One planted bug.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bug {
    /// File name without its extension. `SEAWALL_BUG` is set to this name.
    #[serde(skip)]
    pub name: String,
    /// One sentence that describes what the bug breaks.
    pub purpose: String,
    /// Tests that find the bug, as `PACKAGE/PROGRAM/MODULE`, `PACKAGE/PROGRAM` or `PACKAGE/lib`. One of them is enough.
    pub found_by: Vec<String>,
    /// The bug is below the simulated disk. Only a power cut shows it, so the campaign leaves it out.
    #[serde(default)]
    pub needs_power_cut: bool,
    /// The places in the source that the bug changes.
    #[serde(rename = "edit")]
    pub edits: Vec<Edit>,
}

/// One place that a bug changes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Path of the file from the root of the workspace.
    pub file: String,
    /// `function`, or `Type::method` where the name alone is not unique in the file.
    pub function: String,
    /// Text that occurs exactly once in the function: whole statements if it ends with `;` or `}`, otherwise an
    /// expression.
    pub find: String,
    /// Text that replaces `find` when the bug is enabled.
    pub replace: String,
}

/// Reads all bugs below `root`, sorted by name.
pub fn read_all(root: &Path) -> Result<Vec<Bug>> {
    let mut bugs = Vec::new();
    for package in PACKAGES {
        let folder = root.join(package).join("bugs");
        let files = fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
        for file in files {
            let path = file?.path();
            if path.extension().is_some_and(|e| e == "toml") {
                bugs.push(read(&path).with_context(|| format!("{}", path.display()))?);
            }
        }
    }
    bugs.sort_by(|a: &Bug, b: &Bug| a.name.cmp(&b.name));
    if let Some(pair) = bugs.windows(2).find(|pair| pair[0].name == pair[1].name) {
        bail!("two packages have a bug called {}", pair[0].name);
    }
    Ok(bugs)
}

fn read(path: &Path) -> Result<Bug> {
    let mut bug: Bug = toml::from_str(&fs::read_to_string(path)?)?;
    bug.name = path.file_stem().and_then(|name| name.to_str()).context("not a name")?.to_owned();
    if bug.edits.is_empty() {
        bail!("no [[edit]]");
    }
    if bug.found_by.is_empty() && !bug.needs_power_cut {
        bail!("no test in found_by");
    }
    Ok(bug)
}
