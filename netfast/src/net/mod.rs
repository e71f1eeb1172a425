//! The only user of rtnetlink and setns.
