//! A bounded cache with time to live.
