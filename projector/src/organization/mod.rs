//! Departments, locations and jobs; work schedules and holiday calendars.

mod calendar;
mod department;
mod job;
mod location;

pub mod tables;

pub use calendar::{Calendar, Place, Schedule};
pub use department::Department;
pub use job::Job;
pub use location::Location;

use crate::{projection::Kind, several};

/// All of it.
pub type Projection = several![Kind<Department>, Kind<Location>, Kind<Job>, Kind<Schedule>, Kind<Calendar>, Kind<Place>];
