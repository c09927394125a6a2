//! Which tenant a request's head names, and where it came from. A proxy's word counts only where the settings trust it.

use std::{collections::HashMap, net::IpAddr};

use events::TenantId;
use http::{HeaderMap, request::Parts};

use super::{TENANT_HEADER, is_slug};
use crate::{config::TrustedProxies, health::Peer};

/// A tenant as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Slug(String),
    /// By a domain of its own.
    Id(TenantId),
}

/// What a host may be.
pub(super) struct Hosts<'h> {
    pub(super) base_domain: &'h str,
    pub(super) proxies: &'h TrustedProxies,
    pub(super) domains: &'h HashMap<String, TenantId>,
}

impl Hosts<'_> {
    /// The tenants that host and header name; none for the bare base domain, an address, or a name without dots.
    pub(super) fn named(&self, parts: &Parts) -> Result<Vec<Name>, &'static str> {
        let mut named = Vec::new();
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let forwarded = if is_from_proxy(parts, self.proxies) { single(&parts.headers, "x-forwarded-host")?.map(str::trim) } else { None };
        match forwarded {
            // What the client asked the proxy for stands in the place of what the proxy asks us for.
            Some(host) => named.extend(self.tenant_of(host)?),
            None => {
                for host in single(&parts.headers, "host")?.into_iter().chain(authority) {
                    named.extend(self.tenant_of(host)?);
                }
            }
        }
        if let Some(slug) = single(&parts.headers, TENANT_HEADER)? {
            named.push(checked_slug(slug)?);
        }
        Ok(named)
    }

    fn tenant_of(&self, host: &str) -> Result<Option<Name>, &'static str> {
        let name = match host.rsplit_once(':') {
            // The last colon of a bare IPv6 address is no port's.
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
                    return Err("a host with a port that is no number");
                }
                name
            }
            _ => host,
        };
        let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
        if name.eq_ignore_ascii_case(self.base_domain) || address.parse::<IpAddr>().is_ok() {
            return Ok(None);
        }
        let split = name.len().checked_sub(self.base_domain.len() + 1).filter(|at| name.is_char_boundary(*at)).map(|at| name.split_at(at));
        if let Some((slug, rest)) = split
            && rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(self.base_domain))
        {
            return checked_slug(slug).map(Some);
        }
        if let Some(tenant) = self.domains.get(&name.to_ascii_lowercase()) {
            return Ok(Some(Name::Id(*tenant)));
        }
        // The name of a machine or container, such as `localhost` or `query-api`, names no tenant; a foreign domain is
        // not ours.
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if plain { Ok(None) } else { Err("a host that is neither under the base domain nor registered") }
    }
}

/// Where the request came from: who sits at the other end, or whom the nearest trusted proxies say they speak for.
pub(super) fn client_address(parts: &Parts, proxies: &TrustedProxies) -> Option<IpAddr> {
    let Peer(mut address) = *parts.extensions.get::<Peer>()?;
    let hops = parts.headers.get_all("x-forwarded-for").iter().rev().filter_map(|value| value.to_str().ok());
    for hop in hops.flat_map(|value| value.rsplit(',')) {
        if !proxies.include(address) {
            break;
        }
        let Ok(before) = hop.trim().parse() else { break };
        address = before;
    }
    Some(address.to_canonical())
}

fn is_from_proxy(parts: &Parts, proxies: &TrustedProxies) -> bool {
    parts.extensions.get::<Peer>().is_some_and(|Peer(address)| proxies.include(*address))
}

fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| "a host that is not ASCII"),
        (Some(_), Some(_)) => Err("more than one host or Tenure-Tenant header"),
    }
}

