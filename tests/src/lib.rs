//! Holds no code: the tests are in `it/`, their data in `data/`.
