//! How to print.

use clap::ValueEnum;

/// How to print an object.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
}

/// How `watch` prints.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// One JSON object a line.
    Json,
}
