//! Writes and parses the acknowledgement lines, which state what is durable.
//!
//! ```text
//! ACK <n> open <life> <k> <k> ..    an open returned and showed the first k batches of each thread
//! ACK <n> batch <thread> <k>        the thread's first k batches are durable
//! ```
//!
//! A line is one unbuffered write to standard output, so its order with respect to the disk's operations is
//! exact; `n` counts the lines. Nothing else is printed to standard output.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;

/// One life of the engine, from an open to a close, a kill or a power cut.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Number of batches of each thread that the open showed.
    pub base: Vec<u64>,
    /// Number of batches of each thread that are durable; at least `base`.
    pub durable: Vec<u64>,
}

/// All known lives, the latest one last.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub lives: Vec<Life>,
    /// Number of the last line.
    pub lines: u64,
}

impl History {
    /// Parses the lines in `text`. A last line without its end is ignored.
    pub fn parse(text: &str, threads: usize) -> Result<History, String> {
        let mut history = History::default();
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text.get(..end).unwrap_or_default().lines().filter(|line| line.starts_with("ACK ")) {
            history.add(line, threads).map_err(|why| format!("`{line}`: {why}"))?;
        }
        Ok(history)
    }

    fn add(&mut self, line: &str, threads: usize) -> Result<(), String> {
        let mut words = line.split(' ').skip(1);
        let number = |word: Option<&str>| -> Result<u64, String> {
            word.ok_or("too short")?.parse().map_err(|_| "not a number".to_owned())
        };
        self.lines = number(words.next())?;
        match words.next() {
            Some("open") => {
                if number(words.next())? != self.lives.len() as u64 {
                    return Err("lives are missing".to_owned());
                }
                let base = words.map(|word| number(Some(word))).collect::<Result<Vec<u64>, String>>()?;
                if base.len() != threads {
                    return Err(format!("{} threads, not {threads}", base.len()));
                }
                self.lives.push(Life { durable: base.clone(), base });
            }
            Some("batch") => {
                let (thread, durable) = (number(words.next())?, number(words.next())?);
                let life = self.lives.last_mut().ok_or("before any open")?;
                let thread = usize::try_from(thread).map_err(|_| "no such thread")?;
                *life.durable.get_mut(thread).ok_or("no such thread")? = durable;
            }
            _ => return Err("unknown".to_owned()),
        }
        Ok(())
    }
}

/// The output for the lines, and the history of all lines printed.
pub struct Acks(Mutex<(History, File)>);

impl Acks {
    /// Continues after `history`.
    pub fn new(history: History) -> io::Result<Acks> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Acks(Mutex::new((history, out))))
    }

    /// Returns the history of all lines printed so far.
    pub fn history(&self) -> History {
        self.locked().0.clone()
    }

    /// Prints that an open showed the first `base[t]` batches of each thread `t`.
    pub fn open(&self, base: &[u64]) -> Result<(), String> {
        let words: Vec<String> = base.iter().map(u64::to_string).collect();
        let life = self.locked().0.lives.len();
        self.print(&format!("open {life} {}", words.join(" ")), base.len())
    }

    /// Prints that the first `durable` batches of `thread` are durable.
    pub fn batch(&self, thread: u64, durable: u64, threads: usize) -> Result<(), String> {
        self.print(&format!("batch {thread} {durable}"), threads)
    }

    fn print(&self, what: &str, threads: usize) -> Result<(), String> {
        let (history, out) = &mut *self.locked();
        let line = format!("ACK {} {what}", history.lines + 1);
        history.add(&line, threads)?;
        out.write_all(format!("{line}\n").as_bytes()).map_err(|error| format!("standard output: {error}"))
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, (History, File)> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
