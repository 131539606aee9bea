//! Does one step of a case, and compares a store with its expected content: every index, every range, every limit at
//! or next to the end of an entry.

use std::fmt::Debug;

use bytes::Bytes;

use super::cases::{Answer, Held, Step};
use super::store::{Refusal, Store};
use crate::types::Entry;

/// A difference, in words: what was found and what is correct.
#[derive(Debug)]
pub(super) struct Failed(pub(super) String);

/// An entry whose payload identifies it: 7 bytes per index, so that sizes differ.
fn entry((index, term): (u64, u64)) -> Entry {
    let bytes = format!("{:03}/{:03}", index % 1000, term % 1000).into_bytes();
    Entry {
        index,
        term,
        payload: Bytes::from(bytes.repeat(usize::try_from(index).unwrap_or(1).clamp(1, 100))),
    }
}

fn same<T: PartialEq + Debug>(what: impl FnOnce() -> String, found: &T, right: &T) -> Result<(), Failed> {
    if found == right { Ok(()) } else { Err(Failed(format!("{} is {found:?}, not {right:?}", what()))) }
}

pub(super) fn step<S: Store>(store: &mut S, step: &Step, answer: &Answer) -> Result<(), Failed> {
    let found = match step {
        Step::Append(entries) => store.append(&entries.iter().copied().map(entry).collect::<Vec<_>>()),
        Step::Compact(index) => store.compact(*index),
        Step::Install(index, term) => store.install_snapshot(*index, *term),
        Step::Hard(hard) => store.set_hard_state(*hard),
        Step::Conf(conf) => store.set_conf_state(conf),
    };
    same(|| format!("the answer to {step:?}"), &found, answer)
}

pub(super) fn judge<S: Store>(store: &S, held: &Held) -> Result<(), Failed> {
    let (point, last) = (held.point.0, held.point.0 + held.log.len() as u64);
    let ends = (store.first_index(), store.last_index());
    same(|| "first and last index".to_owned(), &ends, &(point + 1, last))?;
    same(|| "the hard state".to_owned(), &store.hard_state(), &held.hard)?;
    same(|| "the conf state".to_owned(), &store.conf_state(), &held.conf)?;
    for index in point.saturating_sub(2)..last + 3 {
        let right = match held.log.iter().find(|entry| entry.0 == index) {
            Some((_, term)) => Ok(*term),
            None if index == point => Ok(held.point.1),
            None if index < point => Err(Refusal::Compacted),
            None => Err(Refusal::Unavailable),
        };
        same(|| format!("the term of {index}"), &store.term(index), &right)?;
    }
    for low in point.saturating_sub(1)..=last + 1 {
        for high in low + 1..last + 4 {
            range(store, held, low, high)?;
        }
    }
    Ok(())
}

/// Checks the range `low..high` with every limit at which the result changes.
fn range<S: Store>(store: &S, held: &Held, low: u64, high: u64) -> Result<(), Failed> {
    let all: Vec<Entry> =
        held.log.iter().copied().filter(|(index, _)| (low..high).contains(index)).map(entry).collect();
    let what = |limit: Option<u64>| format!("the range {low}..{high}, limit {limit:?},");
    if low <= held.point.0 || all.len() as u64 != high - low {
        let right = Err(if low <= held.point.0 { Refusal::Compacted } else { Refusal::Unavailable });
        return same(|| what(None), &store.entries(low, high, None), &right);
    }
    let mut limits = vec![None, Some(0), Some(u64::MAX)];
    let mut sum = 0;
    for entry in &all {
        let size = store.size(entry);
        limits.extend([sum + size / 2, (sum + size).saturating_sub(1), sum + size].map(Some));
        sum += size;
    }
    for limit in limits {
        let mut bytes = 0;
        let fits = all.iter().take_while(|entry| {
            bytes += store.size(entry);
            entry.index == low || limit.is_none_or(|limit| bytes <= limit)
        });
        let right = Ok(fits.cloned().collect());
        same(|| what(limit), &store.entries(low, high, limit), &right)?;
    }
    Ok(())
}
