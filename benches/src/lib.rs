//! This library is empty: the criterion benches are in `benches/`. `README.md` lists every command and its output.
//! `walbench` measures durable appends and compares them with the raw device.

#![forbid(unsafe_code)]