fn checked_slug(slug: &str) -> Result<Name, &'static str> {
    if is_slug(slug) { Ok(Name::Slug(slug.to_owned())) } else { Err("a slug that none can have") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(peer: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(Peer(peer.parse().unwrap()));
        parts
    }
    const PROXY: &str = "10.0.0.1";
    const STRANGER: &str = "203.0.113.9";

    #[test]
    fn a_forwarded_host_counts_only_from_a_trusted_proxy() {
        let (proxies, tenant) = ("10.0.0.0/8".parse().unwrap(), TenantId::from_uuid(uuid::Uuid::from_u128(7)));
        let domains = HashMap::from([("hr.acme.example".to_owned(), tenant)]);
        let hosts = Hosts { base_domain: "tenure.example", proxies: &proxies, domains: &domains };
        let slug = |slug: &str| Name::Slug(slug.into());
        let (host, forwarded) = (("host", "a.tenure.example"), ("x-forwarded-host", "b.tenure.example"));
        for (peer, headers, expected) in [
            (STRANGER, vec![host, forwarded], Ok(vec![slug("a")])),
            (PROXY, vec![host, forwarded], Ok(vec![slug("b")])),
            (PROXY, vec![("host", "query-api:7411"), forwarded], Ok(vec![slug("b")])),
            (PROXY, vec![host], Ok(vec![slug("a")])),
            (PROXY, vec![host, forwarded, forwarded], Err(())),
            (PROXY, vec![host, ("x-forwarded-host", "b.tenure.example, c.tenure.example")], Err(())),
            (STRANGER, vec![("host", "HR.Acme.example:443")], Ok(vec![Name::Id(tenant)])),
            (STRANGER, vec![("host", "hr.acme.example"), (TENANT_HEADER, "a")], Ok(vec![Name::Id(tenant), slug("a")])),
            (STRANGER, vec![("host", "other.example")], Err(())),
        ] {
            assert_eq!(hosts.named(&request(peer, &headers)).map_err(drop), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn an_address_is_believed_as_far_as_the_proxies_reach() {
        let proxies = "10.0.0.0/8".parse().unwrap();
        for (peer, headers, expected) in [
            (STRANGER, vec![("x-forwarded-for", "1.2.3.4")], STRANGER),
            (PROXY, vec![("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
            (PROXY, vec![("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.2")], "1.2.3.4"),
            (PROXY, vec![("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")], "1.2.3.4"),
            (PROXY, vec![("x-forwarded-for", "nonsense")], PROXY),
            (PROXY, vec![], PROXY),
        ] {
            assert_eq!(client_address(&request(peer, &headers), &proxies), expected.parse().ok(), "{peer} {headers:?}");
        }
    }

    proptest! {
        /// A host names a tenant by a slug that stands in it, or by a domain that is registered, or none.
        #[test]
        fn a_host_names_no_other_tenant_than_it_says(
            host in prop_oneof![
                "[a-zA-Z0-9.:_%*>\\[\\]/@ -]{0,20}(\\.tenure\\.example)?(:[0-9]{0,5})?",
                "[a-z0-9-]{1,42}\\.[tT]enure\\.example(:[0-9]{1,5})?",
                "\\PC{0,20}\\.tenure\\.example",
            ],
        ) {
            let (proxies, domains) = ("none".parse().unwrap(), HashMap::new());
            let hosts = Hosts { base_domain: "tenure.example", proxies: &proxies, domains: &domains };
            let Ok(value) = http::HeaderValue::from_str(&host) else { return Ok(()) };
            let (mut parts, ()) = http::Request::new(()).into_parts();
            parts.headers.insert("host", value);
            for name in hosts.named(&parts).unwrap_or_default() {
                let Name::Slug(slug) = name else { panic!("no domain is registered: {host}") };
                prop_assert!(is_slug(&slug));
                let said = host.to_ascii_lowercase();
                let own = format!("{slug}.tenure.example");
                prop_assert!(said.strip_prefix(&own).is_some_and(|port| port.is_empty() || port.starts_with(':')), "{} names {}", host, slug);
            }
        }
    }
}
