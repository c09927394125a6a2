//! People, and what is worked out from their rows: headcount, and who stands at the top of the org chart.

pub mod headcount;
pub mod tables;
pub mod top;

mod person;
mod spans;

pub use person::Person;

use crate::{projection::Kind, several};

/// All of it.
pub type Projection = several![Kind<Person>];
