//! How an attempt to send a mail ended. Nothing here repeats what the server said: its words may quote the recipient's address.

use std::fmt;

/// What became of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailOutcome {
    /// The server answers for it from now on.
    Sent,
    /// It was not taken, or nobody can know; another attempt may do.
    TryAgain {
        /// What went wrong.
        why: NotTaken,
    },
    /// It was refused for good.
    Refused {
        /// The server's code, such as 550; none where the server lacks what the address needs.
        code: Option<u16>,
        /// What went wrong.
        why: NotTaken,
    },
}

/// What went wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotTaken {
    /// How far the attempt came.
    pub phase: SmtpPhase,
    /// What happened there.
    pub what: SmtpFault,
}

/// The steps of an attempt, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SmtpPhase {
    /// The server's name is looked up, and a connection is made.
    Connect,
    /// The server greets.
    Greeting,
    /// TLS, from the beginning or by STARTTLS.
    Tls,
    /// User and password.
    LogIn,
    /// MAIL
    Sender,
    /// RCPT
    Recipient,
    /// DATA
    Data,
    /// The mail itself, and the answer to it.
    Content,
}

/// What can happen in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpFault {
    /// The server answered with a code of 400 or more.
    Code(u16),
    /// No answer came in time.
    Silent,
    /// The connection ended.
    Cut,
    /// The answer is none that belongs there.
    Garbled,
    /// The server does not offer what is needed.
    NotOffered,
    /// The server's certificate is not trusted, or TLS failed in another way.
    Untrusted,
    /// No connection was made.
    Unreachable,
}

impl From<NotTaken> for MailOutcome {
    fn from(why: NotTaken) -> Self {
        // What the server says before it knows the recipient is about the server and our settings: no mail is lost to those.
        let is_about_the_mail = why.phase >= SmtpPhase::Recipient;
        match why.what {
            SmtpFault::Code(code @ 500..) if is_about_the_mail => Self::Refused { code: Some(code), why },
            SmtpFault::NotOffered if is_about_the_mail => Self::Refused { code: None, why },
            SmtpFault::Code(_)
            | SmtpFault::Silent
            | SmtpFault::Cut
            | SmtpFault::Garbled
            | SmtpFault::NotOffered
            | SmtpFault::Untrusted
            | SmtpFault::Unreachable => Self::TryAgain { why },
        }
    }
}

impl NotTaken {
    /// For lists of jobs.
    pub fn code(self) -> String {
        match self.what {
            SmtpFault::Code(code) => return format!("smtp_{code}"),
            SmtpFault::Silent => "smtp_silent",
            SmtpFault::Cut => "smtp_cut",
            SmtpFault::Garbled => "smtp_garbled",
            SmtpFault::NotOffered => "smtp_not_offered",
            SmtpFault::Untrusted => "smtp_untrusted",
            SmtpFault::Unreachable => "smtp_unreachable",
        }
        .to_owned()
    }
}

impl fmt::Display for NotTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.phase {
            SmtpPhase::Connect => "to the connection",
            SmtpPhase::Greeting => "to the greeting",
            SmtpPhase::Tls => "to TLS",
            SmtpPhase::LogIn => "to user and password",
            SmtpPhase::Sender => "to the sender",
            SmtpPhase::Recipient => "to the recipient",
            SmtpPhase::Data => "to the announcement of the mail",
            SmtpPhase::Content => "to the mail",
        };
        match self.what {
            SmtpFault::Code(code) => write!(f, "the mail server answered {code} {step}"),
            SmtpFault::Silent => write!(f, "the mail server gave no answer {step} in time"),
            SmtpFault::Cut => write!(f, "the connection to the mail server ended before its answer {step}"),
            SmtpFault::Garbled => write!(f, "the mail server's answer {step} is not one of SMTP"),
            SmtpFault::NotOffered if self.phase == SmtpPhase::Tls => f.write_str("the mail server does not offer STARTTLS"),
            SmtpFault::NotOffered if self.phase == SmtpPhase::LogIn => f.write_str("the mail server offers neither PLAIN nor LOGIN"),
            SmtpFault::NotOffered => f.write_str("the mail server does not take addresses with letters beyond ASCII"),
            SmtpFault::Untrusted => f.write_str("the mail server's certificate is not trusted, or it does not speak TLS there"),
            SmtpFault::Unreachable => f.write_str("the mail server can't be reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_the_mail_ends_it() {
        let phases = [
            (SmtpPhase::Greeting, false),
            (SmtpPhase::Tls, false),
            (SmtpPhase::LogIn, false),
            (SmtpPhase::Sender, false),
            (SmtpPhase::Recipient, true),
            (SmtpPhase::Data, true),
            (SmtpPhase::Content, true),
        ];
        for (phase, ends) in phases {
            for (what, is_final) in [
                (SmtpFault::Code(421), false),
                (SmtpFault::Code(450), false),
                (SmtpFault::Code(499), false),
                (SmtpFault::Code(500), true),
                (SmtpFault::Code(550), true),
                (SmtpFault::NotOffered, true),
                (SmtpFault::Silent, false),
                (SmtpFault::Cut, false),
                (SmtpFault::Garbled, false),
            ] {
                let why = NotTaken { phase, what };
                let code = if let SmtpFault::Code(code) = what { Some(code) } else { None };
                let expected = if ends && is_final { MailOutcome::Refused { code, why } } else { MailOutcome::TryAgain { why } };
                assert_eq!(MailOutcome::from(why), expected, "{why}");
            }
        }
    }
}
