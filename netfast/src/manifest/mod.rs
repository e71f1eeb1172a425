//! YAML to model, strict, with `file:line:column` for every complaint.
