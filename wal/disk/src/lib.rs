//! The disk below Seawall's log and snapshots: one directory of flat files, as traits with written contracts.
//!
//! **Start here.** [`PosixDisk::open`] opens a directory. Most programs need only the crates `seawall` or `seawall-wal`,
//! which are built on this one.
//!
//! [`Disk`] is a directory, [`DiskFile`] an open file, [`ring::Ring`] a queue of operations in flight from one thread.
//! [`PosixDisk`] implements them on a real directory, with O_DIRECT or the page cache, and with io_uring. The feature
//! `sim` adds the module `sim`: a seeded disk in memory that loses, tears and reorders whatever a real disk may, and
//! raises the errors that a test asks for. A program that reaches its files only through the traits runs on both.
//!
//! **What it does not do.** It has no subdirectories, follows no symbolic links and retries no failed sync. It does not
//! decide what an error means: errors are `io::Error`s, returned unchanged. Linux only.
//!
//! # Example
//!
//! ```
//! use seawall_disk::{Access, AlignedBuf, Disk, Mode, PosixDisk, read_exact_at, write_all_at};
//!
//! fn write_and_read(dir: &std::path::Path) -> std::io::Result<()> {
//!     let disk = PosixDisk::open(dir, Some(Mode::Buffered))?;
//!     let file = disk.open("name", Access::Create)?;
//!     let mut block = AlignedBuf::zeroed(4096);
//!     block[..5].copy_from_slice(b"bytes");
//!     write_all_at(&*file, &block, 0, false)?;
//!     file.sync()?; // the bytes are on the medium
//!     disk.sync()?; // and so is the name
//!
//!     let mut bytes = [0; 5];
//!     read_exact_at(&*file, &mut bytes, 0)?;
//!     assert_eq!(&bytes, b"bytes");
//!     Ok(())
//! }
//! # write_and_read(tempfile::tempdir().unwrap().path()).unwrap();
//! ```
//!
//! # `unsafe`
//!
//! All `unsafe` code of Seawall is in this crate, each use with its argument: io_uring gets addresses of buffers, and
//! a file is mapped into memory.

mod buffer;
pub mod clock;
mod errors;
mod exact;
mod interface;
mod map;
mod options;
mod posix;
#[cfg(feature = "sim")]
pub mod sim;

pub use buffer::AlignedBuf;
pub use errors::{is_no_room, no_descriptors};
pub use exact::{read_exact_at, read_exact_medium, write_all_at};
pub use interface::ring;
pub use interface::{Access, Disk, DiskFile, DiskLock, FileId, Mode, NameKind};
pub use map::Map;
pub use options::OutOfRange;
pub use posix::PosixDisk;
