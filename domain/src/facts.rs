//! What a rule needs to know about other aggregates: questions of one kind of aggregate, and its typed answers.
//!
//! A kind declares with [`facts!`] what others may ask it, and a state says what a command needs to be told
//! ([`crate::State::questions`]). The caller looks each question up, and each that an answer leads to, and hands the answers
//! to `decide` as [`Facts`].

use std::collections::BTreeMap;

use events::{StreamName, TenantScope, kinds};

/// How something that can be referred to stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Open, or employed.
    Open,
    /// It exists, but not on that day.
    NotThen,
    /// The tenant has no such thing.
    Unknown,
}

/// A question with the type of its answer.
pub trait Ask: Into<Question> {
    /// The answer's type.
    type Answer;
    /// The answer as a fact.
    fn fact(answer: Self::Answer) -> Fact;
    /// The answer that a fact holds; none where the fact answers another question.
    fn answer(fact: Fact) -> Option<Self::Answer>;
    /// The same, borrowed.
    fn answer_ref(fact: &Fact) -> Option<&Self::Answer>;
}

/// Declares what others may ask a kind of aggregate: a struct for each question, and the enums `Question` and `Fact` over all
/// of them and of their answers. A kind that answers nothing declares none.
///
/// `Question` needs three functions, which stand beside the declaration: `stream`, whose aggregate answers; `must_be_newest`,
/// whether an answer that is a second old would be too old, as it is for what a lock guards; and `leads_to`, which questions
/// follow from an answer.
macro_rules! facts {
    ($Kind:ident answers { $(
        $(#[$doc:meta])* $Name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)? } -> $Answer:ty;
    )* }) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
            pub struct $Name { $($(#[$field_doc])* pub $field: $type),+ }

            impl From<$Name> for $crate::Question {
                fn from(question: $Name) -> Self { Self::$Kind(Question::$Name(question)) }
            }
            impl $crate::Ask for $Name {
                type Answer = $Answer;
                fn fact(answer: $Answer) -> $crate::Fact { $crate::Fact::$Kind(Fact::$Name(answer)) }
                fn answer(fact: $crate::Fact) -> Option<$Answer> {
                    if let $crate::Fact::$Kind(Fact::$Name(answer)) = fact { Some(answer) } else { None }
                }
                fn answer_ref(fact: &$crate::Fact) -> Option<&$Answer> {
                    if let $crate::Fact::$Kind(Fact::$Name(answer)) = fact { Some(answer) } else { None }
                }
            }
        )*
        /// What others may ask.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Question { $($(#[$doc])* $Name($Name),)* }
        /// The answers.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Fact { $(#[doc = concat!("To [`", stringify!($Name), "`].")] $Name($Answer),)* }
    };
}
pub(crate) use facts;

macro_rules! questions {
    ($($(#[$doc:meta])* $Kind:ident = $category:literal in $($module:ident)::+;)+) => {
        /// What any kind of aggregate may be asked.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Question {
            $(#[doc = concat!("Of an aggregate of [`Category::", stringify!($Kind), "`](events::Category).")] $Kind(crate::$($module)::+::Question),)+
        }
        /// What any kind of aggregate may answer.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Fact {
            $(#[doc = concat!("Of an aggregate of [`Category::", stringify!($Kind), "`](events::Category).")] $Kind(crate::$($module)::+::Fact),)+
        }

        impl Question {
            /// The stream of the aggregate that answers.
            pub const fn stream(&self, scope: TenantScope) -> StreamName {
                match self { $(Self::$Kind(question) => question.stream(scope)),+ }
            }
            /// Whether an answer that is a second old would be too old.
            pub const fn must_be_newest(&self) -> bool {
                match self { $(Self::$Kind(question) => question.must_be_newest()),+ }
            }
            /// What else is to be asked because of the answer.
            pub fn leads_to(&self, fact: &Fact) -> Vec<Self> {
                match (self, fact) {
                    $((Self::$Kind(question), Fact::$Kind(fact)) => question.leads_to(fact),)+
                    _ => Vec::new(),
                }
            }
        }
    };
}
kinds!(questions);

/// The answers to what was looked up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts(BTreeMap<Question, Fact>);

impl Facts {
    /// No answers: right for commands that ask nothing.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }
    /// Adds an answer.
    pub fn insert<Q: Ask>(&mut self, question: Q, answer: Q::Answer) {
        self.0.insert(question.into(), Q::fact(answer));
    }
    /// Adds an answer of any type.
    pub fn insert_fact(&mut self, question: Question, fact: Fact) {
        self.0.insert(question, fact);
    }
    /// The answer to a question. None where it was not looked up.
    pub fn get<Q: Ask>(&self, question: Q) -> Option<&Q::Answer> {
        self.0.get(&question.into()).and_then(Q::answer_ref)
    }
    /// Whether a question is answered.
    pub fn answers(&self, question: &Question) -> bool {
        self.0.contains_key(question)
    }
    /// How many questions are answered.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
