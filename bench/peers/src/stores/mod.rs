//! A module per store. Each `open` sets the store up and answers with what makes a writer.

pub mod esrs;
pub mod message_db;
pub mod mire;
pub mod postgres_es;
pub mod skilj;
pub mod umadb;
