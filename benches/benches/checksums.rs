//! Criterion bench of two crates that compute CRC-32C, over pieces of 64 B to 1 MiB: from the processor's cache, and from
//! memory. Decision 1 has the table.

#![forbid(unsafe_code)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const SIZES: [usize; 7] = [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20];
/// Length of the buffer whose pieces are not in any cache, in bytes.
const MEMORY_BYTES: usize = 512 << 20;

type Checksum = fn(&[u8]) -> u32;

/// The crates, by name.
const CRATES: [(&str, Checksum); 2] = [("crc-fast", crc_fast::crc32_iscsi), ("crc32c", crc32c::crc32c)];

fn checksums(c: &mut Criterion) {
    let memory: Vec<u8> = (0..=255).cycle().take(MEMORY_BYTES).collect();
    for (source, bytes) in [("cache", &memory[..1 << 20]), ("memory", &memory[..])] {
        let mut group = c.benchmark_group(format!("crc-32c from {source}"));
        for size in SIZES {
            // From the cache the same piece every time; from memory a new one.
            let step = if source == "cache" { 0 } else { size };
            group.throughput(Throughput::Bytes(size as u64));
            for (name, crc) in CRATES {
                let mut at = 0;
                group.bench_function(BenchmarkId::new(name, size), |b| {
                    b.iter(|| {
                        at = if at + step + size > bytes.len() { 0 } else { at + step };
                        crc(black_box(&bytes[at..at + size]))
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, checksums);
criterion_main!(benches);
