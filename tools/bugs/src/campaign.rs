//! Builds the test programs of the copy once and runs them with one bug enabled at a time.

use crate::entry::Bug;
use crate::tree::cargo;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A test program: its path and the folder of its package, which is its working directory.
#[derive(Debug)]
pub struct Program {
    executable: PathBuf,
    folder: PathBuf,
}

/// Limits for the runs of test programs.
#[derive(Debug)]
pub struct Limits {
    /// Time limit for one run of one program, in seconds. A program that exceeds it counts as having found the bug.
    pub seconds: u64,
    /// Number of bugs that are tried at the same time.
    pub jobs: usize,
}

/// Builds all test programs of the workspace in `tree`. The keys are `PACKAGE/PROGRAM`.
pub fn build(tree: &Path, target: &Path) -> Result<BTreeMap<String, Program>> {
    let output = Command::new(cargo())
        .args(["test", "--no-run", "--message-format=json", "-p", "seawall-disk"])
        .args(["-p", "seawall-wal", "-p", "seawall", "-p", "seawall-snap"])
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .current_dir(tree)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    if !output.status.success() {
        bail!("the copy in {} does not build", tree.display());
    }
    let mut programs = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        let is_test = message["profile"]["test"] == true;
        if let (true, Some(executable)) = (is_test, message["executable"].as_str()) {
            let manifest = Path::new(message["manifest_path"].as_str().context("a manifest")?);
            let folder = manifest.parent().context("a package")?.to_owned();
            let package = folder.strip_prefix(tree).context("a package of the copy")?.display().to_string();
            let target = &message["target"];
            let library = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == "lib"));
            let name = if library { "lib" } else { target["name"].as_str().context("a name")? };
            programs.insert(format!("{package}/{name}"), Program { executable: executable.into(), folder });
        }
    }
    Ok(programs)
}

/// Runs `candidates` in order and returns the first one that finds `bug`, with the test that failed.
pub fn find(
    bug: &str,
    candidates: &[String],
    programs: &BTreeMap<String, Program>,
    limits: &Limits,
) -> Result<Option<String>> {
    for name in candidates {
        let (program, module) = split(name);
        let program = programs.get(program).with_context(|| format!("{bug}: no test program {program}"))?;
        if let Some(how) = run(bug, program, module, limits)? {
            return Ok(Some(format!("{name}{how}")));
        }
    }
    Ok(None)
}

/// Splits `PACKAGE/PROGRAM/MODULE` into the program and its module; without a module the whole program is meant.
pub fn split(name: &str) -> (&str, Option<&str>) {
    match name.match_indices('/').nth(1) {
        Some((at, _)) => (&name[..at], Some(&name[at + 1..])),
        None => (name, None),
    }
}

/// Runs one program, or only the tests of `module`. Returns `None` if all tests pass, else the first test that failed, as `::name`, or ` (hangs)`.
fn run(bug: &str, program: &Program, module: Option<&str>, limits: &Limits) -> Result<Option<String>> {
    let scratch = std::env::temp_dir().join(format!("seawall-bugs-{}-{bug}", std::process::id()));
    let mut child = Command::new(&program.executable)
        .args(["--test-threads", "1"])
        .args(module.map(|module| format!("{module}::")))
        .env("SEAWALL_BUG", bug)
        .env("SEAWALL_FULL", "1")
        .current_dir(&program.folder)
        .stdin(Stdio::null())
        .stdout(File::create(&scratch)?)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| program.executable.display().to_string())?;
    let end = Instant::now() + Duration::from_secs(limits.seconds);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let output = String::from_utf8_lossy(&std::fs::read(&scratch)?).into_owned();
    std::fs::remove_file(&scratch)?;
    Ok(match status {
        Some(status) if status.success() => None,
        Some(_) => {
            let failed = output.lines().find_map(|l| l.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            Some(format!("::{}", failed.unwrap_or("(aborted)")))
        }
        None => Some(" (hangs)".to_owned()),
    })
}

/// Tries `bugs`, prints a line for each, and returns the names of the bugs that no test found.
pub fn campaign(
    bugs: &[&Bug],
    search: bool,
    programs: &BTreeMap<String, Program>,
    limits: &Limits,
) -> Result<Vec<String>> {
    let mut used: Vec<String> = bugs.iter().flat_map(|bug| bug.found_by.iter().take(1).cloned()).collect();
    used.sort();
    used.dedup();
    // A test that fails without a bug would appear to find every bug.
    for name in &used {
        if let Some(how) = find("", std::slice::from_ref(name), programs, limits)? {
            bail!("fails without a bug: {how}");
        }
    }
    let (queue, survivors) = (Mutex::new(bugs.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        let workers: Vec<_> = (0..limits.jobs.max(1))
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let Some(bug) = queue.lock().expect("no panics").next() else { return Ok(()) };
                        let mut candidates = bug.found_by.clone();
                        if search {
                            let others = programs.keys().filter(|name| !bug.found_by.contains(name));
                            candidates.extend(others.filter(|name| *name != "wal/tidy").cloned());
                        }
                        let by = find(&bug.name, &candidates, programs, limits)?;
                        println!("{:<52} {}", bug.name, by.as_deref().unwrap_or("SURVIVED"));
                        if by.is_none() {
                            survivors.lock().expect("no panics").push(bug.name.clone());
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("no panics"))
    })?;
    Ok(survivors.into_inner().expect("no panics"))
}
