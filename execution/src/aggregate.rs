//! An aggregate: the state that its rules read, with the place in the log that it was folded up to.

use domain::{Mismatch, State};
use events::{Event, EventMark, Position, StreamName, StreamPoint, Version};

/// An aggregate of any kind.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    /// The version of its stream.
    pub(crate) version: Version,
    /// The position of its newest event in the tenant's log.
    pub(crate) position: Position,
    /// That event, where it is known: a version alone does not say that the stream still is the one that was folded.
    mark: Option<EventMark>,
    /// What its rules read.
    pub(crate) state: State,
}

impl Aggregate {
    /// The aggregate of a stream without events.
    pub(crate) fn empty(stream: StreamName) -> Self {
        Self { version: Version::ZERO, position: Position::ZERO, mark: None, state: State::empty(stream.category()) }
    }

    /// The place in the stream that it was folded up to.
    pub(crate) const fn point(&self) -> StreamPoint {
        StreamPoint { version: self.version, mark: self.mark }
    }

    /// Says which event it was folded up to.
    pub(crate) fn marked(self, mark: Option<EventMark>) -> Self {
        Self { mark, ..self }
    }

    /// The aggregate after one more event, whose personal fields are clear or erased.
    pub(crate) fn evolve(self, event: &Event, position: Position) -> Result<Self, Mismatch> {
        Ok(Self { version: self.version.next(), position, mark: None, state: self.state.evolve(event)? })
    }

    /// Roughly the bytes that it takes in memory.
    pub(crate) fn weight(&self) -> u32 {
        u32::try_from(1024 + 256 * self.version.0).unwrap_or(u32::MAX)
    }
}
