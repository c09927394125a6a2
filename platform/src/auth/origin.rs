//! Which tenant a request's head names, and where it came from. A proxy's word counts only where the settings trust it.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
};

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

/// Where a request came from. Keys of limits: the addresses of one network count as one ([`Origin::network`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// From this address.
    Address(IpAddr),
    /// From somebody behind this trusted proxy, which does not say whom it speaks for, or not in a way that can be read. Nobody
    /// there can be told from anybody else, so no limit may lock one out for what another does.
    Behind(IpAddr),
}

/// For keys of counters.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Behind(proxy) => write!(f, "behind {proxy}"),
        }
    }
}

impl Origin {
    /// The network that one customer has: an IPv4 address, or the first bits of an IPv6 one (64 are one household's).
    #[must_use]
    pub fn network(self, bits: u32) -> Self {
        match self {
            Self::Address(IpAddr::V6(address)) => {
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                Self::Address(Ipv6Addr::from_bits(address.to_bits() & !host).into())
            }
            Self::Address(IpAddr::V4(_)) | Self::Behind(_) => self,
        }
    }
}

/// Where the request came from: who sits at the other end, or whom the nearest trusted proxies say they speak for.
///
/// The header is read from its end, as long as the address before it is a trusted proxy's, and byte by byte: what a client put
/// in front can't make what a proxy added unreadable. Who sits at a trusted proxy's address could say any address, so nothing is
/// lost where it says none.
pub(super) fn origin(parts: &Parts, proxies: &TrustedProxies) -> Option<Origin> {
    let Peer(mut address) = *parts.extensions.get::<Peer>()?;
    let values = parts.headers.get_all("x-forwarded-for").iter().rev();
    let mut hops =
        values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty());
    while proxies.include(address) {
        match hops.next().map(forwarded_address) {
            Some(Some(before)) => address = before,
            Some(None) => {
                metrics::counter!("forwarded_address_unreadable_total").increment(1);
                return Some(Origin::Behind(address.to_canonical()));
            }
            None => return Some(Origin::Behind(address.to_canonical())),
        }
    }
    Some(Origin::Address(without_translation(address)))
}

/// An address as proxies write it (RFC 7239, section 6, and what is usual in `X-Forwarded-For`): bare, in brackets, with a port, with
/// a zone, in quotes. None for `unknown`, a hidden name such as `_proxy7`, and what is no address.
fn forwarded_address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let text = text.strip_prefix('"').map_or(Some(text), |quoted| quoted.strip_suffix('"'))?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        return if port.is_empty() || port.strip_prefix(':').is_some_and(is_port) {
            address_in_zone(address).map(IpAddr::V6)
        } else {
            None
        };
    }
    let bare = text.parse().ok().or_else(|| address_in_zone(text).map(IpAddr::V6));
    bare.or_else(|| text.split_once(':').filter(|(_, port)| is_port(port)).and_then(|(address, _)| address.parse().ok()).map(IpAddr::V4))
}

/// An IPv6 address, whose zone (RFC 4007) means something on the proxy only.
fn address_in_zone(text: &str) -> Option<Ipv6Addr> {
    let address = text.split_once('%').map_or(Some(text), |(address, zone)| (!zone.is_empty()).then_some(address))?;
    address.parse().ok()
}

/// A number, or a hidden one such as `_p1`.
fn is_port(text: &str) -> bool {
    let hidden = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    text.parse::<u16>().is_ok() || text.strip_prefix('_').is_some_and(|name| !name.is_empty() && hidden(name))
}

