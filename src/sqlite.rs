//! SQLite.
mod readings;
mod tables;
