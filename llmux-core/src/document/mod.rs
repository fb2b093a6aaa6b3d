//! Documents (under construction).
