//! Tests of the whole compile.
