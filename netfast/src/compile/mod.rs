//! Pure: from the model to the rows the maps must hold.

pub mod policy;
pub mod rows;
