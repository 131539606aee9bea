//! This library is empty: the tests are in `tests/`.