/// IPv4 for what stands for it in IPv6: mapped (RFC 4291), or translated with the well-known prefix (RFC 6052), behind which else all
/// of IPv4 would be one network.
fn without_translation(address: IpAddr) -> IpAddr {
    const TRANSLATED: u128 = 0x0064_ff9b << 96;
    match address.to_canonical() {
        IpAddr::V6(six) if six.to_bits() >> 32 == TRANSLATED >> 32 => {
            let [.., a, b, c, d] = six.octets();
            [a, b, c, d].into()
        }
        canonical @ (IpAddr::V4(_) | IpAddr::V6(_)) => canonical,
    }
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
            (PROXY, vec![host, ("forwarded", "host=b.tenure.example")], Ok(vec![slug("a")])),
            (STRANGER, vec![("host", "HR.Acme.example:443")], Ok(vec![Name::Id(tenant)])),
            (STRANGER, vec![("host", "hr.acme.example"), (TENANT_HEADER, "a")], Ok(vec![Name::Id(tenant), slug("a")])),
            (STRANGER, vec![("host", "other.example")], Err(())),
        ] {
            assert_eq!(hosts.named(&request(peer, &headers)).map_err(drop), expected, "{peer} {headers:?}");
        }
    }

    /// Each way in which proxies write addresses, and what must not count as the proxy itself.
    #[test]
    fn an_address_is_believed_as_far_as_the_proxies_reach() {
        let proxies = "10.0.0.0/8, fd00::/8".parse().unwrap();
        let from = |address: &str| Some(Origin::Address(address.parse().unwrap()));
        let behind = |proxy: &str| Some(Origin::Behind(proxy.parse().unwrap()));
        let asked = |peer, values: &[&[u8]]| {
            let mut parts = request(peer, &[]);
            for value in values {
                parts.headers.append("x-forwarded-for", http::HeaderValue::from_bytes(value).unwrap());
            }
            origin(&parts, &proxies)
        };
        // RFC 7239's own header is not read: a proxy that sends no other one speaks for nobody, and a stranger gains nothing.
        let standard = |peer, also: &[(&'static str, &str)]| {
            let header = ("forwarded", "for=203.0.113.7;host=b.tenure.example;proto=https");
            origin(&request(peer, &[&[header][..], also].concat()), &proxies)
        };
        assert_eq!(standard(PROXY, &[]), behind(PROXY));
        assert_eq!(standard(PROXY, &[("x-forwarded-for", "1.2.3.4")]), from("1.2.3.4"));
        assert_eq!(standard(STRANGER, &[]), from(STRANGER));
        // The last item, as the nearest proxy wrote it.
        for (item, expected) in [
            ("203.0.113.7", from("203.0.113.7")),
            ("203.0.113.7:51234", from("203.0.113.7")),
            ("\"203.0.113.7:51234\"", from("203.0.113.7")),
            ("203.0.113.7:_x1", from("203.0.113.7")),
            ("2001:db8::7", from("2001:db8::7")),
            ("[2001:db8::7]", from("2001:db8::7")),
            ("[2001:db8::7]:443", from("2001:db8::7")),
            ("\"[2001:db8::7]:443\"", from("2001:db8::7")),
            ("[2001:db8::7]:_x1", from("2001:db8::7")),
            ("fe80::7%eth0", from("fe80::7")),
            ("[fe80::7%25eth0]:443", from("fe80::7")),
            ("::ffff:203.0.113.7", from("203.0.113.7")),
            ("[::ffff:203.0.113.7]:51234", from("203.0.113.7")),
            ("64:ff9b::203.0.113.7", from("203.0.113.7")),
            ("64:ff9b:1::203.0.113.7", from("64:ff9b:1::203.0.113.7")),
            ("  203.0.113.7 \t", from("203.0.113.7")),
            (" , 203.0.113.7,, ", from("203.0.113.7")),
            ("unknown", behind(PROXY)),
            ("_hidden", behind(PROXY)),
            ("nonsense", behind(PROXY)),
            ("\"203.0.113.7", behind(PROXY)),
            ("203.0.113.7:", behind(PROXY)),
            ("203.0.113.7:http", behind(PROXY)),
            ("203.0.113.7:99999", behind(PROXY)),
            ("203.0.113.7.9", behind(PROXY)),
            ("203.0.113", behind(PROXY)),
            ("[2001:db8::7", behind(PROXY)),
            ("[2001:db8::7]443", behind(PROXY)),
            ("[203.0.113.7]:443", behind(PROXY)),
            ("2001:db8::7%", behind(PROXY)),
            ("1:2:3:4:5:6:7:8:443", behind(PROXY)),
        ] {
            assert_eq!(asked(PROXY, &[item.as_bytes()]), expected, "{item:?}");
            assert_eq!(asked("::ffff:10.0.0.1", &[item.as_bytes()]), expected, "{item:?} on a socket for both");
            // Whatever the client wrote before it.
            for before in [&b"6.6.6.6"[..], b"nonsense", b"\xff\xfe", b"unknown, [, \"", b"6.6.6.6:1"] {
                let one = [before, b", ", item.as_bytes()].concat();
                assert_eq!(asked(PROXY, &[&one]), expected, "{item:?} after {before:?}");
                assert_eq!(asked(PROXY, &[before, item.as_bytes()]), expected, "{item:?} after {before:?} in another header");
            }
            assert_eq!(asked(STRANGER, &[item.as_bytes()]), from(STRANGER), "{item:?} from nobody's proxy");
        }
        for (peer, values, expected) in [
            (PROXY, &["6.6.6.6, 1.2.3.4:99, 10.0.0.2:80"][..], from("1.2.3.4")),
            (PROXY, &["6.6.6.6", "1.2.3.4", "[fd00::1]:80, 10.0.0.2"], from("1.2.3.4")),
            (PROXY, &["6.6.6.6, unknown, 10.0.0.2"], behind("10.0.0.2")),
            // A proxy that speaks for nobody.
            (PROXY, &[], behind(PROXY)),
            (PROXY, &["", " , "], behind(PROXY)),
            (PROXY, &[PROXY], behind(PROXY)),
            (PROXY, &["10.0.0.2:8080"], behind("10.0.0.2")),
            (PROXY, &["[fd00::2]:8080"], behind("fd00::2")),
            (STRANGER, &[], from(STRANGER)),
            ("::ffff:203.0.113.9", &[], from(STRANGER)),
        ] {
            let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(asked(peer, &values), expected, "{peer} {values:?}");
        }
    }

    #[test]
    fn a_household_is_one_network() {
        let network = |text: &str, bits| Origin::Address(text.parse().unwrap()).network(bits);
        assert_eq!(network("2001:db8:1:2:3:4:5:6", 64), Origin::Address("2001:db8:1:2::".parse().unwrap()));
        assert_eq!(network("2001:db8:1:2:3:4:5:6", 48), Origin::Address("2001:db8:1::".parse().unwrap()));
        assert_eq!(network("203.0.113.7", 48), Origin::Address("203.0.113.7".parse().unwrap()));
        let behind = Origin::Behind("fd00::7".parse().unwrap());
        assert_eq!(behind.network(64), behind);
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
