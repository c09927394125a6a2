//! The state of an aggregate of any kind: what decides a command, and what remembers it.

use events::{Category, EmployeeId, Event, kinds};

use crate::{Claim, Command, Fact, Facts, Question, Refusal};

/// A command, an event or a question met the state of another kind of aggregate: a bug of ours, never the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} met the state of another kind of aggregate")]
pub struct Mismatch(pub &'static str);

/// What follows from a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// What happened. Nothing, if everything is so already.
    pub events: Vec<Event>,
    /// The claims that go with the events.
    pub claims: Vec<Claim>,
}

macro_rules! state {
    ($($(#[$doc:meta])* $Kind:ident = $category:literal in $($module:ident)::+;)+) => {
        /// The state of an aggregate, as far as its rules read it.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum State {
            $($(#[$doc])* $Kind(crate::$($module)::+::State),)+
        }

        impl State {
            /// The aggregate of a stream without events.
            pub fn empty(category: Category) -> Self {
                match category { $(Category::$Kind => Self::$Kind(crate::$($module)::+::State::default())),+ }
            }
            /// What must be looked up before a command is decided on this state. Of the empty state they are at least those that
            /// the command names itself, by which lines of a batch are ordered.
            pub fn questions(&self, command: &Command) -> Result<Vec<Question>, Mismatch> {
                match (self, command) {
                    $((Self::$Kind(state), Command::$Kind(command)) => Ok(state.questions(command)),)+
                    _ => Err(Mismatch(command.name())),
                }
            }
            /// What follows from a command.
            pub fn decide(&self, command: &Command, facts: &Facts) -> Result<Result<Decided, Refusal>, Mismatch> {
                Ok(match (self, command) {
                    $((Self::$Kind(state), Command::$Kind(command)) => match state.decide(command, facts) {
                        Ok(events) => {
                            let claims = state.claims(&events);
                            Ok(Decided { events: events.into_iter().map(Event::$Kind).collect(), claims })
                        }
                        Err(refusal) => Err(Refusal::$Kind(refusal)),
                    },)+
                    _ => return Err(Mismatch(command.name())),
                })
            }
            /// The state after an event. Personal fields must have been opened; what is erased counts as unknown.
            pub fn evolve(self, event: &Event) -> Result<Self, Mismatch> {
                match (self, event) {
                    $((Self::$Kind(state), Event::$Kind(event)) => Ok(Self::$Kind(state.evolve(event))),)+
                    _ => Err(Mismatch(event.event_type())),
                }
            }
            /// The answer to a question.
            #[allow(unreachable_code, reason = "a kind may answer nothing")]
            pub fn answer(&self, question: &Question) -> Result<Fact, Mismatch> {
                match (self, question) {
                    $((Self::$Kind(state), Question::$Kind(question)) => Ok(Fact::$Kind(state.answer(question))),)+
                    _ => Err(Mismatch("a question")),
                }
            }
            /// Whom the aggregate is about, where its commands do not name the person.
            pub fn person(&self) -> Option<EmployeeId> {
                match self { $(Self::$Kind(state) => state.person()),+ }
            }
        }
    };
}
kinds!(state);
