//! The table of plans.
