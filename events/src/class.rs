//! The classes of facts about people, by which rights are given.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The list, from which all that names a class comes.
macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident = $text:literal;)+) => {
        /// What kind of facts about a person.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum FieldClass {
            $($(#[$doc])* $class,)+
        }

        impl FieldClass {
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// All of them.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$class),+];

            /// As it stands in JSON, and in the migrations of read models.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$class => $text),+ }
            }
        }

        impl FromStr for FieldClass {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|class| class.name() == text).ok_or(concat!("must be one of:", $(" ", $text),+))
            }
        }
    };
}

classes! {
    /// Name, number, work e-mail, department, job, place of work, manager, when employed.
    Directory = "directory";
    /// Day of birth, gender, private e-mail, telephone, why an employment ended.
    Personal = "personal";
    /// Rates of pay, and sums of them.
    Pay = "pay";
    /// When somebody is away and asks to be, how that was decided, and what is left to take. Of which kind an absence is, where
    /// that is not personal or medical.
    Absence = "absence";
    /// What a doctor would write. That an absence is of a medical kind; no role has it but `owner`, and everyone about themselves.
    Medical = "medical";
}
