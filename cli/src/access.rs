//! `tenure access`: what a role lets its holder see and change, and which rule says so.

use std::fmt::Write as _;

use events::EmployeeId;
use platform::{
    access::{Action, FieldClass},
    auth::TokenRequest,
};
use serde_json::Value;

use crate::{
    api::{Api, Endpoints},
    home::Home,
    token,
};

/// What is asked for.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Say whether somebody with these roles may do something, and why
    #[command(after_help = "Examples:
  tenure access explain --tenant acme --role manager --as-employee $HEAD --class pay --employee $REP
  tenure access explain --tenant acme --role payroll --action change --class pay")]
    Explain(Explain),
}

/// A question.
#[derive(Debug, Clone, clap::Args)]
pub struct Explain {
    /// The tenant's slug
    #[arg(long, value_name = "SLUG")]
    tenant: String,
    /// The roles to explain; may be given several times
    #[arg(long, required = true)]
    role: Vec<String>,
    /// The subject whose delegations count too
    #[arg(long, default_value = "cli", value_name = "SUBJECT")]
    subject: String,
    /// Which person asks; `self` and `line` are theirs
    #[arg(long, value_name = "ID")]
    as_employee: Option<EmployeeId>,
    /// read or change
    #[arg(long, default_value = "read")]
    action: Action,
    /// directory, personal, pay or medical
    #[arg(long)]
    class: FieldClass,
    /// About whom; anybody if absent
    #[arg(long, value_name = "ID")]
    employee: Option<EmployeeId>,
}

/// Runs the command.
pub async fn run(home: &Home, endpoints: &Endpoints, Command::Explain(ask): Command, json: bool) -> anyhow::Result<()> {
    let tenant = Api::operator(home, endpoints).await?.tenant(&ask.tenant).await?.tenant_id;
    let request = TokenRequest {
        subject: ask.subject,
        tenant,
        slug: ask.tenant,
        roles: ask.role,
        employee: ask.as_employee,
        session: None,
        lifetime_s: 60,
    };
    let api = Api::new(home, endpoints, token::issue(home, request).await?)?;
    let name = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let (action, class) = (name(serde_json::to_value(ask.action)?), name(serde_json::to_value(ask.class)?));
    let mut path = format!("/v1/access/explain?action={action}&class={class}");
    if let Some(employee) = ask.employee {
        let _ = write!(path, "&employee={employee}");
    }
    let why: Value = api.get(&path).await?;
    if json {
        println!("{why}");
        return Ok(());
    }
    let rule = |rule: &Value| {
        let delegated = rule["delegation"].as_str().map(|id| format!(", by delegation {id}")).unwrap_or_default();
        format!("role {}, reach {}{delegated}", name(rule["role"].clone()), rule["reach"].to_string().trim_matches('"'))
    };
    if why["because"].is_null() {
        println!("denied: no rule allows to {action} {class} facts{}", if ask.employee.is_some() { " of this person" } else { "" });
    } else {
        println!("allowed: {}", rule(&why["because"]));
    }
    why["rules"].as_array().into_iter().flatten().for_each(|r| println!("  speaks of it: {}", rule(r)));
    Ok(())
}
