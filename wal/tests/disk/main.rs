//! Tests of segment files, descriptors, full and failing disks, and bad input.

mod bad_input;
mod cached_pages;
mod descriptors;
mod faults;
mod full_disk;
#[path = "../harness/mod.rs"]
mod harness;
mod host_faults;
mod hostile_files;
mod maps;
mod page_cache;
mod recycling;
mod system_calls;
