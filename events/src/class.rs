//! The classes of facts about people, by which rights are given.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What kind of facts about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldClass {
    /// Name, number, work e-mail, department, job, place of work, manager, when employed.
    Directory,
    /// Day of birth, gender, private e-mail, telephone, why an employment ended.
    Personal,
    /// Rates of pay, and sums of them.
    Pay,
    /// What a doctor would write. Nothing is of this class yet; no role has it but `owner`, and everyone about themselves.
    Medical,
}

impl FieldClass {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Directory, Self::Personal, Self::Pay, Self::Medical];

    /// As it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Personal => "personal",
            Self::Pay => "pay",
            Self::Medical => "medical",
        }
    }
}

impl FromStr for FieldClass {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|class| class.name() == text).ok_or("must be one of: directory personal pay medical")
    }
}
