//! Where a request comes from that came through proxies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;

use crate::key_store::AddressRange;

/// The proxies that may say on whose behalf they ask, and the one header in which they say it.
///
/// How the client's address is found:
///
/// 1. It is the connection's other end, unless that is in a trusted range. Where the other end is
///    not known, nor is the client: see [`PeerAddress`](crate::PeerAddress).
/// 2. A trusted proxy appends whom it was asked by, so the header is read from the right, several
///    lines of it as one list. If the right-most element names a trusted proxy too, the one to its
///    left counts, and so on: the first address that is not trusted is the client's. What stands to
///    the left of it anybody may have written, and it is not read.
/// 3. If all are trusted, the left-most is the client's. Without the header it is the proxy's own.
/// 4. An element that names no address (`unknown`, an obfuscated `_name`, nothing at all, anything
///    malformed) leaves the client's address unknown: none is guessed from what stands beside it. A
///    key with allowed addresses is refused then.
/// 5. Only the header named here is read. The other one may have come from the client: proxies pass
///    on what they do not know.
/// 6. Ports do not count, and an IPv4 address that was mapped into IPv6 is one of IPv4.
///
/// Trust the addresses of the proxies themselves and nothing wider: whoever can connect from a trusted
/// range may name any address. Each of the proxies must append to the header or replace it, on every
/// request; HAProxy, nginx and the load balancers of the clouds can. And do not allow a key the
/// addresses of a proxy: a request that the proxy let through without the header comes from there.
///
/// ```
/// use tower_api_key::{AddressRange, TrustedProxies};
/// let ranges: [AddressRange; 2] = ["10.0.7.0/24".parse()?, "2001:db8:7::/64".parse()?];
/// let proxies = TrustedProxies::x_forwarded_for(ranges);
/// # Ok::<(), tower_api_key::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies {
    header: Header,
    ranges: Box<[AddressRange]>,
}

/// The header in which proxies name the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    XForwardedFor,
    Forwarded,
}

impl TrustedProxies {
    /// Proxies in these ranges append the client's address to `X-Forwarded-For`, as most do:
    /// `X-Forwarded-For: 203.0.113.9, 10.0.7.1`.
    ///
    /// IPv6 addresses may stand in brackets, and all may have a port.
    pub fn x_forwarded_for(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        Self::new(Header::XForwardedFor, ranges)
    }

    /// Proxies in these ranges append to `Forwarded` ([RFC 7239 §4][forwarded]):
    /// `Forwarded: for=203.0.113.9;proto=https, for="[2001:db8:7::1]:4711"`.
    ///
    /// A comma ends an element and a semicolon a parameter, in quotes too: a client that opens a quote
    /// and leaves it open cannot swallow what the proxies append, and an element that was cut in a
    /// quoted value is malformed. So is one with two `for` parameters.
    ///
    /// [forwarded]: https://www.rfc-editor.org/rfc/rfc7239#section-4
    pub fn forwarded(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        Self::new(Header::Forwarded, ranges)
    }

    fn new(header: Header, ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        Self {
            header,
            ranges: ranges.into_iter().collect(),
        }
    }

    /// Whether there is no proxy to trust.
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Where a request comes from whose connection's other end is `peer`.
    pub(crate) fn client_address(&self, headers: &HeaderMap, peer: IpAddr) -> Option<IpAddr> {
        let mut client = peer;
        if !self.trusts(client) {
            return Some(client);
        }
        let lines = headers.get_all(self.header.name()).iter().rev();
        let elements = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for element in elements {
            client = self.header.address(element)?;
            if !self.trusts(client) {
                break;
            }
        }
        Some(client)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }
}

impl Header {
    fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// Whom an element of the list names.
    fn address(self, element: &[u8]) -> Option<IpAddr> {
        let element = str::from_utf8(element)
            .ok()
            .filter(|text| text.is_ascii())?;
        let element = element.trim_matches(SPACE);
        match self {
            Self::XForwardedFor => node(element),
            Self::Forwarded => forwarded_for(element),
        }
    }
}

/// The parameter `for` of an element (RFC 7239 §4) of which every parameter is well-formed.
///
/// Proxies copy what a client chose into quoted values (`host="a, for=10.0.0.1"`). What is to the
/// right of a comma in one holds its closing quote, which opens none: that is how it is told apart.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut address = None;
    for pair in element.split(';') {
        let pair = pair.trim_matches(SPACE);
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"')?,
            None => value,
        };
        if name.contains('"') || value.contains('"') {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && address.replace(node(value)?).is_some() {
            return None;
        }
    }
    address
}

/// The address in `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`
/// (RFC 7239 §6; the third is how `X-Forwarded-For` has it).
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(address.to_canonical());
    }
    let (address, port): (IpAddr, _) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.to_canonical(), port)
        }
        None => {
            let (address, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            (address.parse::<Ipv4Addr>().ok()?.into(), port)
        }
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(address)
}

/// A port, or what stands for one (RFC 7239 §6.3).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// What may stand around an element (RFC 9110 §5.6.3).
const SPACE: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests;
