//! Holds the criterion benches in `benches/`; see `README.md` beside it for every command and what it
//! shows. What a durable append costs is measured by `walbench`, beside the raw device.
