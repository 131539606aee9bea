//! Reads and writes ranges in full: continues short reads and short writes, and repeats interrupted calls.

use crate::buffer::AlignedBuf;
use crate::interface::DiskFile;
use std::io;

/// Smallest and largest unit of direct I/O, in bytes: a read that was cut short resumes at a multiple of one of them.
const UNIT_MIN: usize = 4096;
/// See [`UNIT_MIN`].
const UNIT_MAX: usize = 65536;

/// Fills `buf` from `offset`, at any alignment.
///
/// # Errors
/// `UnexpectedEof` if the file ends earlier, or the error of the read.
pub fn read_exact_at(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fills the first `len` bytes of `buf` from the medium.
///
/// # Errors
/// `UnexpectedEof` if the file ends earlier, or the error of the read.
pub fn read_exact_medium(
    file: &dyn DiskFile,
    buf: &mut AlignedBuf,
    offset: u64,
    len: usize,
) -> io::Result<()> {
    let mut done = 0;
    // Only the start of a buffer is aligned, so the rest of a short read goes to a second buffer.
    let mut rest = AlignedBuf::new();
    while done < len {
        let from = offset + done as u64;
        let result = if done == 0 {
            file.read_medium(buf, offset, len)
        } else {
            rest.resize(len - done);
            file.read_medium(&mut rest, from, len - done)
        };
        let n = match result {
            Ok(n) if n == len - done => n,
            // A short read ends at the end of the file, or was cut short by a signal or by the kernel's limit per
            // call, which is smaller than the largest group.
            Ok(n) if n == 0 || from + n as u64 >= file.len()? => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(n) => n - n % if n > UNIT_MAX { UNIT_MAX } else { UNIT_MIN },
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(e),
        };
        if done > 0 {
            buf[done..done + n].copy_from_slice(&rest[..n]);
        }
        done += n;
    }
    Ok(())
}

/// Writes all of `buf`. A short write is continued, so that a sync issued afterwards covers everything.
pub fn write_all_at(file: &dyn DiskFile, buf: &[u8], offset: u64, durable: bool) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.write_at(&buf[done..], offset + done as u64, durable) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
