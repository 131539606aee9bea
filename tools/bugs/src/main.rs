//! Command line of the planted bugs: lists them, checks them, builds the copy, runs the campaign.
//!
//! The copy is `target/bugs/tree`; its build products are in `target/bugs/build`.

#![forbid(unsafe_code)]

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use seawall_bugs::{campaign, entry, tree};
use std::process::Command;

/// Plants bugs in a copy of the workspace and runs the tests that must find them.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints the names and purposes of all bugs.
    List,
    /// Checks that the text of every bug is found in its function, and that the copy compiles.
    Check {
        /// Does not compile the copy.
        #[arg(long)]
        text_only: bool,
    },
    /// Makes the copy and runs cargo in it with the arguments after `--`.
    Cargo {
        /// For example `build --release -p seawall --example crash_workload`.
        #[arg(last = true, required = true)]
        arguments: Vec<String>,
    },
    /// Runs the tests with one bug at a time and names those that survive.
    Run {
        /// Names of bugs; all if none is given.
        names: Vec<String>,
        /// Tries all test programs if those of `found_by` do not find a bug.
        #[arg(long)]
        search: bool,
        /// Time limit in seconds for one run of one test program; a program that exceeds it has found the bug.
        #[arg(long, default_value_t = 100)]
        seconds: u64,
        /// Number of bugs that are tried at the same time.
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
}

fn main() -> Result<()> {
    let root = tree::workspace();
    let bugs = entry::read_all(&root)?;
    let (copy, target) = (root.join("target/bugs/tree"), root.join("target/bugs/build"));
    let make_copy = || -> Result<()> {
        std::fs::create_dir_all(&copy)?;
        tree::copy(&root, &bugs, &copy)
    };
    match Args::parse().command {
        Action::List => bugs.iter().for_each(|bug| println!("{:<52} {}", bug.name, bug.purpose)),
        Action::Check { text_only } => {
            let files = tree::planted_files(&root, &bugs)?;
            println!("{} bugs in {} files", bugs.len(), files.len());
            if !text_only {
                make_copy()?;
                // The same arguments that the lint run of the workspace uses, so that the dependencies are already
                // built.
                let arguments = ["check", "--quiet", "--workspace", "--all-targets"];
                run_cargo(&copy, &root.join("target"), &arguments)?;
            }
        }
        Action::Cargo { arguments } => {
            make_copy()?;
            run_cargo(&copy, &target, &arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Action::Run { names, search, seconds, jobs } => {
            if let Some(name) = names.iter().find(|name| !bugs.iter().any(|bug| bug.name == **name)) {
                bail!("there is no bug {name}; `list` prints all");
            }
            make_copy()?;
            let chosen: Vec<_> = bugs
                .iter()
                .filter(|bug| names.contains(&bug.name) || (names.is_empty() && !bug.needs_power_cut))
                .collect();
            let programs = campaign::build(&copy, &target)?;
            let limits = campaign::Limits { seconds, jobs };
            let survivors = campaign::campaign(&chosen, search, &programs, &limits)?;
            println!("{} bugs, {} found", chosen.len(), chosen.len() - survivors.len());
            if !survivors.is_empty() {
                bail!("not found: {}", survivors.join(", "));
            }
        }
    }
    Ok(())
}

fn run_cargo(copy: &std::path::Path, target: &std::path::Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new(tree::cargo())
        .args(arguments)
        .env("CARGO_TARGET_DIR", target)
        .current_dir(copy)
        .status()?;
    if !status.success() {
        bail!("the copy in {} does not build", copy.display());
    }
    Ok(())
}
