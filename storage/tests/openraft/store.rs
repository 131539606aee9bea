//! Tests many openraft 0.10 groups on one engine in a real directory, with appends in flight, on a runtime
//! with threads.
//!
//! The unit tests in `src/adapters/openraft` cover what both versions have in common: histories with power
//! cuts, the order of callbacks, and failures.

use openraft::entry::RaftEntry;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{LogId, Vote};
use seawall::openraft::{Error, LogOptions, LogStore, LogStores};
use seawall::{Engine, Options};
use tempfile::TempDir;

openraft::declare_raft_types!(Types: D = String, R = String, AsyncRuntime = openraft_rt_tokio::TokioRuntime);

const GROUPS: u64 = 20;
const ENTRIES: u64 = 100;

type Entry = <Types as openraft::RaftTypeConfig>::Entry;

fn entry(group: u64, index: u64) -> Entry {
    // Each term has two leaders.
    let leader = LeaderId { term: 1 + index / 50, node_id: index / 25 };
    Entry::new_normal(LogId::new(leader, index), format!("{group} {index}"))
}

async fn write(mut store: LogStore<Types>, group: u64) {
    store.save_vote(&Vote::new_committed(2, group)).await.unwrap();
    let mut answers = Vec::new();
    for index in 0..ENTRIES {
        let (sender, answer) = Types::oneshot();
        store.append([entry(group, index)], IOFlushed::signal(sender)).await.unwrap();
        let mut reader = store.get_log_reader().await;
        assert_eq!(reader.try_get_log_entries(index..).await.unwrap(), [entry(group, index)]);
        answers.push(answer);
    }
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    store.save_committed(Some(entry(group, 80).log_id())).await.unwrap();
    store.purge(entry(group, group).log_id()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_on_one_engine() {
    let dir = TempDir::new().unwrap();
    let mut options = Options::default();
    options.log.segment_bytes = 1 << 20;
    let engine = Engine::create(dir.path(), &options).unwrap();
    let logs = LogStores::new(&engine, LogOptions::default()).unwrap();
    let tasks = (0..GROUPS).map(|group| tokio::spawn(write(LogStore::open(&logs, group).unwrap(), group)));
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    engine.close().unwrap();

    let (engine, _) = Engine::open(dir.path(), &options).unwrap();
    let logs = LogStores::new(&engine, LogOptions::default().with_read_bytes_max(1000)).unwrap();
    for group in 0..GROUPS {
        let mut store: LogStore<Types> = LogStore::open(&logs, group).unwrap();
        assert!(matches!(LogStore::<Types>::open(&logs, group), Err(Error::AlreadyOpen { .. })));
        let mut reader = store.get_log_reader().await;
        assert_eq!(reader.read_vote().await.unwrap(), Some(Vote::new_committed(2, group)));
        let state = store.get_log_state().await.unwrap();
        assert_eq!(state.last_purged_log_id, Some(entry(group, group).log_id()));
        assert_eq!(state.last_log_id, Some(entry(group, ENTRIES - 1).log_id()));
        assert_eq!(store.read_committed().await.unwrap(), Some(entry(group, 80).log_id()));
        // A reopened log has nothing in memory, so a thread reads these entries.
        let expected: Vec<Entry> = (group + 1..ENTRIES).map(|index| entry(group, index)).collect();
        assert_eq!(reader.try_get_log_entries(..).await.unwrap(), expected);
        let some = reader.limited_get_log_entries(40, ENTRIES).await.unwrap();
        assert!((2..30).contains(&some.len()), "{} entries", some.len());
        let keys =
            reader.get_key_log_ids(entry(group, 30).log_id()..=entry(group, 99).log_id()).await.unwrap();
        assert_eq!(keys, [49, 74, 99].map(|index| entry(group, index).log_id()));
    }
    // An application with other types gets an error, and nothing panics.
    openraft::declare_raft_types!(Others: D = u64, R = u64, AsyncRuntime = openraft_rt_tokio::TokioRuntime);
    assert!(matches!(LogStore::<Others>::open(&logs, 3), Err(Error::Entry { group: 3, .. })));
    engine.close().unwrap();
}

#[tokio::test]
async fn a_closed_engine_answers() {
    let dir = TempDir::new().unwrap();
    let engine = Engine::create(dir.path(), &Options::default()).unwrap();
    let logs = LogStores::new(&engine, LogOptions::default()).unwrap();
    let mut store: LogStore<Types> = LogStore::open(&logs, 1).unwrap();
    let (sender, first) = Types::oneshot();
    store.append([entry(1, 0)], IOFlushed::signal(sender)).await.unwrap();
    engine.close().unwrap();
    first.await.unwrap().expect("closing made it durable");
    let (sender, second) = Types::oneshot();
    store.append([entry(1, 1)], IOFlushed::signal(sender)).await.expect_err("closed");
    second.await.unwrap().expect_err("closed");
    store.save_vote(&Vote::new(3, 3)).await.expect_err("closed");
}
