//! A module per store.

pub mod esrs;
pub mod message_db;
pub mod mire;
pub mod postgres_es;
pub mod skilj;
pub mod umadb;
