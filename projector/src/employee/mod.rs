//! People and their working time, and what is worked out from their rows: headcount, and who stands at the top of the org chart.

pub mod headcount;
pub mod tables;
pub mod top;

mod person;
mod spans;
mod working_time;

pub use person::Person;
pub use working_time::WorkingTime;

use crate::{projection::Kind, several};

/// All of it.
pub type Projection = several![Kind<Person>, Kind<WorkingTime>];
