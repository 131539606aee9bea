//! Prints reports: text on stdout, the setting of a measurement, aligned tables.

use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use std::io::{self, Write};
use std::path::Path;

/// Writes to stdout. A closed pipe is not an error.
pub fn say(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e).context("write to stdout"),
        _ => Ok(()),
    }
}

/// Refuses a file that cannot be written, before the measurement starts.
pub fn check_json(path: &Path) -> Result<()> {
    ensure!(!path.is_dir(), "--json {} is a directory", path.display());
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ensure!(parent.is_dir(), "--json {}: there is no directory {}", path.display(), parent.display());
    Ok(())
}

/// Title of a measurement and the setting that it runs in.
pub fn setting(title: &str, machine: &Machine, dir: &Path, segment_bytes: u32) -> String {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let fua = machine.fua.map_or("unknown", |fua| if fua { "yes" } else { "no" });
    let memory = machine.memory_bytes.map_or("unknown".to_owned(), |b| format!("{:.1} GiB", b as f64 / GIB));
    let lines = [
        title.to_owned(),
        format!(
            "machine   {}, {} cores, memory {memory}, Linux {}",
            or_unknown(&machine.cpu),
            machine.cores,
            or_unknown(&machine.kernel)
        ),
        format!(
            "medium    {}: {} on {}, write cache {}, FUA {fua}, blocks of {} B",
            dir.display(),
            or_unknown(&machine.file_system),
            or_unknown(&machine.device),
            or_unknown(&machine.write_cache),
            machine.block_bytes
        ),
        format!("source    {}", machine.source()),
        format!("segments  {} MiB", f64::from(segment_bytes) / MIB),
    ];
    format!("{}\n\n", lines.join("\n"))
}

const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// Returns the lines below a head with aligned columns: the columns of `words` to the left, the others to the right. An
/// empty line precedes each line that starts a new section.
///
pub fn aligned<const N: usize>(
    head: [&str; N],
    lines: &[[String; N]],
    words: &[usize],
    apart: impl Fn(usize) -> bool,
) -> String {
    let head = head.map(str::to_owned);
    let width = |column: usize| lines.iter().chain([&head]).map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut table = String::new();
    let mut put = |line: &[String; N]| {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if words.contains(&column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let text: Vec<String> = cells.collect();
        table.push_str(text.join("  ").trim_end());
        table.push('\n');
    };
    put(&head);
    let blank = std::array::from_fn(|_| String::new());
    for (i, line) in lines.iter().enumerate() {
        if apart(i) {
            put(&blank);
        }
        put(line);
    }
    table
}
