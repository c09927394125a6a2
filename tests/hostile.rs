//! Whatever text comes in the place of an identifier: it is refused, or it is the one spelling of what it names, and holds
//! nothing that means something to NATS, PostgreSQL, HTTP or a file system (I4).

use base64::Engine as _;
use events::{EmployeeId, StreamName, TenantId, TenantScope};
use proptest::{prelude::*, sample::Index};
use store::feed;
use uuid::Uuid;

use crate::servers::system;

/// What has meant something to somebody.
const HOSTILE: &[&str] = &[
    "",
    "*",
    ">",
    ".",
    "..",
    "/",
    "\\",
    " ",
    "\t",
    "\r\n",
    "\0",
    "$JS",
    "%2e",
    "%00",
    "'",
    "\"",
    ";",
    "--",
    "_",
    "-",
    "A",
    "0",
    "а",
    "ı",
    "\u{200b}",
    "\u{202e}",
    "é",
    "ﬁ",
    "𝐚",
    "{",
    "}",
    "urn:uuid:",
];

/// Text that is nearly what it should be: a piece of it cut out, something hostile put in, or letters made larger.
fn nearly(good: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let change = (any::<Index>(), prop_oneof![prop::sample::select(HOSTILE).prop_map(str::to_owned), any::<char>().prop_map(String::from)]);
    let changed = (good, prop::collection::vec((0..4_u8, change), 0..3)).prop_map(|(good, changes)| {
        changes.into_iter().fold(good, |text, (how, (place, put))| {
            let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let (before, after) = text.split_at(*place.get(&cuts));
            match how {
                0 => format!("{before}{put}{after}"),
                1 => format!("{before}{put}{}", after.chars().skip(1).collect::<String>()),
                2 => format!("{before}{}", after.to_uppercase()),
                _ => format!("{before}{}", after.chars().skip(1).collect::<String>()),
            }
        })
    });
    prop_oneof![9 => changed, 1 => any::<String>()]
}

fn tenant() -> impl Strategy<Value = TenantId> {
    any::<u128>().prop_map(|value| TenantId::from_uuid(Uuid::from_u128(value)))
}

fn stream() -> impl Strategy<Value = StreamName> {
    (tenant(), any::<u128>(), 0..3_u8).prop_map(|(tenant, id, kind)| match kind {
        0 => StreamName::tenancy(tenant),
        1 => StreamName::organization(TenantScope::checked(tenant)),
        _ => StreamName::employee(TenantScope::checked(tenant), EmployeeId::from_uuid(Uuid::from_u128(id))),
    })
}

/// Letters, digits and these, and nothing else.
#[track_caller]
fn is_plain(text: &str, also: &str) {
    assert!(text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c)), "{text:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_namespace_has_one_spelling(text in nearly(tenant().prop_map(TenantId::namespace))) {
        if let Ok(tenant) = text.parse::<TenantId>() {
            prop_assert_eq!(tenant.namespace(), text.clone());
            is_plain(&text, "");
        }
    }

    #[test]
    fn a_stream_has_one_name(text in nearly(stream().prop_map(|name| name.to_string()))) {
        if let Ok(name) = StreamName::from_written(&text) {
            prop_assert_eq!(name.to_string(), text.clone());
            is_plain(&text, ".-");
            let namespace = name.tenant().namespace();
            prop_assert_eq!(text.split('.').next(), Some(namespace.as_str()));
        }
    }

    #[test]
    fn an_id_is_written_in_one_way(text in nearly(any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string()))) {
        if let Ok(id) = text.parse::<EmployeeId>() {
            // Capitals are the same id.
            prop_assert_eq!(id.uuid().to_string(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn a_slug_fits_into_a_host(text in nearly("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?".boxed())) {
        if platform::auth::is_slug(&text) {
            is_plain(&text, "-");
            prop_assert!((1..=40).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-'));
        }
    }

    #[test]
    fn a_role_is_a_word(text in nearly("[a-z][a-z0-9-]{0,39}".boxed())) {
        if platform::access::is_role_name(&text) {
            is_plain(&text, "-");
            prop_assert!((1..=40).contains(&text.len()) && text.starts_with(|c: char| c.is_ascii_lowercase()));
        }
    }

    /// Each subject has five tokens, the third of which is its tenant: nobody is served what is another's, and no event goes
    /// where it is not listened for.
    #[test]
    fn a_subject_is_of_its_tenant(stream in stream(), event_type in nearly("[A-Z][A-Za-z0-9]{1,63}".boxed())) {
        if let Ok(subject) = feed::subject(stream.tenant(), stream.category(), &event_type) {
            let tokens: Vec<&str> = subject.split('.').collect();
            let (namespace, partition) = (stream.tenant().namespace(), feed::partition(stream.tenant()).to_string());
            prop_assert_eq!(tokens, ["hr", &partition, &namespace, stream.category().name(), &event_type]);
            prop_assert!(event_type.bytes().all(|b| b.is_ascii_alphanumeric()));
        }
    }
}

/// A browser runs nothing of a page but its own scripts and styles, each named by its hash, and all of these: nothing stands
/// where a policy without `unsafe-inline` would switch it off.
#[track_caller]
fn assert_only_runs_what_it_came_with(page: &str, policy: &str) {
    use sha2::Digest as _;
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let sources = |directive: &str| {
        let (_, sources) = policy.split("; ").filter_map(|part| part.split_once(' ')).find(|(name, _)| *name == directive).unwrap();
        sources.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    for element in ["script", "style"] {
        let open = format!("<{element}");
        let texts = page.split(&open).skip(1).map(|rest| rest.strip_prefix('>').expect("no attributes"));
        let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text));
        let hashes: Vec<_> = texts.map(|text| format!("'sha256-{}'", hash(text.split("</").next().unwrap()))).collect();
        assert_eq!(sources(&format!("{element}-src")), hashes);
    }
    // Handlers and styles in attributes; those that scripts set as text count too.
    for switched_off in [
        " onclick=",
        " onload=",
        " onerror=",
        " oninput=",
        " onchange=",
        " style=",
        "style: '",
        "'style'",
        "javascript:",
        "eval(",
        "Function(",
    ] {
        assert!(!page.contains(switched_off), "{switched_off} is switched off by the page's policy");
    }
}

#[tokio::test]
async fn pages_run_only_what_they_came_with() {
    let system = system().await;
    for page in [format!("{}/", system.query_api), format!("{}/docs", system.query_api), format!("{}/docs", system.command_api)] {
        let answer = system.client.get(&page).send().await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert_only_runs_what_it_came_with(&answer.text().await.unwrap(), &policy);
    }
}
